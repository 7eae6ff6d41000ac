"""Wait for what a test needs, and cancel at a moment that no clock decides.

A machine that stands still for a moment lets ten milliseconds pass before a call has begun.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio


async def until(condition: Callable[[], object]) -> None:
    """Wait for what other tasks or threads bring about."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.001)


@asynccontextmanager
async def cancelled_when(
    moment: Callable[[], Awaitable[object]] = anyio.wait_all_tasks_blocked,
) -> AsyncGenerator[anyio.CancelScope]:
    """Cancel the block once ``moment`` has returned: ``event.wait``, or, by default, when every task waits."""

    async def cancel() -> None:
        await moment()
        scope.cancel()

    async with anyio.create_task_group() as tg:
        with anyio.CancelScope() as scope:
            tg.start_soon(cancel)
            yield scope
        tg.cancel_scope.cancel()
