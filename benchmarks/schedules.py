"""What schedules cost while nothing is due, and how late they fire.

Run ``python benchmarks/schedules.py [asyncio|uvloop|trio ...] [--seconds 60]``. Three ways of watching ten thousand
schedules stand side by side: sentrio's watches, of which one looks at the clock for all; a task for each that sleeps
and looks at the wall clock once a minute; and a loop that asks each schedule every second, as other schedulers do.
Idle cost is the CPU time of the process, as a share of one core; a look a minute shows in a minute or more. Lateness
is that of 200 firings a second, their due times spread evenly, and of a thousand that are due at the same moment; every
second one is a bare sleep, which is as late as the machine is busy.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from sentrio import ScheduleTrigger
from sentrio.checkpoint.triggers import TriggerWatch

IDLE = 10_000
FIRING = 1_000
INTERVAL = 5.0

Waiter = Callable[[list[TriggerWatch]], Coroutine[Any, Any, None]]


async def watched(watches: list[TriggerWatch]) -> None:
    """Watch each schedule in a task of its own, as a runner does."""
    async with anyio.create_task_group() as tg:
        for watch in watches:
            tg.start_soon(watch.wait)


async def asleep(watches: list[TriggerWatch]) -> None:
    """Sleep in a task for each, and look at the clock once a minute."""

    async def sleep(due: datetime) -> None:
        while (remaining := (due - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110  # what is measured
            await anyio.sleep(min(remaining, 60.0))

    async with anyio.create_task_group() as tg:
        for watch in watches:
            due = watch.statistics().next_due
            assert due is not None
            tg.start_soon(sleep, due)


async def asked(watches: list[TriggerWatch]) -> None:
    """Ask each schedule every second."""
    due = [watch.statistics().next_due for watch in watches]
    while True:
        now = datetime.now(UTC)
        assert not [moment for moment in due if moment is not None and moment <= now]
        await anyio.sleep(1.0)


def daily(count: int) -> list[TriggerWatch]:
    """Schedules with intervals of a day and more, none of which comes due during the measurement."""
    return [ScheduleTrigger(interval_days=1, interval_seconds=n / 100).watch() for n in range(count)]


async def idle(seconds: float) -> None:
    """Print what each way costs."""
    ways: dict[str, Waiter] = {
        "sentrio's watches": watched,
        "a task each, a look a minute": asleep,
        "asked every second": asked,
    }
    print(f"  {IDLE:,} idle schedules, CPU of one core over {seconds:g} s")
    for name, way in ways.items():
        gc.collect()
        async with anyio.create_task_group() as tg:
            tg.start_soon(way, daily(IDLE))
            await anyio.wait_all_tasks_blocked()
            before, began = time.process_time(), time.perf_counter()
            await anyio.sleep(seconds)
            share = (time.process_time() - before) / (time.perf_counter() - began)
            tg.cancel_scope.cancel()
        print(f"    {name:32} {share:>9.3%}")


async def lateness(seconds: float, *, spread: bool) -> None:
    """Print how late schedules of five seconds fire, beside tasks that sleep from one due time to the next."""
    late: dict[str, list[float]] = {"sentrio's watches": [], "bare sleeps": []}
    begin = datetime.now(UTC) + timedelta(seconds=1)
    interval = timedelta(seconds=INTERVAL)

    def count(name: str, due: datetime) -> None:
        late[name].append((datetime.now(UTC) - due).total_seconds())

    async def watched(first: datetime) -> None:
        async for due in ScheduleTrigger(interval_seconds=INTERVAL, start_at=first).watch():
            assert due.due_at is not None
            count("sentrio's watches", due.due_at)

    async def bare(due: datetime) -> None:
        while True:
            await anyio.sleep((due - datetime.now(UTC)).total_seconds())
            count("bare sleeps", due)
            due += interval

    with anyio.move_on_after(seconds + 1):
        async with anyio.create_task_group() as tg:
            for number in range(FIRING):
                first = begin + (number / FIRING * interval if spread else timedelta())
                tg.start_soon(watched if number % 2 else bare, first)
    print(f"    {'due times spread evenly' if spread else 'all due at once'}")
    for name, times in late.items():
        times.sort()
        p50, p99, most = (times[int((len(times) - 1) * q)] * 1000 for q in (0.5, 0.99, 1))
        print(f"      {name:18} {len(times):>6,} late p50 {p50:>6.2f} ms  p99 {p99:>6.2f} ms  most {most:>6.2f} ms")


async def main(seconds: float) -> None:
    """Print all tables for one backend."""
    await idle(seconds)
    print(f"  {FIRING:,} schedules of {INTERVAL:g} s")
    await lateness(min(seconds, 20.0), spread=True)
    await lateness(min(seconds, 20.0), spread=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("backends", nargs="*", default=["asyncio", "uvloop", "trio"])
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    for backend in given.backends:
        print(f"\n{backend}")
        options = {"use_uvloop": backend == "uvloop"} if backend != "trio" else {}
        anyio.run(main, given.seconds, backend="trio" if backend == "trio" else "asyncio", backend_options=options)
