from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

from sentrio.async_core.limits import Limit, borrowed, with_semaphore
from sentrio.testing import Backend, cancel_everywhere


class Gauge:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    async def visit(self) -> None:
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            await anyio.sleep(0.001)
        finally:
            self.now -= 1


async def peak_of(limit: Limit) -> int:
    gauge = Gauge()
    visit = with_semaphore(limit)(gauge.visit)
    async with anyio.create_task_group() as tg:
        for _ in range(8):
            tg.start_soon(visit)
    return gauge.peak


@pytest.mark.parametrize("make", [anyio.Semaphore, anyio.CapacityLimiter])
async def test_limits_with_what_anyio_has(make: Callable[[int], Limit]) -> None:
    assert await peak_of(make(3)) == 3


async def test_limits_with_a_lock() -> None:
    assert await peak_of(anyio.Lock()) == 1


async def test_limits_with_what_the_backend_has(anyio_backend_name: str) -> None:
    limits: list[Any] = (
        [trio.Semaphore(3), trio.CapacityLimiter(3)]
        if anyio_backend_name == "trio"
        else [asyncio.Semaphore(3), asyncio.BoundedSemaphore(3)]
    )
    for limit in limits:
        assert await peak_of(limit) == 3


async def test_one_task_may_hold_several_tokens_of_a_limiter() -> None:
    limiter = anyio.CapacityLimiter(2)

    @with_semaphore(limiter)
    async def outer() -> int:
        return await inner()

    @with_semaphore(limiter)
    async def inner() -> int:
        held: int = limiter.borrowed_tokens
        return held

    assert await outer() == 2
    assert limiter.borrowed_tokens == 0
    async with borrowed(limiter), borrowed(limiter):
        assert limiter.borrowed_tokens == 2


async def test_one_limit_may_serve_several_functions() -> None:
    limit, gauge = anyio.CapacityLimiter(2), Gauge()
    first, second = (with_semaphore(limit)(gauge.visit) for _ in range(2))
    async with anyio.create_task_group() as tg:
        for _ in range(4):
            tg.start_soon(first)
            tg.start_soon(second)
    assert gauge.peak == 2


class MySemaphore(asyncio.Semaphore):
    pass


@pytest.mark.parametrize("make", [asyncio.Semaphore, asyncio.Lock, MySemaphore, trio.Semaphore], ids=str)
async def test_a_primitive_of_the_other_backend_is_an_error_at_once(
    make: Callable[..., Any], anyio_backend_name: str
) -> None:
    """Uncontended it would work, and fail in the middle of the night."""
    foreign = (make is trio.Semaphore) == (anyio_backend_name == "asyncio")
    limit = make() if make is asyncio.Lock else make(1)

    @with_semaphore(limit)
    async def work() -> str:
        return "done"

    if foreign:
        with pytest.raises(TypeError, match=rf"{make.__name__} can not be used as a limit under"):
            await work()
    else:
        assert await work() == "done"


def test_an_asyncio_primitive_under_trio_works_until_it_is_contended() -> None:
    """The experiment behind the error above."""
    semaphore = asyncio.Semaphore(1)

    async def main() -> None:
        async with semaphore:
            pass
        async with semaphore, semaphore:
            pass

    with pytest.raises((RuntimeError, AttributeError)):  # by version, and neither says what is wrong
        trio.run(main)


@pytest.mark.parametrize("bad", [5, None, "five", open])
def test_refuses_what_is_no_context_manager(bad: Any) -> None:
    with pytest.raises(TypeError, match="limit must be an async context manager"):
        with_semaphore(bad)


def test_decorates_async_functions_only() -> None:
    with pytest.raises(TypeError, match=r"@with_semaphore\(\.\.\.\) decorates async functions"):
        with_semaphore(anyio.Lock())(print)  # type: ignore[arg-type]


def test_cancelled_anywhere_it_gives_every_token_back(backend: Backend) -> None:
    limiters: list[anyio.CapacityLimiter] = []

    async def operation() -> None:
        limiters[:] = [anyio.CapacityLimiter(2)]
        visit = with_semaphore(limiters[0])(Gauge().visit)
        async with anyio.create_task_group() as tg:
            for _ in range(4):
                tg.start_soon(visit)

    assert cancel_everywhere(operation, backend=backend, limiters=lambda: limiters).tries >= 8
