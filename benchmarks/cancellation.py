"""How soon a cancelled validation returns, and how much CPU the process uses afterwards."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import trio
from _data import FOLDER, SUITE, suite_data

from sentrio.validation.run import Validation
from sentrio.validation.sources.files import make_source
from sentrio.validation.validators import make_validator

SUITES: dict[str, list[Any]] = {
    "suite": SUITE,
    "unique": [{"unique": {"column": "email"}}],
    "quantile": [{"quantile": {"column": "amount", "q": 0.9, "max": 1e9}}],
    "long": [{"regex": {"column": "text", "pattern": r"lorem \d+$"}}, {"length": {"column": "text", "max": 10**6}}],
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


WAYS = [
    ("asyncio", "task.cancel()", by_task_cancel),
    ("asyncio", "asyncio.timeout", by_asyncio_timeout),
    ("trio", "trio.move_on_after", by_trio_move_on),
    ("trio", "anyio.fail_after", by_fail_after),
]


def long_texts(rows: int) -> Path:
    """Return a Parquet file with texts of 10 kB."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"long-{rows}.parquet"
    if not path.exists():
        text = (pl.int_range(rows, eager=True).hash(1).cast(pl.String) + " lorem ipsum dolor sit amet ").repeat_by(
            220
        )
        half = path.with_suffix(".half")
        pl.DataFrame({"text": text.list.join("")}).write_parquet(half)
        half.rename(path)
    return path


def known(rules: list[Any]) -> list[Any]:
    """Return the rules whose validators are there."""
    found = []
    for rule in rules:
        try:
            make_validator(rule)
        except Exception as exc:
            print(f"left out: {exc}")
        else:
            found.append(rule)
    return found


async def once(path: Path, rules: list[Any], in_flight: int, cancel: Any, after: float) -> tuple[float, float, bool]:
    """Cancel one validation; return how late it was, the CPU seconds of the next two, and whether it had ended."""
    validation = Validation(make_source(path), [make_validator(rule) for rule in rules], in_flight=in_flight)
    started = time.perf_counter()
    await cancel(validation.run, after)
    late = time.perf_counter() - started - after
    cpu = time.process_time()
    await anyio.sleep(2)
    return late, time.process_time() - cpu, validation.report().complete


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000_000)
    parser.add_argument("--long-rows", type=int, default=200_000, help="rows of 10 kB text")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--suites", nargs="+", default=list(SUITES))
    parser.add_argument("--in-flight", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--after", type=float, default=0.35, help="the earliest cancellation, in seconds")
    given = parser.parse_args()
    print(
        f"{given.rows:,} rows; each figure over {given.repeats} cancellations, {given.after} s and later into the run"
    )
    print(
        f"{'suite':9} {'in flight':>9} {'backend':8} {'how':20} {'median ms':>9} {'p95 ms':>7} {'CPU s in the next 2 s':>22}"
    )
    for name in given.suites:
        rules = known(SUITES[name])
        if not rules:
            continue
        path = long_texts(given.long_rows) if name == "long" else suite_data(given.rows, "one")
        for in_flight in given.in_flight:
            for backend, how, cancel in WAYS:
                figures = [
                    # A little later each time, so that every part of a morsel is hit.
                    anyio.run(
                        partial(once, path, rules, in_flight, cancel, given.after + 0.007 * number), backend=backend
                    )
                    for number in range(given.repeats)
                ]
                ended = sum(figure[2] for figure in figures)
                late = sorted(figure[0] * 1000 for figure in figures)
                p95 = late[round(0.95 * (len(late) - 1))]
                cpu = max(figure[1] for figure in figures)
                note = f"   {ended} had ended before: give more rows" if ended else ""
                print(
                    f"{name:9} {in_flight:9} {backend:8} {how:20} {statistics.median(late):9.0f} {p95:7.0f} {cpu:22.3f}{note}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
