"""Wall-clock time that tests can bend."""

from __future__ import annotations

__all__ = ("Clock", "LoopClock", "default_clock")

import math
import weakref
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
from anyio.lowlevel import RunVar

from sentrio.async_core._sleepers import Sleepers
from sentrio.async_core.background import loop_time_is_virtual

_sleepers: RunVar[weakref.WeakKeyDictionary[Clock, Sleepers]] = RunVar("sentrio_sleepers")
_virtual: RunVar[LoopClock] = RunVar("sentrio_virtual_clock")


class Clock:
    """The system's clock, in UTC."""

    # The event loop's clock knows nothing of a wall clock that is set, or of a machine that was asleep, and nobody
    # tells us: so a sleeper looks again after this long. That is how late it may be after such a jump.
    _look_again_seconds = 60.0

    def now(self) -> datetime:
        """Return the present moment, timezone-aware, in UTC."""
        return datetime.now(UTC)

    async def sleep_until(self, moment: datetime) -> None:
        """Sleep until the clock shows ``moment`` or later; at once if it does already.

        A clock that is set forward, or a machine that was asleep, is noticed within a minute. Ten thousand sleepers
        cost no more than one.

        :param moment: timezone-aware, in any time zone
        :raises ValueError: if ``moment`` has no time zone
        """
        if moment.tzinfo is None:
            raise ValueError(f"moment must have a time zone, got {moment!r}; write datetime(..., tzinfo=UTC)")
        if self.now() < moment:
            # Compared with many others, and two of the same zone would be compared by their walls' hands.
            await self._sleepers().sleep_until(moment.astimezone(UTC), self.now)
        else:
            await anyio.lowlevel.checkpoint()

    def _sleepers(self) -> Sleepers:
        """Return those who sleep by this clock in this event loop."""
        here = _sleepers.get(None)
        if here is None:
            here = weakref.WeakKeyDictionary()
            _sleepers.set(here)
        found = here.get(self)
        if found is None:
            found = here[self] = Sleepers(self._look_again_seconds)
        return found


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

    _look_again_seconds = math.inf  # a jump is told

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start must have a time zone, got {start!r}; write datetime(..., tzinfo=UTC)")
        self._shown = start.astimezone(UTC)
        self._since: float | None = None

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
        self._sleepers().look_again()


def default_clock() -> Clock:
    """Return the system's clock; under ``trio.testing.MockClock``, one that goes on as that does.

    All who ask in one event loop get clocks that show the same; where none is running, it is the system's.
    """
    if not loop_time_is_virtual():
        return _system
    clock = _virtual.get(None)
    if clock is None:
        clock = LoopClock(datetime.now(UTC))
        _virtual.set(clock)
    return clock


_system = Clock()
