"""Many runs leave nothing behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Awaitable, Callable

import anyio
import polars as pl
import psutil
import pytest

from sentrio import AsyncCheckpointRunner, Checkpoint, CheckpointPool, CheckpointResult

pytestmark = pytest.mark.endurance

FRAME = pl.DataFrame({"a": [1, 2, 3]})


async def act(result: CheckpointResult) -> None:
    pass


async def through_a_pool(given: list[Checkpoint]) -> None:
    async with CheckpointPool(workers=10) as pool:
        await pool.submit_many(given)


async def through_a_runner(given: list[Checkpoint]) -> None:
    async with AsyncCheckpointRunner() as runner:
        for checkpoint in given:
            await runner.run_once_async(checkpoint)


@pytest.mark.chaos
@pytest.mark.parametrize("through", [through_a_pool, through_a_runner])
async def test_runs_leave_nothing(through: Callable[[list[Checkpoint]], Awaitable[None]], large_counts: int) -> None:
    async def rounds(count: int) -> int:
        for _ in range(count):
            # Checkpoints of their own: what one keeps, it keeps only as long as it lives.
            await through([Checkpoint(str(number), FRAME, ["not_null"], [act]) for number in range(25)] * 20)
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    memory = await rounds(2)
    threads, tasks = threading.active_count(), len(anyio.get_running_tasks())
    grown = await rounds(4 * large_counts) - memory
    assert grown < 8 * 2**20
    assert threading.active_count() <= threads
    assert len(anyio.get_running_tasks()) == tasks
