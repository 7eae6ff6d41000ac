"""The documented first steps with runner, priorities and pool, as people type them: on bare asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sentrio.async_core import (
    AsyncRunner,
    ResourcePool,
    TaskPriority,
    async_background,
    async_run,
    async_timeout,
)


def test_quick_start() -> None:
    async def main() -> list[int]:
        async def task(n: int) -> int:
            await asyncio.sleep(0.001)
            return n * 2

        runner = AsyncRunner(max_workers=5)
        async with runner:
            return await runner.gather([task(i) for i in range(10)])

    assert asyncio.run(main()) == [n * 2 for n in range(10)]


def test_priorities() -> None:
    async def task() -> str:
        await asyncio.sleep(0)
        return "done"

    async def main() -> list[str]:
        runner = AsyncRunner(max_workers=10)
        async with runner:
            return [await runner.submit(task(), priority=priority) for priority in TaskPriority]

    assert [priority.name for priority in TaskPriority] == ["CRITICAL", "HIGH", "NORMAL", "LOW", "BACKGROUND"]
    assert asyncio.run(main()) == ["done"] * 5


def test_resource_pool() -> None:
    closed: list[dict[str, Any]] = []

    async def create_connection() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"conn": "database"}

    async def close_connection(connection: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        closed.append(connection)

    async def main() -> None:
        pool = ResourcePool(max_resources=10, factory=create_connection, cleanup=close_connection)
        async with pool.acquire() as resource:
            assert resource == {"conn": "database"}
        await pool.close()

    asyncio.run(main())
    assert closed == [{"conn": "database"}]


def test_functions() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 5

    async def main() -> int:
        task = async_background(work())
        assert isinstance(task, asyncio.Task)
        with pytest.raises(TimeoutError):
            async with async_timeout(0.01):
                await asyncio.sleep(60)
        result: int = await task
        return result

    assert async_run(main()) == 5
