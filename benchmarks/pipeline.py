"""What a pipeline costs beside bare processes.

Run ``python benchmarks/pipeline.py [asyncio|uvloop|trio ...]``. Contenders take turns in one process; the medians of
the rounds are shown.

uvloop starts a process with libuv, which forks: the loop stands still for some milliseconds a process, more with the
memory of the parent, and a greater width does not help. Python's own subprocess module, which the others use, takes
vfork. What a pipeline adds is the same; the rows of bare processes show how slow uvloop is by itself.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio

from sentrio.pipeline import AsyncPipelineExecutor

ROUNDS = 15
BATCH = 20
FEW = 200
MANY = 2_000
WIDTH = 50


async def bare() -> None:
    for _ in range(BATCH):
        await anyio.run_process(["true"])


async def overhead() -> None:
    made = AsyncPipelineExecutor({"command": ["true"], "max_concurrent_sites": 1, "retry_count": 1})
    contenders: dict[str, Callable[[], Awaitable[object]]] = {
        "bare anyio.run_process": bare,
        "pipeline, width 1": partial(made.run_all_async, [str(number) for number in range(BATCH)]),
    }
    await compare(contenders, BATCH, rounds=ROUNDS)


async def compare(contenders: dict[str, Callable[[], Awaitable[object]]], count: int, *, rounds: int) -> None:
    """Print the median of each, the median ratio to the first, and the ratio of the best rounds.

    On a busy machine the last one is the one to look at.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        # In turns, and each first as often as the others: what else the machine does is shared fairly.
        for name in sorted(contenders, reverse=bool(number % 2)):
            before = time.perf_counter()
            await contenders[name]()
            seconds[name].append((time.perf_counter() - before) / count)
    base = next(iter(seconds.values()))
    for name, times in seconds.items():
        ratio = statistics.median(own / first for own, first in zip(times, base, strict=True))
        best = min(times) / min(base)
        print(f"  {name:28} {1e3 * statistics.median(times):>8.2f} ms a site {ratio:>6.2f} x   best {best:.2f} x")


async def width() -> None:
    made = AsyncPipelineExecutor({"command": ["sleep", "1"], "max_concurrent_sites": 5})
    before = time.perf_counter()
    results = await made.run_all_async([str(number) for number in range(10)])
    assert all(results.values())
    print(f"  {'10 sites of 1 s, width 5':28} {time.perf_counter() - before:>8.2f} s")


STUBBORN = "trap '' TERM; (trap '' TERM; while :; do sleep 0.1; done) & while :; do sleep 0.1; done"


async def stubborn() -> None:
    """Ten sites whose child and grandchild ignore SIGTERM, after a timeout and after a cancellation."""
    config = {"command": ["sh", "-c", STUBBORN], "max_concurrent_sites": 10, "kill_grace_seconds": 0.5}
    sites = [str(number) for number in range(10)]
    before = time.perf_counter()
    await AsyncPipelineExecutor({**config, "timeout": 1, "retry_count": 1}).run_all_async(sites)
    late = time.perf_counter() - before - 1.5
    with anyio.move_on_after(1):
        await AsyncPipelineExecutor(config).run_all_async(sites)
    took = time.perf_counter() - before - late - 1.5
    print(
        f"  {'10 stubborn sites':28} gone {late:.2f} s after the grace of a timeout, "
        f"{took - 1.5:.2f} s after that of a cancellation; left: {children()}"
    )


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def children() -> int:
    return sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def bare_wide(count: int) -> None:
    slots = anyio.CapacityLimiter(WIDTH)

    async def one(_: int) -> None:
        async with slots:
            await anyio.run_process(["true"])

    async with anyio.create_task_group() as tg:
        for number in range(count):
            tg.start_soon(one, number)


async def wide() -> None:
    made = AsyncPipelineExecutor({"command": ["true"], "max_concurrent_sites": WIDTH, "retry_count": 1})
    sites = [str(number) for number in range(FEW)]
    contenders: dict[str, Callable[[], Awaitable[object]]] = {
        f"bare, width {WIDTH}": partial(bare_wide, FEW),
        f"pipeline, width {WIDTH}": partial(made.run_all_async, sites),
    }
    await compare(contenders, FEW, rounds=6)


async def many() -> None:
    made = AsyncPipelineExecutor({"command": ["true"], "max_concurrent_sites": WIDTH, "retry_count": 1})
    await made.run_all_async([str(number) for number in range(100)])
    files, memory, before = descriptors(), peak(), time.perf_counter()
    results = await made.run_all_async([str(number) for number in range(MANY)])
    assert all(results.values())
    took = time.perf_counter() - before
    print(
        f"  {f'{MANY} sites of true, width {WIDTH}':28} {took:>8.2f} s   children left {children()}, "
        f"descriptors {descriptors() - files:+d}, peak memory {peak() - memory:+.1f} MB"
    )


async def main() -> None:
    await overhead()
    await wide()
    await width()
    await stubborn()
    await many()


if __name__ == "__main__":
    for backend in sys.argv[1:] or ("asyncio", "uvloop", "trio"):
        print(backend)
        if backend == "trio":
            anyio.run(main, backend="trio")
        else:
            anyio.run(main, backend="asyncio", backend_options={"use_uvloop": backend == "uvloop"})
