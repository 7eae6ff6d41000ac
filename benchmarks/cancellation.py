"""How soon a cancelled validation returns, and how much CPU the process uses afterwards."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable

import anyio
import trio
from _data import EIGHT_RULES, eight_columns

from sentrio import Checkpoint

ROWS = int(os.environ.get("ROWS", "10_000_000"))
REPEATS = int(os.environ.get("REPEATS", "20"))
AFTER = 0.35

SUITES = {"suite": EIGHT_RULES, "unique": [{"unique": {"column": "email"}}]}

Run = Callable[[], Awaitable[object]]


async def by_task_cancel(run: Run) -> None:
    task = asyncio.ensure_future(run())
    await asyncio.sleep(AFTER)
    task.cancel()
    await asyncio.wait([task])


async def by_asyncio_timeout(run: Run) -> None:
    try:
        async with asyncio.timeout(AFTER):
            await run()
    except TimeoutError:
        pass


async def by_trio_move_on(run: Run) -> None:
    with trio.move_on_after(AFTER):
        await run()


async def by_fail_after(run: Run) -> None:
    try:
        with anyio.fail_after(AFTER):
            await run()
    except TimeoutError:
        pass


WAYS = [
    ("asyncio", "task.cancel()", by_task_cancel),
    ("asyncio", "asyncio.timeout", by_asyncio_timeout),
    ("asyncio", "anyio.fail_after", by_fail_after),
    ("trio", "trio.move_on_after", by_trio_move_on),
    ("trio", "anyio.fail_after", by_fail_after),
]


def main() -> None:
    path = eight_columns(ROWS)
    print(f"{ROWS:,} rows; each figure over {REPEATS} cancellations, {AFTER} s into the run")
    print(f"{'suite':8} {'backend':8} {'how':20} {'median ms':>10} {'p95 ms':>8} {'CPU s in the next 2 s':>22}")
    for name, rules in SUITES.items():
        checkpoint = Checkpoint("large", path, rules)
        for backend, how, cancel in WAYS:

            async def once(
                cancel: Callable[[Run], Awaitable[None]] = cancel, checkpoint: Checkpoint = checkpoint
            ) -> tuple[float, float]:
                started = time.perf_counter()
                await cancel(checkpoint.run_async)
                late = time.perf_counter() - started - AFTER
                cpu = time.process_time()
                await anyio.sleep(2)
                return late, time.process_time() - cpu

            figures = [anyio.run(once, backend=backend) for _ in range(REPEATS)]
            late = sorted(figure[0] * 1000 for figure in figures)
            cpu = max(figure[1] for figure in figures)
            p95 = late[round(0.95 * (len(late) - 1))]
            print(f"{name:8} {backend:8} {how:20} {statistics.median(late):10.0f} {p95:8.0f} {cpu:22.3f}")


if __name__ == "__main__":
    main()
