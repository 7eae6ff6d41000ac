from __future__ import annotations

import pickle
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from tests.async_core._moments import cancelled_when

from sentrio.async_core.streams import AsyncQueue, QueueStatistics
from sentrio.errors import QueueClosedError
from sentrio.testing import Backend, cancel_everywhere


async def test_first_in_first_out() -> None:
    queue = AsyncQueue[int](maxsize=3)
    for number in range(3):
        await queue.put(number)
    assert (queue.qsize(), queue.full(), queue.empty()) == (3, True, False)
    assert [await queue.get() for _ in range(3)] == [0, 1, 2]
    assert (queue.qsize(), queue.full(), queue.empty()) == (0, False, True)
    assert queue.maxsize == 3


async def test_nowait_tells_what_would_wait() -> None:
    queue = AsyncQueue[int](1)
    with pytest.raises(anyio.WouldBlock):
        queue.get_nowait()
    queue.put_nowait(1)
    with pytest.raises(anyio.WouldBlock):
        queue.put_nowait(2)
    assert queue.get_nowait() == 1


async def test_who_waits_longest_is_served_first() -> None:
    queue = AsyncQueue[int](1)
    got: list[tuple[str, int]] = []

    async def getter(name: str) -> None:
        got.append((name, await queue.get()))

    async with anyio.create_task_group() as tg:
        for name in "abc":
            tg.start_soon(getter, name)
            await wait_all_tasks_blocked()
        assert queue.statistics() == QueueStatistics(0, 1, 3, 0, closed=False)
        for number in range(3):
            queue.put_nowait(number)
        # All three have their item: a fourth getter takes none of them away.
        with pytest.raises(anyio.WouldBlock):
            queue.get_nowait()
    assert sorted(got) == [("a", 0), ("b", 1), ("c", 2)]

    await queue.put(0)
    async with anyio.create_task_group() as tg:
        for number in (1, 2, 3):
            tg.start_soon(queue.put, number)
            await wait_all_tasks_blocked()
        assert queue.statistics().waiting_put == 3
        assert [await queue.get() for _ in range(4)] == [0, 1, 2, 3]


async def test_close_wakes_everybody() -> None:
    errors: list[str] = []

    async def expect_closed(func: Any, *args: Any) -> None:
        with pytest.raises(QueueClosedError) as caught:
            await func(*args)
        errors.append(caught.value.operation)

    empty, full = AsyncQueue[int](), AsyncQueue[int](1)
    await full.put(1)
    async with anyio.create_task_group() as tg:
        for _ in range(3):
            tg.start_soon(expect_closed, empty.get)
            tg.start_soon(expect_closed, full.put, 2)
        await wait_all_tasks_blocked()
        await empty.close()
        full.close()
        full.close()
    assert sorted(errors) == ["get"] * 3 + ["put"] * 3
    assert empty.closed

    assert await full.get() == 1
    for call in (full.get_nowait, lambda: full.put_nowait(3)):
        with pytest.raises(QueueClosedError):
            call()
    await expect_closed(full.get)
    await expect_closed(full.put, 1)


async def test_a_loop_ends_when_the_queue_is_closed() -> None:
    queue = AsyncQueue[int](2)
    got: list[int] = []

    async def produce() -> None:
        async with queue:
            for number in range(10):
                await queue.put(number)

    async with anyio.create_task_group() as tg:
        tg.start_soon(produce)
        async for item in queue.stream().filter(lambda x: x % 2):
            got.append(item)  # noqa: PERF401  # read one by one
    assert got == [1, 3, 5, 7, 9]
    assert [item async for item in queue] == []


async def test_several_loops_share_the_items() -> None:
    queue = AsyncQueue[int]()
    got: list[int] = []

    async def consume() -> None:
        async for item in queue:
            got.append(item)  # noqa: PERF401  # shared with others

    async with anyio.create_task_group() as tg:
        for _ in range(3):
            tg.start_soon(consume)
        for number in range(20):
            await queue.put(number)
            if number % 5 == 0:
                await wait_all_tasks_blocked()
        queue.close()
    assert sorted(got) == list(range(20))


async def test_leaving_a_loop_leaves_the_queue() -> None:
    queue = AsyncQueue[int]()
    for number in range(3):
        queue.put_nowait(number)
    async for item in queue.stream():
        assert item == 0
        break
    assert queue.get_nowait() == 1
    assert not queue.closed


async def test_a_cancelled_getter_loses_no_item() -> None:
    queue = AsyncQueue[int]()
    got: list[int] = []

    async def getter(scope: anyio.CancelScope) -> None:
        with scope:
            got.append(await queue.get())

    async with anyio.create_task_group() as tg:
        scopes = [anyio.CancelScope() for _ in range(3)]
        for scope in scopes:
            tg.start_soon(getter, scope)
            await wait_all_tasks_blocked()
        queue.put_nowait(1)  # handed to the first getter
        queue.put_nowait(2)
        scopes[0].cancel()  # which is cancelled before it runs
        await wait_all_tasks_blocked()
        scopes[2].cancel()
    left = [queue.get_nowait() for _ in range(queue.qsize())]
    assert sorted(got + left) == [1, 2]


async def test_a_cancelled_putter_puts_nothing() -> None:
    queue = AsyncQueue[int](1)
    await queue.put(1)
    async with cancelled_when():
        await queue.put(2)
    assert queue.statistics().waiting_put == 0
    assert await queue.get() == 1
    assert queue.empty()


async def test_a_busy_pair_gives_the_loop_its_turn() -> None:
    queue = AsyncQueue[int]()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0)  # noqa: ASYNC115
            turns += 1

    async with anyio.create_task_group() as tg:
        tg.start_soon(other)
        for number in range(50_000):
            await queue.put(number)
            await queue.get()
        tg.cancel_scope.cancel()
    assert turns > 2


def test_every_item_arrives_once_however_it_is_cancelled(backend: Backend) -> None:
    state: dict[str, Any] = {}

    async def operation() -> None:
        queue = AsyncQueue[int](1)
        state.update(queue=queue, put=[], got=[])

        async def produce() -> None:
            for number in range(4):
                state["offered"] = number
                await queue.put(number)
                state["put"].append(number)
            queue.close()

        async with anyio.create_task_group() as tg:
            tg.start_soon(produce)
            async for item in queue:
                state["got"].append(item)

    def check() -> None:
        queue = state["queue"]
        arrived = state["got"] + [queue.get_nowait() for _ in range(queue.qsize())]
        assert arrived == list(range(len(arrived)))
        assert set(state["put"]) <= set(arrived)
        assert queue.statistics().waiting_get == queue.statistics().waiting_put == 0

    report = cancel_everywhere(operation, backend=backend, check=check)
    assert report.points >= 4


def test_refuses_values_out_of_range() -> None:
    with pytest.raises(ValueError, match="maxsize must be at least 0, got -1"):
        AsyncQueue(-1)
    with pytest.raises(ValueError, match="maxsize must be at least 0, got nan"):
        AsyncQueue(float("nan"))  # type: ignore[arg-type]


def test_the_error_survives_pickling() -> None:
    for operation in ("put", "get"):
        error = pickle.loads(pickle.dumps(QueueClosedError(operation)))  # noqa: S301
        assert (str(error), error.operation) == (str(QueueClosedError(operation)), operation)
        assert isinstance(error, RuntimeError)


def test_repr() -> None:
    queue = AsyncQueue[int](5)
    queue.close()
    assert repr(queue) == "<AsyncQueue closed, 0 of 5>"
    assert repr(AsyncQueue()) == "<AsyncQueue open, 0 of unbounded>"
