"""Cancellation reaches the data, however it is asked for, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest
import trio

import sentrio
from sentrio import Checkpoint
from sentrio.async_core.threads import thread_statistics
from sentrio.testing import Backend, cancel_everywhere

HEAVY = [
    "not_null",
    {"regex": {"column": "text", "pattern": r"^([0-9]+)+@(e|x|a|m|p|l)+\.com$"}},
    {"unique": {"column": "text"}},
]


pytestmark = pytest.mark.usefixtures("patient")


def test_cancelled_anywhere_a_run_leaves_nothing(
    backend: Backend, tmp_path: Path, penguins: dict[str, object]
) -> None:
    stored = tmp_path / "stored"
    entries = ["not_null", {"unique": {"column": "island"}}, {"mean": {"column": "body_mass_g", "min": 0}}]
    checkpoint = Checkpoint(
        "p", penguins, entries, actions=[{"store": {"path": stored}}, {"store": {"path": stored}}], morsel_rows=120
    )

    def only_whole_files() -> None:
        if stored.exists():
            sentrio.load_results(stored)
            assert not [path for path in stored.iterdir() if path.suffix != ".json"]

    report = cancel_everywhere(checkpoint.run_async, backend=backend, check=only_whole_files)
    assert report.points > 10


def test_cancelled_anywhere_a_check_of_a_frame_leaves_nothing(backend: Backend, frame: pl.DataFrame) -> None:
    def run() -> Awaitable[object]:
        return sentrio.check_async(frame, ["not_null"], morsel_rows=1)

    assert cancel_everywhere(run, backend=backend).points >= 3


async def by_asyncio_task(run: Callable[[], Awaitable[object]]) -> None:
    task = asyncio.ensure_future(run())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_asyncio_timeout(run: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await run()


async def by_move_on_after(run: Callable[[], Awaitable[object]]) -> None:
    with trio.move_on_after(0.1) as scope:
        await run()
    assert scope.cancelled_caught


async def by_fail_after(run: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.1):
            await run()


@pytest.mark.parametrize(
    ("name", "cancel"),
    [
        ("asyncio", by_asyncio_task),
        ("asyncio", by_asyncio_timeout),
        ("asyncio", by_fail_after),
        ("trio", by_move_on_after),
        ("trio", by_fail_after),
    ],
)
def test_a_cancelled_run_ends_soon_and_uses_no_cpu(name: str, cancel: Any, large_file: Path) -> None:
    """Generous bounds, since the machine may be busy; the benchmark prints the figures."""
    checkpoint = Checkpoint("large", large_file, HEAVY)

    async def main() -> tuple[float, float]:
        started = time.perf_counter()
        await cancel(checkpoint.run_async)
        elapsed = time.perf_counter() - started
        cpu = time.process_time()
        await anyio.sleep(0.3)
        return elapsed, time.process_time() - cpu

    elapsed, cpu = anyio.run(main, backend=name)
    assert elapsed < 9.0
    assert cpu < 0.15
    assert thread_statistics().running == 0
