"""Ageing and timeouts of the scheduler, and idle times of the pool, in virtual time."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from sentrio.async_core.resources import ResourcePool
from sentrio.async_core.scheduler import TaskPriority, TaskScheduler


async def flood(scheduler: TaskScheduler, order: list[str], priority: TaskPriority) -> None:
    """Submit more urgent work than the scheduler can do: five tasks of a second in each four seconds."""

    async def urgent() -> None:
        order.append("urgent")
        await anyio.sleep(1)

    async with anyio.create_task_group() as tg:
        while True:
            tg.start_soon(scheduler.submit, urgent(), priority)
            await anyio.sleep(0.8)


@pytest.mark.parametrize(("aging", "latest"), [(10.0, 45.0), (1.0, 6.0), (100.0, 450.0)])
async def test_who_waits_grows_more_urgent(aging: float, latest: float) -> None:
    order: list[str] = []
    async with TaskScheduler(max_concurrent=1, aging_seconds=aging) as scheduler:
        async with anyio.create_task_group() as tg:
            tg.start_soon(flood, scheduler, order, TaskPriority.CRITICAL)
            await anyio.sleep(5)
            before = anyio.current_time()
            await scheduler.submit(anyio.lowlevel.checkpoint(), TaskPriority.LOW)
            waited = anyio.current_time() - before
            tg.cancel_scope.cancel()
    assert 3 * aging * 0.6 <= waited <= latest


async def test_a_level_takes_so_many_seconds() -> None:
    """A waiting task passes one that is a level more urgent if it is older by more than ten seconds."""
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)
        await anyio.lowlevel.checkpoint()

    async with TaskScheduler(max_concurrent=1) as scheduler, anyio.create_task_group() as tg:
        tg.start_soon(scheduler.submit, anyio.sleep(30))
        await anyio.sleep(1)
        tg.start_soon(scheduler.submit, note("normal, from second 1"))
        await anyio.sleep(9)
        tg.start_soon(scheduler.submit, note("high, from second 10"), TaskPriority.HIGH)
        await anyio.sleep(3)
        tg.start_soon(scheduler.submit, note("high, from second 13"), TaskPriority.HIGH)
    assert order == ["high, from second 10", "normal, from second 1", "high, from second 13"]


async def test_without_ageing_priorities_are_strict() -> None:
    order: list[str] = []
    async with TaskScheduler(max_concurrent=1, aging_seconds=None) as scheduler:
        with anyio.move_on_after(1000) as scope:
            async with anyio.create_task_group() as tg:
                tg.start_soon(flood, scheduler, order, TaskPriority.HIGH)
                await anyio.sleep(5)
                await scheduler.submit(anyio.lowlevel.checkpoint(), TaskPriority.LOW)
    assert scope.cancelled_caught
    assert len(order) > 900


async def test_the_clock_of_a_timeout_starts_at_the_submit() -> None:
    async with TaskScheduler(max_concurrent=1) as scheduler, anyio.create_task_group() as tg:
        tg.start_soon(scheduler.submit, anyio.sleep(100))
        await anyio.sleep(1)
        before = anyio.current_time()
        with pytest.raises(TimeoutError, match="all of them in the queue"):
            await scheduler.submit(anyio.sleep(1), timeout=30)
        assert anyio.current_time() - before == pytest.approx(30)
        with pytest.raises(TimeoutError, match=r"^sleep took longer than 80 s$"):
            await scheduler.submit(anyio.sleep(60), timeout=80)
        assert anyio.current_time() - before == pytest.approx(110)


async def test_leaving_after_an_error_waits_at_most_five_seconds_for_a_stubborn_task() -> None:
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1000)

    scheduler = TaskScheduler()

    async def block() -> None:
        async with scheduler:
            tg.start_soon(submit_quietly)
            await anyio.sleep(1)
            raise LookupError

    async def submit_quietly() -> None:
        await scheduler.submit(stubborn())

    async with anyio.create_task_group() as tg:
        with pytest.raises(LookupError):
            await block()
        assert anyio.current_time() == pytest.approx(6, abs=0.01)


async def test_resources_that_were_idle_for_too_long_are_not_lent_again() -> None:
    made: list[object] = []
    cleaned: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    pool = ResourcePool(3, make, cleaned.append, max_idle_seconds=60)
    async with pool.acquire(), pool.acquire(), pool.acquire():
        pass
    await anyio.sleep(50)
    async with pool.acquire() as last:
        assert last in made
    await anyio.sleep(20)
    async with pool.acquire() as again:
        assert again is last
    assert (len(made), len(cleaned)) == (3, 2)
    await anyio.sleep(61)
    async with pool.acquire() as new:
        assert new not in cleaned
    assert (len(made), len(cleaned)) == (4, 3)


async def test_a_clean_up_that_hangs_ends_at_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(resource: object) -> None:
        await anyio.sleep_forever()

    pool = ResourcePool(2, object, hang, cleanup_timeout=7)
    async with pool.acquire() as resource:
        pool.discard(resource)
    assert anyio.current_time() == pytest.approx(7)
    assert "failed with TimeoutError" in caplog.text
    async with pool.acquire(), pool.acquire():
        pass
    with pytest.RaisesGroup(TimeoutError, TimeoutError):
        await pool.close()
    assert anyio.current_time() == pytest.approx(14)  # both at once
