"""Reading, copying, walking and watching files; prints a table.

Usage: ``python benchmarks/async_core_files.py [--files 10000] [--walk 100000] [--backend asyncio|trio]``
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from sentrio.async_core.file import AsyncDirectoryWatcher, AsyncFileReader, async_copy_file, walk_async


async def count(source: AsyncIterable[Any]) -> int:
    total = 0
    async for _ in source:
        total += 1
    return total


async def with_stalls(operation: Callable[[], Awaitable[Any]]) -> tuple[float, float, float]:
    """Return the seconds that ``operation`` took, and how late (99th percentile, maximum) a timer was."""
    stalls: list[float] = []
    done = anyio.Event()

    async def other() -> None:
        while not done.is_set():
            before = time.perf_counter()
            await anyio.sleep(0.001)
            stalls.append(time.perf_counter() - before - 0.001)

    async with anyio.create_task_group() as tg:
        tg.start_soon(other)
        begun = time.perf_counter()
        await operation()
        taken = time.perf_counter() - begun
        done.set()
    stalls.sort()
    return taken, stalls[int(len(stalls) * 0.99)], stalls[-1]


def fill(folder: Path, files: int) -> None:
    for number in range(files):
        if number % 1000 == 0:
            (folder / str(number // 1000)).mkdir(parents=True)
        (folder / str(number // 1000) / f"{number}.csv").touch()


async def reading(folder: Path) -> None:
    path = folder / "lines.txt"
    path.write_text("".join(f"line number {number}\n" for number in range(500_000)))
    begun = time.perf_counter()
    lines = await count(AsyncFileReader(path).stream_lines())
    print(f"stream_lines: {lines / (time.perf_counter() - begun):,.0f} lines/s")
    begun = time.perf_counter()
    with path.open() as file:
        lines = sum(1 for _ in file)
    print(f"  a plain loop: {lines / (time.perf_counter() - begun):,.0f} lines/s")


async def copying(folder: Path) -> None:
    with (folder / "large").open("wb") as file:
        for _ in range(256):
            file.write(b"x" * 1024 * 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    await async_copy_file(folder / "large", folder / "copy")
    taken = time.perf_counter() - begun
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"async_copy_file: 256 MiB in {taken:.2f} s, adds {added / 1024:.1f} MiB of memory")


async def walking(folder: Path, files: int) -> None:
    # How late timers are while nothing happens is what the machine adds to the figures below it.
    operations: dict[str, Callable[[], Awaitable[Any]]] = {
        "an idle loop": lambda: anyio.sleep(0.5),
        f"walk_async, {files:,} files, pattern '*'": lambda: count(walk_async(folder)),
        f"walk_async, {files:,} files, pattern '*.none'": lambda: count(walk_async(folder, "*.none")),
    }
    for name, operation in operations.items():
        taken, high, worst = min([await with_stalls(operation) for _ in range(3)], key=lambda run: run[1])
        print(f"{name}: {taken:.2f} s, stall p99 {high * 1e3:.1f} ms, max {worst * 1e3:.1f} ms")


async def watching(folder: Path, files: int, seconds: float, *, polling: bool) -> None:
    watcher = AsyncDirectoryWatcher(folder, force_polling=polling)
    latencies = []
    async with watcher.watch() as changes:
        with anyio.move_on_after(0.5):
            await anext(changes)
    async with watcher.watch() as changes:
        begun, used = time.perf_counter(), time.process_time()
        with anyio.move_on_after(seconds):
            await anext(changes)
        idle = (time.process_time() - used) / (time.perf_counter() - begun)
    async with watcher.watch() as changes:
        for number in range(10):
            await anyio.sleep(0.13)
            begun = time.perf_counter()
            (folder / f"new{number}-{polling}").touch()
            await anext(changes)
            latencies.append(time.perf_counter() - begun)
    how = "polling every second" if polling else "events"
    median, worst = statistics.median(latencies), max(latencies)
    print(
        f"watcher ({how}), {files:,} files: idle {idle:.2%} of a processor, "
        f"change seen after {median:.3f} s (median), {worst:.3f} s (max)"
    )


async def main(files: int, walk: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await reading(folder)
        await copying(folder)
        fill(folder / "walk", walk)
        await walking(folder / "walk", walk)
        fill(folder / "watch", files)
        await watching(folder / "watch", files, 10, polling=False)
        await watching(folder / "watch", files, 10, polling=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--walk", type=int, default=100_000)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    chosen = parser.parse_args()
    anyio.run(main, chosen.files, chosen.walk, backend=chosen.backend)
