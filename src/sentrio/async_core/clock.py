"""Wall-clock time that tests can bend."""

from __future__ import annotations

__all__ = ("Clock", "LoopClock")

from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel

# The event loop's clock knows nothing of a wall clock that is set, or of a machine that was asleep, and
# nobody tells us: so a sleeper looks again after this long. That is how late it may be after such a jump, and
# at a look each minute ten thousand sleepers cost a third of a per cent of a core.
_LOOK_AGAIN_SECONDS = 60.0


class Clock:
    """The system's clock, in UTC."""

    def now(self) -> datetime:
        """Return the present moment, timezone-aware, in UTC."""
        return datetime.now(UTC)

    async def sleep_until(self, moment: datetime) -> None:
        """Sleep until the clock shows ``moment`` or later; at once if it does already.

        A clock that is set forward, or a machine that was asleep, is noticed within a minute.

        :param moment: timezone-aware, in any time zone
        :raises ValueError: if ``moment`` has no time zone
        """
        if moment.tzinfo is None:
            raise ValueError(f"moment must have a time zone, got {moment!r}; write datetime(..., tzinfo=UTC)")
        await anyio.lowlevel.checkpoint()
        while (remaining := (moment - self.now()).total_seconds()) > 0:
            await self._pause(remaining)

    async def _pause(self, seconds: float) -> None:
        await anyio.sleep(min(seconds, _LOOK_AGAIN_SECONDS))


class LoopClock(Clock):
    """A clock that begins at ``start`` and goes on as the event loop's clock does.

    With ``trio.testing.MockClock`` a year passes at once. It can be set, as an operator or a time server may
    set the system's clock, and as a laptop's clock is when its lid is opened.

    ::

        clock = LoopClock(datetime(2026, 3, 29, tzinfo=UTC))
        await clock.sleep_until(datetime(2026, 3, 29, 6, tzinfo=UTC))
        clock.jump(timedelta(hours=8))

    :param start: what it shows when it is first looked at; timezone-aware
    :raises ValueError: if ``start`` has no time zone
    """

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start must have a time zone, got {start!r}; write datetime(..., tzinfo=UTC)")
        self._shown = start.astimezone(UTC)
        self._since: float | None = None
        self._jumped: anyio.Event | None = None

    def now(self) -> datetime:
        """Return what the clock shows, in UTC. Call it in the event loop.

        :raises anyio.NoEventLoopError: if no event loop is running
        """
        time = anyio.current_time()
        if self._since is None:
            self._since = time
        return self._shown + timedelta(seconds=time - self._since)

    def jump(self, by: timedelta) -> None:
        """Set the clock forward, or back with a negative ``by``. Sleepers notice at once."""
        self._shown = self.now() + by
        self._since = anyio.current_time()
        if self._jumped is not None:
            self._jumped.set()
            self._jumped = None

    async def _pause(self, seconds: float) -> None:
        if self._jumped is None:
            self._jumped = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._jumped.wait()
