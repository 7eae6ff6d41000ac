"""What the scheduler, the runner and the pool cost beside the bare backends.

Run ``python benchmarks/async_core_runner.py [asyncio|uvloop|trio ...]``. All contenders of a table take turns
in one process, so that a busy machine slows all of them; the median of the rounds is shown, and in the last
column how many times as fast as the first line each one is. ``aiometer`` takes part if it is installed.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.metadata
import importlib.util
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import trio

from sentrio.async_core.runner import AsyncRunner, ResourcePool, TaskScheduler

TASKS = 10_000
ALONE = 3_000
ROUNDS = 7
LIMIT = 10

Contender = Callable[[], Awaitable[object]]


async def nothing() -> None:
    pass


async def yields() -> None:
    await anyio.lowlevel.checkpoint()


async def compare(title: str, contenders: dict[str, Contender], count: int = TASKS) -> None:
    """Print how fast each contender does ``count`` pieces of work."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            gc.collect()
            before = time.perf_counter()
            await contender()
            seconds[name].append(time.perf_counter() - before)
    print(f"\n{title}")
    base = 0.0
    for name, times in seconds.items():
        rate = count / statistics.median(times)
        base = base or rate
        print(f"  {name:38} {rate:>10,.0f}/s {1e6 / rate:>8.1f} us {rate / base:>6.2f} x")


def native_group(backend: str) -> Any:
    return trio.open_nursery() if backend == "trio" else asyncio.TaskGroup()


def start(backend: str, group: Any, func: Callable[[], Any]) -> None:
    if backend == "trio":
        group.start_soon(func)
    else:
        group.create_task(func())


async def bare_group(backend: str, work: Callable[[], Any]) -> None:
    async with native_group(backend) as group:
        for _ in range(TASKS):
            start(backend, group, work)


async def anyio_group(work: Callable[[], Any]) -> None:
    async with anyio.create_task_group() as tg:
        for _ in range(TASKS):
            tg.start_soon(work)


async def with_limiter(backend: str, work: Callable[[], Any]) -> None:
    limiter = anyio.CapacityLimiter(LIMIT)

    async def limited() -> None:
        async with limiter:
            await work()

    await bare_group(backend, limited)


async def submit_all(backend: str, scheduler: TaskScheduler, work: Callable[[], Any]) -> None:
    async with native_group(backend) as group:
        for _ in range(TASKS):
            start(backend, group, lambda: scheduler.submit(work()))


async def gather_all(runner: AsyncRunner, work: Callable[[], Any]) -> None:
    await runner.gather([work() for _ in range(TASKS)])


async def stream_all(runner: AsyncRunner, work: Callable[[], Any]) -> None:
    async with runner.stream(lambda _: work(), range(TASKS)) as results:
        async for _ in results:
            pass


def aiometer_contender(work: Callable[[], Any]) -> dict[str, Contender]:
    if importlib.util.find_spec("aiometer") is None:
        return {}
    aiometer: Any = importlib.import_module("aiometer")
    return {"aiometer.run_all, 10 at once": lambda: aiometer.run_all([work] * TASKS, max_at_once=LIMIT)}


async def bursts(backend: str, scheduler: TaskScheduler) -> None:
    await compare(
        f"{TASKS:,} tasks submitted at once, no-ops, {LIMIT} at once",
        {
            "bare task group, no limit": partial(bare_group, backend, nothing),
            "bare task group + CapacityLimiter": partial(with_limiter, backend, nothing),
            "TaskScheduler.submit": partial(submit_all, backend, scheduler, nothing),
            **aiometer_contender(nothing),
        },
    )


async def gathers(backend: str, runner: AsyncRunner) -> None:
    for name, work in (("no-ops", nothing), ("one checkpoint each", yields)):
        await compare(
            f"{TASKS:,} coroutines gathered, {name}, {LIMIT} at once",
            {
                "bare task group, no limit": partial(bare_group, backend, work),
                "anyio task group, no limit": partial(anyio_group, work),
                "AsyncRunner.gather": partial(gather_all, runner, work),
                "AsyncRunner.stream": partial(stream_all, runner, work),
                **aiometer_contender(work),
            },
        )


async def one_at_a_time(backend: str, scheduler: TaskScheduler) -> None:
    """Print the latency of a single submit over that of a single bare task."""

    async def bare() -> None:
        if backend == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(nothing)
        else:
            await asyncio.ensure_future(nothing())

    samples: dict[str, list[float]] = {"bare task": [], "TaskScheduler.submit": []}
    clock = time.perf_counter
    for _ in range(ALONE):
        before = clock()
        await bare()
        between = clock()
        await scheduler.submit(nothing())
        samples["TaskScheduler.submit"].append(clock() - between)
        samples["bare task"].append(between - before)
    print(f"\none no-op at a time, {ALONE:,} times")
    for name, times in samples.items():
        times.sort()
        p50, p99 = times[len(times) // 2] * 1e6, times[int(len(times) * 0.99)] * 1e6
        print(f"  {name:38} p50 {p50:>6.1f} us   p99 {p99:>6.1f} us")


async def pools(backend: str) -> None:
    pool = ResourcePool(LIMIT, object)
    limiter = anyio.CapacityLimiter(LIMIT)

    async def acquire() -> None:
        for _ in range(ALONE):
            async with pool.acquire():
                pass

    async def borrow() -> None:
        for _ in range(ALONE):
            async with limiter:
                pass

    await compare("one acquire at a time", {"CapacityLimiter": borrow, "ResourcePool.acquire": acquire}, count=ALONE)


async def main(backend: str) -> None:
    async with TaskScheduler(LIMIT) as scheduler, AsyncRunner(LIMIT) as runner:
        await bursts(backend, scheduler)
        await one_at_a_time(backend, scheduler)
        await gathers(backend, runner)
        await pools(backend)


if __name__ == "__main__":
    for backend in sys.argv[1:] or ["asyncio", "uvloop", "trio"]:
        print(f"\n=== {backend}, Python {sys.version.split()[0]}, anyio {importlib.metadata.version('anyio')}")
        if backend == "trio":
            anyio.run(main, backend, backend="trio")
        else:
            anyio.run(main, backend, backend="asyncio", backend_options={"use_uvloop": backend == "uvloop"})
