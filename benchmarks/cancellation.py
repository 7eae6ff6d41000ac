"""How soon a cancelled checkpoint returns, and how much CPU the process uses afterwards.

Each run is cancelled somewhere between a quarter and three quarters of the time that it takes. Beside it stands how long
a bare call of nothing in a worker thread takes meanwhile: what the machine itself adds to every answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import polars as pl
import trio
from _data import FOLDER, SUITE, suite_data

import sentrio
from sentrio.checkpoint import run as checkpoint_run
from sentrio.validation.run import Validation

SUITES: dict[str, list[Any]] = {
    "suite": SUITE,
    "unique": [{"unique": {"column": "id"}}],
    "repeats": [{"unique": {"column": "email"}}],
    "median": [{"median": {"column": "amount", "min": 0}}],
    "long": [{"regex": {"column": "text", "pattern": r"lorem \d+$"}}, {"length": {"column": "text", "max": 10**6}}],
    "long unique": [{"unique": {"column": "text"}}],
}

Run = Callable[[], Awaitable[object]]


async def by_task_cancel(run: Run, after: float) -> None:
    task = asyncio.ensure_future(run())
    await asyncio.sleep(after)
    task.cancel()
    await asyncio.wait([task])


async def by_asyncio_timeout(run: Run, after: float) -> None:
    try:
        async with asyncio.timeout(after):
            await run()
    except TimeoutError:
        pass


async def by_trio_move_on(run: Run, after: float) -> None:
    with trio.move_on_after(after):
        await run()


async def by_fail_after(run: Run, after: float) -> None:
    try:
        with anyio.fail_after(after):
            await run()
    except TimeoutError:
        pass


WAYS = {
    "task.cancel": ("asyncio", by_task_cancel),
    "asyncio.timeout": ("asyncio", by_asyncio_timeout),
    "trio.move_on_after": ("trio", by_trio_move_on),
    "anyio.fail_after": ("trio", by_fail_after),
}


def long_texts(rows: int, group: int | None) -> Path:
    """Return a Parquet file with texts of 10 kB, of which every tenth occurs twice.

    :param group: rows of a row group; ``None``: as many as Polars likes, which is all of them
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"long-texts-{rows}-{group}.parquet"
    if path.exists():
        return path
    step = 2_000
    parts = []
    for first in range(0, rows, step):
        number = pl.int_range(first, min(first + step, rows), eager=True)
        number = pl.select(pl.when(number % 10 == 0).then(number // 20 * 20).otherwise(number)).to_series()
        words = [number.hash(seed).cast(pl.String) for seed in range(500)]
        parts.append(pl.select(pl.concat_str(words, separator=" ")).to_series().alias("text"))
    half = path.with_suffix(".half")
    pl.concat(parts).to_frame().write_parquet(half, row_group_size=group)
    half.rename(path)
    return path


@attrs.frozen
class Try:
    late: float  #: milliseconds
    cpu: float  #: seconds, in the next two
    hop: float  #: milliseconds of a call of nothing
    ended: bool  #: whether it had ended before


async def hops(found: list[float]) -> None:
    """Measure calls of nothing for as long as nobody stops it."""
    while True:
        started = time.perf_counter()
        await anyio.to_thread.run_sync(int)
        found.append(time.perf_counter() - started)
        await anyio.sleep(0.01)


async def once(checkpoint: sentrio.Checkpoint, cancel: Any, after: float) -> Try:
    found: list[float] = []
    ended = False

    async def run() -> None:
        nonlocal ended
        await checkpoint.run_async()
        ended = True

    async with anyio.create_task_group() as tg:
        tg.start_soon(hops, found)
        started = time.perf_counter()
        await cancel(run, after)
        late = time.perf_counter() - started - after
        tg.cancel_scope.cancel()
    cpu = time.process_time()
    await anyio.sleep(2)
    return Try(late * 1000, time.process_time() - cpu, p95(found) * 1000, ended)


def p95(values: Sequence[float]) -> float:
    return sorted(values)[round(0.95 * (len(values) - 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000_000)
    parser.add_argument("--long-rows", type=int, default=100_000, help="rows of 10 kB text")
    parser.add_argument("--long-group", type=int, default=None, help="rows of a row group of these")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--suites", nargs="+", default=list(SUITES))
    parser.add_argument("--in-flight", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--ways", nargs="+", default=["task.cancel", "trio.move_on_after"], choices=WAYS)
    given = parser.parse_args()
    print(f"{given.rows:,} rows; each figure over {given.repeats} cancellations; aims: 100 ms, 0.05 s")
    print(
        f"{'suite':11} {'in flight':>9} {'how':19} {'whole s':>8} {'median ms':>9} {'p95 ms':>7} {'most ms':>8} "
        f"{'hop p95':>8} {'CPU s after':>12} {'load':>5}"
    )
    for name in given.suites:
        long = name.startswith("long")
        path = long_texts(given.long_rows, given.long_group) if long else suite_data(given.rows, "one")
        for in_flight in given.in_flight:
            # No option of a checkpoint: by default it is the number of threads that Polars has.
            checkpoint_run.Validation = partial(Validation, in_flight=in_flight)  # type: ignore[attr-defined, assignment]
            checkpoint = sentrio.Checkpoint("a", str(path), SUITES[name])
            started = time.perf_counter()
            checkpoint.run()
            whole = time.perf_counter() - started
            for how in given.ways:
                backend, cancel = WAYS[how]
                tries = [
                    # Somewhere else each time, so that every part of a run and of a morsel is hit.
                    anyio.run(
                        partial(once, checkpoint, cancel, whole * (0.25 + 0.5 * number / given.repeats)),
                        backend=backend,
                    )
                    for number in range(given.repeats)
                ]
                late = [each.late for each in tries if not each.ended] or [0.0]
                ended = sum(each.ended for each in tries)
                print(
                    f"{name:11} {in_flight:9} {how:19} {whole:8.2f} {statistics.median(late):9.0f} {p95(late):7.0f} "
                    f"{max(late):8.0f} {statistics.median(each.hop for each in tries):8.1f} "
                    f"{max(each.cpu for each in tries):12.3f} {os.getloadavg()[0]:5.1f}"
                    + (f"   {ended} had ended before" if ended else ""),
                    flush=True,
                )


if __name__ == "__main__":
    main()
