from __future__ import annotations

import math

import anyio
import anyio.lowlevel
import pytest

from sentrio.async_core.timeouts import async_timeout, with_timeout
from sentrio.testing import Backend, cancel_everywhere


async def test_a_block_that_is_cut_short_is_a_timeout_error() -> None:
    with pytest.raises(TimeoutError, match=r"^took longer than 0.01 s$"):
        async with async_timeout(0.01):
            await anyio.sleep_forever()


async def test_a_block_that_is_quick_enough_passes() -> None:
    async with async_timeout(5.0) as scope:
        await anyio.lowlevel.checkpoint()
    assert not scope.cancelled_caught
    async with async_timeout(None):
        await anyio.lowlevel.checkpoint()
    async with async_timeout(math.inf):
        await anyio.lowlevel.checkpoint()


async def test_zero_ends_the_block_where_it_first_gives_way() -> None:
    reached = False

    async def block() -> None:
        nonlocal reached
        async with async_timeout(0):
            reached = True
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await block()
    assert reached


async def test_the_deadline_may_be_moved() -> None:
    async def block() -> None:
        async with async_timeout(None) as scope:
            scope.deadline = anyio.current_time() + 0.01
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await block()


async def test_a_timeout_error_of_the_block_passes_unchanged() -> None:
    own = TimeoutError("the database says so")
    with pytest.raises(TimeoutError) as caught:
        async with async_timeout(5.0):
            raise own
    assert caught.value is own


async def test_an_outer_timeout_passes_through_an_inner_one() -> None:
    async def block() -> None:
        async with async_timeout(0.01), async_timeout(5.0):
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError, match="longer than 0.01 s"):
        await block()


async def test_may_be_used_again_but_not_inside_itself() -> None:
    timeout = async_timeout(0.01)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with timeout:
                await anyio.sleep_forever()
    async with timeout:
        with pytest.raises(RuntimeError, match="in use"):
            async with timeout:
                pass
    with pytest.raises(RuntimeError, match="not entered"):
        await timeout.__aexit__(None, None, None)


async def test_with_timeout_names_the_function() -> None:
    @with_timeout(seconds=0.01)
    async def slow_operation(value: int) -> int:
        """Keeps its docstring."""
        await anyio.sleep(value)
        return value

    assert (slow_operation.__name__, slow_operation.__doc__) == ("slow_operation", "Keeps its docstring.")
    assert await slow_operation(0) == 0
    with pytest.raises(TimeoutError, match=r"slow_operation took longer than 0.01 s"):
        await slow_operation(60)


@pytest.mark.parametrize("bad", [-1, -0.001, math.nan])
def test_refuses_what_is_no_duration(bad: float) -> None:
    expected = rf"seconds must be at least 0 seconds or None, got {bad}"
    with pytest.raises(ValueError, match=expected):
        async_timeout(bad)
    with pytest.raises(ValueError, match=expected):
        with_timeout(bad)


def test_refuses_what_is_no_number() -> None:
    with pytest.raises(TypeError, match="seconds must be a number"):
        async_timeout("5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="seconds must be a number"):
        async_timeout(True)


def test_decorates_async_functions_only() -> None:
    with pytest.raises(TypeError, match=r"@with_timeout\(\.\.\.\) decorates async functions"):
        with_timeout(1)(print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write @with_timeout\(30\.0\)"):
        with_timeout(print)  # type: ignore[arg-type]


def test_decorates_objects_and_methods_whose_call_is_async() -> None:
    class Service:
        async def __call__(self) -> int:
            return 1

        @with_timeout(5)
        async def method(self) -> int:
            return 2

    async def main() -> tuple[int, int]:
        return await with_timeout(5)(Service())(), await Service().method()

    assert anyio.run(main) == (1, 2)


def test_cancelled_anywhere_it_leaves_nothing(backend: Backend) -> None:
    async def operation() -> None:
        async with async_timeout(5):
            await anyio.lowlevel.checkpoint()
        await with_timeout(5)(anyio.sleep)(0)

    assert cancel_everywhere(operation, backend=backend).tries >= 2
