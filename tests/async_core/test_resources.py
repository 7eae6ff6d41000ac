from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.async_core._moments import cancelled_when

from sentrio.async_core.resources import ResourcePool
from sentrio.errors import PoolClosedError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere


class Connections:
    """Makes, checks and closes dictionaries, which are neither hashable nor equal by identity."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.closed: list[dict[str, Any]] = []
        self.open = self.peak = 0
        self.factory_error: Exception | None = None
        self.close_error: Exception | None = None

    async def make(self) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        if self.factory_error is not None:
            raise self.factory_error
        connection = {"number": len(self.made), "good": True}
        self.made.append(connection)
        self.open += 1
        self.peak = max(self.peak, self.open)
        return connection

    async def close(self, connection: dict[str, Any]) -> None:
        self.closed.append(connection)
        self.open -= 1
        await anyio.lowlevel.checkpoint()
        if self.close_error is not None:
            raise self.close_error

    async def check(self, connection: dict[str, Any]) -> bool:
        await anyio.lowlevel.checkpoint()
        return bool(connection["good"])

    def pool(self, size: int, **options: Any) -> ResourcePool[dict[str, Any]]:
        return ResourcePool(size, self.make, self.close, **options)

    def each_closed_once(self) -> bool:
        return Counter(map(id, self.closed)) == Counter(map(id, self.made))


@pytest.fixture
def connections() -> Connections:
    return Connections()


async def test_lends_and_takes_back(connections: Connections) -> None:
    async with connections.pool(2) as pool:
        for _ in range(3):
            async with pool.acquire() as connection:
                assert connection["number"] == 0
                assert pool.statistics().in_use == 1
        assert (pool.statistics().idle, pool.statistics().created) == (1, 1)
    assert connections.each_closed_once()


async def test_plain_functions_will_do() -> None:
    closed: list[int] = []
    pool = ResourcePool(max_resources=1, factory=lambda: 7, cleanup=closed.append, check=lambda n: n == 7)
    async with pool:
        for _ in range(2):
            async with pool.acquire() as number:
                assert number == 7
    assert closed == [7]
    async with ResourcePool(1, object).acquire() as thing:
        assert thing is not None


async def test_never_more_than_allowed(connections: Connections) -> None:
    async def use(pool: ResourcePool[Any]) -> None:
        async with pool.acquire():
            await anyio.sleep(0.001)

    async with connections.pool(3) as pool, anyio.create_task_group() as tg:
        for _ in range(20):
            tg.start_soon(use, pool)
    assert connections.peak == len(connections.made) == 3


async def test_makes_several_at_the_same_time() -> None:
    waiting = 0
    all_there = anyio.Event()

    async def make() -> int:
        nonlocal waiting
        waiting += 1
        if waiting == 10:
            all_there.set()
        await all_there.wait()
        return waiting

    async def use() -> None:
        async with pool.acquire():
            pass

    pool = ResourcePool(10, make)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tg:
            for _ in range(10):
                tg.start_soon(use)


async def test_a_factory_that_hangs_holds_up_nobody_else() -> None:
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep_forever()
        return calls

    async def use() -> None:
        async with pool.acquire():
            pass

    pool = ResourcePool(2, make)
    async with anyio.create_task_group() as tg:
        tg.start_soon(use)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(30):
            for _ in range(5):
                await use()
        tg.cancel_scope.cancel()
    assert pool.statistics().in_use == 0


async def test_a_factory_that_fails_loses_no_place(connections: Connections) -> None:
    pool = connections.pool(1)
    connections.factory_error = OSError("refused")
    for _ in range(3):
        with pytest.raises(OSError, match="refused"):
            async with pool.acquire():
                pass
    connections.factory_error = None
    async with pool.acquire(timeout=5):
        assert pool.statistics().in_use == 1


async def test_first_come_first_served() -> None:
    """Somebody who gives back and takes again at once does not starve those who wait."""
    order: list[str] = []
    pool = ResourcePool(1, object)

    async def greedy() -> None:
        for _ in range(10):
            async with pool.acquire():
                order.append("greedy")
                await anyio.lowlevel.checkpoint()

    async def patient(name: str) -> None:
        async with pool.acquire():
            order.append(name)

    async with anyio.create_task_group() as tg:
        async with pool.acquire():
            for n in range(5):
                tg.start_soon(patient, f"patient {n}")
                await anyio.wait_all_tasks_blocked()
            tg.start_soon(greedy)
            await anyio.wait_all_tasks_blocked()
        tg.start_soon(patient, "late")
    assert [name for name in order if name.startswith("patient")] == [f"patient {n}" for n in range(5)]
    assert order.index("greedy") == 5
    assert order.index("late") <= 7


async def test_acquire_times_out_and_gives_up_its_place(connections: Connections) -> None:
    pool = connections.pool(1)

    async def borrow(timeout: float = 60) -> None:
        async with pool.acquire(timeout=timeout):
            pass

    async with anyio.create_task_group() as tg:
        async with pool.acquire():
            async with anyio.create_task_group() as others:

                async def attempt() -> None:
                    with pytest.raises(TimeoutError, match=r"no resource was free within 0.01 s"):
                        await borrow(0.01)

                others.start_soon(attempt)
            assert pool.statistics().waiting == 0
        tg.start_soon(borrow)
    assert pool.statistics().in_use == 0


async def test_the_timeout_ends_with_the_entry() -> None:
    async with ResourcePool(1, object).acquire(timeout=0.5):
        await anyio.sleep(0.6)


async def test_a_task_that_would_wait_for_itself_is_told(connections: Connections) -> None:
    pool = connections.pool(2)

    async def third() -> None:
        async with pool.acquire():
            pass

    async with pool.acquire(), pool.acquire():
        with pytest.raises(RuntimeError, match=r"has all 2 resources of the pool and would wait for itself"):
            await third()
    assert (pool.statistics().in_use, pool.statistics().idle) == (0, 2)


# --- broken ones -----------------------------------------------------------------------------------------


async def test_a_discarded_resource_is_never_lent_again(connections: Connections) -> None:
    pool = connections.pool(1)
    async with pool.acquire() as first:
        pool.discard(first)
        pool.discard(first)
        assert connections.closed == []  # its holder still has it
    assert connections.closed == [first]
    async with pool.acquire() as second:
        assert second is not first
    with pytest.raises(ValueError, match=r"is not a resource that this pool has lent"):
        pool.discard(first)


async def test_one_of_two_equal_resources_is_discarded(connections: Connections) -> None:
    pool: ResourcePool[list[int]] = ResourcePool(2, list)
    async with pool.acquire() as first, pool.acquire() as second:
        assert first == second
        pool.discard(second)
    assert pool.statistics().cleaned == 1
    async with pool.acquire() as third:
        assert third is first


async def fails(connection: object) -> bool:
    raise OSError("gone")


@pytest.mark.parametrize("how", ["says no", "raises"])
async def test_a_failing_check_replaces_the_resource(connections: Connections, how: str) -> None:
    pool = connections.pool(1, check=connections.check if how == "says no" else fails)
    async with pool.acquire() as first:
        first["good"] = False
    async with pool.acquire() as second:
        assert second is not first
    assert connections.closed == [first]
    assert connections.peak == 1


async def test_a_check_that_is_cancelled_costs_the_resource_but_no_place(connections: Connections) -> None:
    checking = anyio.Event()

    async def hang(connection: object) -> bool:
        checking.set()
        await anyio.sleep_forever()
        return True

    pool = connections.pool(1, check=hang)
    async with pool.acquire() as first:
        pass
    async with cancelled_when(checking.wait) as scope, pool.acquire():
        pass
    assert scope.cancelled_caught
    assert connections.closed == [first]
    assert (pool.statistics().in_use, pool.statistics().idle) == (0, 0)


async def test_a_clean_up_that_fails_on_the_way_back_is_logged_without_its_text(
    connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    pool = connections.pool(1)
    connections.close_error = OSError("postgres://user:hunter2@db")
    async with pool.acquire() as connection:
        pool.discard(connection)
    assert "cleaning up a resource failed with OSError" in caplog.text
    assert "hunter2" not in caplog.text
    async with pool.acquire(timeout=5):
        pass


async def test_no_more_idle_ones_than_allowed(connections: Connections) -> None:
    pool = connections.pool(3, max_idle=1)
    async with pool.acquire(), pool.acquire(), pool.acquire():
        pass
    assert (pool.statistics().idle, len(connections.closed)) == (1, 2)


# --- closing ---------------------------------------------------------------------------------------------


async def test_close_wakes_those_who_wait_and_cleans_each_once(connections: Connections) -> None:
    pool = connections.pool(3)
    done = anyio.Event()
    refused: list[str] = []

    async def hold() -> None:
        async with pool.acquire():
            await done.wait()

    async def wait() -> None:
        try:
            async with pool.acquire():
                pass
        except PoolClosedError as exc:
            refused.append(str(exc))

    async with pool.acquire():
        pass
    async with anyio.create_task_group() as tg:
        for _ in range(3):
            tg.start_soon(hold)
            await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            tg.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await pool.close()
        await anyio.wait_all_tasks_blocked()
        assert refused == ["resource pool is closed"] * 2
        with pytest.raises(PoolClosedError):
            async with pool.acquire():
                pass
        assert connections.closed == []
        done.set()
    assert len(connections.made) == 3
    assert connections.each_closed_once()
    await pool.close()
    assert connections.each_closed_once()


async def test_close_cleans_all_and_groups_the_errors(connections: Connections) -> None:
    pool = connections.pool(3)
    async with pool.acquire(), pool.acquire(), pool.acquire():
        pass
    connections.close_error = OSError("cannot close")
    with pytest.RaisesGroup(OSError, OSError, OSError, match="could not be cleaned up"):
        await pool.close()
    assert connections.each_closed_once()
    await pool.close()


async def test_a_resource_that_is_ready_after_the_close_is_cleaned_up(connections: Connections) -> None:
    go = anyio.Event()

    async def slow() -> dict[str, Any]:
        await go.wait()
        return await connections.make()

    pool = ResourcePool(1, slow, connections.close)

    async def borrow() -> None:
        with pytest.raises(PoolClosedError):
            async with pool.acquire():
                pass

    async with anyio.create_task_group() as tg:
        tg.start_soon(borrow)
        await anyio.wait_all_tasks_blocked()
        await pool.close()
        go.set()
    assert len(connections.made) == 1
    assert connections.each_closed_once()


async def test_closing_under_cancellation_still_cleans_up(connections: Connections) -> None:
    pool = connections.pool(2)
    async with pool.acquire(), pool.acquire():
        pass
    with anyio.CancelScope() as scope:
        scope.cancel()
        await pool.close()
    assert connections.each_closed_once()
    assert len(connections.closed) == 2


async def test_cancelled_while_it_is_used_a_resource_comes_back(connections: Connections) -> None:
    pool = connections.pool(1)
    async with cancelled_when(), pool.acquire():
        await anyio.sleep_forever()
    assert (pool.statistics().idle, pool.statistics().in_use) == (1, 0)


# --- what it refuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_resources": 0}, "max_resources must be at least 1, got 0"),
        ({"max_resources": math.nan}, "max_resources must be at least 1, got nan"),
        ({"max_idle": -1}, "max_idle must be at least 0 or None, got -1"),
        ({"max_idle_seconds": -1}, "max_idle_seconds must be at least 0 seconds or None, got -1"),
        ({"max_idle_seconds": math.nan}, "max_idle_seconds must be"),
        ({"cleanup_timeout": -1}, "cleanup_timeout must be"),
    ],
)
def test_refuses_values_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResourcePool(**{"max_resources": 1, "factory": object, **options})


@pytest.mark.parametrize("name", ["factory", "cleanup", "check"])
def test_refuses_what_can_not_be_called(name: str) -> None:
    options: dict[str, Any] = {"max_resources": 1, "factory": object, name: 3}
    with pytest.raises(TypeError, match=f"{name} must be callable, got 3"):
        ResourcePool(**options)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UnknownOptionError, match=r"'max_ressources'; did you mean 'max_resources'\?"):
        ResourcePool(max_ressources=3, factory=object)  # type: ignore[call-overload]


async def test_refuses_a_bad_timeout_at_once() -> None:
    with pytest.raises(ValueError, match="timeout must be at least 0 seconds or None, got -1"):
        ResourcePool(1, object).acquire(timeout=-1)


# --- cancelled at every point ----------------------------------------------------------------------------


def scenario(connections: Connections) -> Callable[[], Any]:
    async def operation() -> None:
        connections.__init__()  # type: ignore[misc]
        pool = connections.pool(2, check=connections.check)

        async def use(n: int) -> None:
            async with pool.acquire(timeout=5) as connection:
                await anyio.lowlevel.checkpoint()
                if n % 2:
                    pool.discard(connection)

        async with pool, anyio.create_task_group() as tg:
            for n in range(4):
                tg.start_soon(use, n)

    return operation


def test_cancelled_anywhere_acquire_and_close_leave_nothing(backend: Backend, connections: Connections) -> None:
    def check() -> None:
        assert connections.each_closed_once()
        assert connections.peak <= 2

    assert cancel_everywhere(scenario(connections), backend=backend, check=check).tries >= 15
