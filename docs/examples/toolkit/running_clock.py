"""A week of wall-clock time in a test, in no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import trio
from trio.testing import MockClock

from sentrio.async_core.clock import Clock, LoopClock


async def every_morning(clock: Clock, times: int) -> list[str]:
    moment = clock.now().replace(hour=6, minute=0)
    seen = []
    for _ in range(times):
        moment += timedelta(days=1)
        await clock.sleep_until(moment)
        seen.append(f"{clock.now():%a %H:%M}")
    return seen


async def main() -> None:
    print(await every_morning(LoopClock(datetime(2026, 11, 20, 12, tzinfo=UTC)), times=3))


if __name__ == "__main__":
    trio.run(main, clock=MockClock(autojump_threshold=0))
