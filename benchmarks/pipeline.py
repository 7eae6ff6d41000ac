"""What a pipeline costs beside bare processes.

Run ``python benchmarks/pipeline.py [asyncio|uvloop|trio ...]``. The contenders of the first table take turns in
one process; the medians of the rounds are shown.
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

ROUNDS = 9
BATCH = 20
MANY = 2_000


async def bare() -> None:
    for _ in range(BATCH):
        await anyio.run_process(["true"])


async def overhead() -> None:
    made = AsyncPipelineExecutor({"command": ["true"], "max_concurrent_sites": 1, "retry_count": 1})
    contenders: dict[str, Callable[[], Awaitable[object]]] = {
        "bare anyio.run_process": bare,
        "pipeline, width 1": partial(made.run_all_async, [str(number) for number in range(BATCH)]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            before = time.perf_counter()
            await contender()
            seconds[name].append((time.perf_counter() - before) / BATCH)
    base = statistics.median(seconds["bare anyio.run_process"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"  {name:28} {1e3 * median:>8.2f} ms a site {median / base:>6.2f} x")


async def width() -> None:
    made = AsyncPipelineExecutor({"command": ["sleep", "1"], "max_concurrent_sites": 5})
    before = time.perf_counter()
    results = await made.run_all_async([str(number) for number in range(10)])
    assert all(results.values())
    print(f"  {'10 sites of 1 s, width 5':28} {time.perf_counter() - before:>8.2f} s")


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def children() -> int:
    return sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children"))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def many() -> None:
    made = AsyncPipelineExecutor({"command": ["true"], "max_concurrent_sites": 50, "retry_count": 1})
    await made.run_all_async([str(number) for number in range(100)])
    files, memory, before = descriptors(), peak(), time.perf_counter()
    results = await made.run_all_async([str(number) for number in range(MANY)])
    assert all(results.values())
    took = time.perf_counter() - before
    zombies = children()
    print(
        f"  {f'{MANY} sites of true, width 50':28} {took:>8.2f} s   children left {zombies}, "
        f"descriptors {descriptors() - files:+d}, peak memory {peak() - memory:+.1f} MB"
    )


async def main() -> None:
    await overhead()
    await width()
    await many()


if __name__ == "__main__":
    for backend in sys.argv[1:] or ("asyncio", "uvloop", "trio"):
        print(backend)
        if backend == "trio":
            anyio.run(main, backend="trio")
        else:
            anyio.run(main, backend="asyncio", backend_options={"use_uvloop": backend == "uvloop"})
