"""A pool answers everybody who has submitted, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import polars as pl
import pytest
from tests.async_core._moments import cancelled_when, until
from tests.checkpoint._running import Gate, checkpoint

from sentrio import Checkpoint, CheckpointResult
from sentrio.checkpoint.pool import CheckpointPool, run_checkpoints_parallel
from sentrio.checkpoint.registry import (
    get_checkpoint,
    list_checkpoints,
    register_checkpoint,
    unregister_checkpoint,
)
from sentrio.errors import OptionValueError, PoolClosedError, UnknownCheckpointError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere


async def test_results_come_in_the_order_of_the_input() -> None:
    given = [checkpoint(f"c{number}") for number in range(30)]
    async with CheckpointPool(workers=4) as pool:
        results = await pool.submit_many(given)
        assert [result.checkpoint_name for result in results] == [f"c{number}" for number in range(30)]
        assert (await pool.submit(given[3])).checkpoint_name == "c3"
    assert pool.get_stats() == {
        "workers": 4, "running": 0, "waiting": 0, "completed_runs": 31, "failed_runs": 0, "callback_errors": 0,
        "abandoned_threads": 0,
    }  # fmt: skip


async def test_no_more_at_once_than_workers() -> None:
    gate = Gate()
    async with CheckpointPool(workers=3) as pool, anyio.create_task_group() as tg:
        tg.start_soon(pool.submit_many, [checkpoint("c", gate)] * 10)
        await gate.until(3)
        tg.start_soon(pool.submit, checkpoint("d", gate))
        await anyio.wait_all_tasks_blocked()
        assert (pool.statistics().running, pool.statistics().waiting) == (3, 1)
        gate.open.set()
    assert gate.most == 3


async def test_first_come_first_served() -> None:
    gate, order = Gate(), []

    async def submit(number: int) -> None:
        order.append(int((await pool.submit(checkpoint(str(number)))).checkpoint_name))

    async with CheckpointPool(workers=1) as pool, anyio.create_task_group() as tg:
        tg.start_soon(pool.submit, checkpoint("gate", gate))
        await gate.until(1)
        for number in range(20):
            tg.start_soon(submit, number)
            await anyio.wait_all_tasks_blocked()
        gate.open.set()
    assert order == list(range(20))


async def test_not_started_or_stopped_it_refuses_at_once() -> None:
    pool = CheckpointPool()
    for state in ("is not running: start", "was shut down"):
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: pool.submit(checkpoint()),
            lambda: pool.submit_many([checkpoint()]),
            lambda: pool.submit_many([]),
            lambda: pool.stream([checkpoint()]).__aenter__(),
        ]
        for call in calls:
            with pytest.raises(PoolClosedError, match=f"checkpoint pool {state}"):
                await call()
        await pool.start()
        await pool.start()
        assert await pool.submit(checkpoint())
        await pool.stop()
        await pool.stop()
    await pool.start()
    assert await pool.submit(checkpoint())
    await pool.stop()


async def test_stop_drains_what_runs_and_what_waits() -> None:
    gate, results = Gate(), []

    async def submit() -> None:
        results.append(await pool.submit(checkpoint("c", gate)))

    pool = CheckpointPool(workers=2)
    await pool.start()
    async with anyio.create_task_group() as tg:
        for _ in range(10):
            tg.start_soon(submit)
        await gate.until(2)
        tg.start_soon(pool.stop)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(PoolClosedError):
            await pool.submit(checkpoint())
        gate.open.set()
    assert len(results) == 10
    assert all(results)


async def test_stop_without_draining_answers_every_submitter() -> None:
    gate, refused = Gate(), list[int]()

    async def submit(number: int) -> None:
        with pytest.raises(PoolClosedError, match="was stopped before the checkpoint had ended"):
            await pool.submit(checkpoint("c", gate))
        refused.append(number)

    seen: list[CheckpointResult] = []
    pool = CheckpointPool(workers=4, result_callback=seen.append)
    await pool.start()
    async with anyio.create_task_group() as tg:
        for number in range(92):
            tg.start_soon(submit, number)
        await gate.until(4)
        await pool.stop(drain=False)
        assert gate.inside == 0
        assert pool.statistics().running == pool.statistics().waiting == 0
    assert sorted(refused) == list(range(92))
    assert not seen


async def test_leaving_by_an_error_cancels_and_raises_that_error() -> None:
    gate, refused = Gate(), list[PoolClosedError]()

    async def submit(pool: CheckpointPool) -> None:
        try:
            await pool.submit(checkpoint("c", gate))
        except PoolClosedError as exc:
            refused.append(exc)

    async with anyio.create_task_group() as tg:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012  # what the block's end does is the point
            async with CheckpointPool(workers=2) as pool:
                for _ in range(10):
                    tg.start_soon(submit, pool)
                await gate.until(2)
                raise ZeroDivisionError
    assert len(refused) == 10


async def test_cancelling_a_submitter_ends_its_run_and_frees_its_slot() -> None:
    gate = Gate()
    async with CheckpointPool(workers=1) as pool:
        for _ in range(3):
            async with cancelled_when(lambda: gate.until(1)):
                await pool.submit(checkpoint("c", gate))
            assert gate.inside == 0
        async with anyio.create_task_group() as tg:  # one that waits for its slot
            tg.start_soon(pool.submit, checkpoint("c", gate))
            await gate.until(1)
            async with cancelled_when(lambda: until(lambda: pool.statistics().waiting)) as scope:
                await pool.submit(checkpoint())
            assert scope.cancelled_caught
            assert pool.statistics().waiting == 0
            gate.open.set()
        assert await pool.submit(checkpoint())


async def test_a_run_may_submit_to_its_own_pool() -> None:
    async with CheckpointPool(workers=2) as pool:

        async def child(result: CheckpointResult) -> None:
            assert await pool.submit(checkpoint("child", grandchild))

        async def grandchild(result: CheckpointResult) -> None:
            assert len(await pool.submit_many([checkpoint("grandchild")] * 3)) == 3

        results = await pool.submit_many([checkpoint("parent", child)] * 6)
        assert [action.status for result in results for action in result.action_results] == ["success"] * 6
        assert pool.statistics().completed_runs == 6 * 5


async def test_stop_from_inside_is_an_error_that_says_so() -> None:
    errors: list[str] = []
    pool = CheckpointPool(workers=2)

    async def stop(result: object) -> None:
        with pytest.raises(RuntimeError, match=r"stop\(\) waits for all") as caught:
            await pool.stop()
        errors.append(str(caught.value))

    pool = CheckpointPool(workers=2, result_callback=stop)
    await pool.start()
    await pool.submit(checkpoint("c", stop))
    await pool.stop()
    assert len(errors) == 2


async def test_a_callback_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    class Caller:
        async def __call__(self, result: CheckpointResult) -> None:
            assert pool.statistics().running == 0  # the slot was given back
            seen.append(result.checkpoint_name)
            raise LookupError("in the callback")

    pool = CheckpointPool(workers=1, result_callback=Caller())
    async with pool:
        assert [bool(result) for result in await pool.submit_many([checkpoint("a"), checkpoint("b")])] == [True] * 2
    assert seen == ["a", "b"]
    assert pool.statistics().callback_errors == 2
    assert "in the callback" in caplog.text


async def test_a_submit_that_is_cancelled_in_its_callback_returns_its_result() -> None:
    got: list[CheckpointResult] = []
    begun = anyio.Event()

    async def never_ends(result: CheckpointResult) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with CheckpointPool(1, result_callback=never_ends) as pool:
        async with cancelled_when(begun.wait) as scope:
            got.append(await pool.submit(checkpoint()))
            await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught  # and not swallowed
    assert got[0].passed


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_same_with_asyncios_own_means(anyio_backend: str) -> None:
    got: list[CheckpointResult] = []
    begun: list[CheckpointResult] = []

    limits: list[asyncio.Timeout] = []

    async def never_ends(result: CheckpointResult) -> None:
        begun.append(result)
        for limit in limits:
            limit.reschedule(0)
        await anyio.sleep_forever()

    async def submit() -> None:
        got.append(await pool.submit(checkpoint()))
        await asyncio.sleep(0)
        pytest.fail("the cancellation was swallowed")

    async def submit_in_time() -> None:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            await submit()

    async with CheckpointPool(1, result_callback=never_ends) as pool:
        with pytest.raises(TimeoutError):
            await submit_in_time()
        limits.clear()
        task = asyncio.create_task(submit())
        await until(lambda: len(begun) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(got) == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_that_a_run_raises_itself_harms_nobody_else(anyio_backend: str) -> None:
    async def odd(result: CheckpointResult) -> None:
        raise asyncio.CancelledError

    bad = checkpoint("bad", on_complete=odd)
    async with CheckpointPool(workers=2) as pool:
        for _ in range(3):
            with pytest.raises(asyncio.CancelledError):
                await pool.submit(bad)
        with pytest.raises(asyncio.CancelledError):
            await pool.submit_many([checkpoint(), bad])
        assert await pool.submit(checkpoint())


async def test_a_run_that_raises_cancels_the_others_before_it_is_raised() -> None:
    gate = Gate()
    bad = checkpoint("bad", gate, execution_strategy={"pipeline": {"stages": [[0], [1]]}})
    many = [checkpoint("c", gate)] * 10
    with pytest.raises(OptionValueError, match="stages name action 1"):
        await run_checkpoints_parallel([*many[:4], bad, *many], max_concurrent=5)
    assert gate.inside == 0


async def test_parallel_runs_with_a_context_and_a_callback() -> None:
    seen: list[str] = []
    results = await run_checkpoints_parallel(
        [checkpoint("a", metadata={"x": 1, "y": 1}), checkpoint("b")],
        max_concurrent=5,
        context={"y": 2},
        on_complete=lambda result: seen.append(result.checkpoint_name),
    )
    assert [result.metadata for result in results] == [{"x": 1, "y": 2}, {"y": 2}]
    assert sorted(seen) == ["a", "b"]
    assert await run_checkpoints_parallel([]) == []


async def test_a_stream_gives_results_as_they_complete_and_waits_for_its_reader() -> None:
    gate = Gate()
    async with CheckpointPool(workers=2) as pool:
        async with pool.stream([checkpoint("slow", gate), *[checkpoint("fast")] * 9]) as results:
            first = [(await anext(results)).checkpoint_name for _ in range(3)]
            await anyio.wait_all_tasks_blocked()
            done = pool.statistics().completed_runs
            gate.open.set()
            names = first + [result.checkpoint_name async for result in results]
        assert first == ["fast"] * 3
        assert done <= 5  # those taken, and one more for each worker
        assert sorted(names) == ["fast"] * 9 + ["slow"]
        async with pool.stream([checkpoint("c", gate)] * 5) as results:
            async for _ in results:
                break
        assert pool.statistics().running == 0


async def test_a_stopped_pool_ends_its_streams_with_an_error() -> None:
    gate = Gate()
    async with CheckpointPool(workers=2) as pool, anyio.create_task_group() as tg:
        async with pool.stream([checkpoint("c", gate)] * 5) as results:

            async def stop() -> None:
                await gate.until(2)
                await pool.stop(drain=False)

            tg.start_soon(stop)
            with pytest.raises(PoolClosedError):
                await anext(results)


async def test_ten_runs_of_one_checkpoint_and_a_hundred_others_equal_the_serial_ones() -> None:
    frames = [pl.DataFrame({"a": [1, None, number] * (number + 1)}) for number in range(100)]
    given = [Checkpoint(f"c{n}", frame, ["not_null", {"range": {"max": n}}]) for n, frame in enumerate(frames)]
    given += [given[50]] * 10

    def essence(result: CheckpointResult) -> dict[str, Any]:
        shown = result.to_dict()
        del shown["run_id"], shown["run_time"], shown["duration_ms"], shown["report"]["duration_ms"]
        return shown

    serial = [essence(await each.run_async()) for each in given]
    async with CheckpointPool(workers=20) as pool:
        assert [essence(result) for result in await pool.submit_many(given)] == serial


def test_used_in_several_loops(backend: Backend) -> None:
    name, options = ("asyncio", {"use_uvloop": True}) if backend == "uvloop" else (backend, {})
    pool = CheckpointPool(workers=1)

    async def use(stop: bool) -> None:
        await pool.start()
        assert await pool.submit(checkpoint())
        if stop:
            await pool.stop()

    async def use_without_start() -> None:
        with pytest.raises(
            RuntimeError, match="runs in another event loop; call it there .*, or start it in this one"
        ):
            await pool.submit(checkpoint())

    for stop in (True, False, True):
        anyio.run(use, stop, backend=name, backend_options=options)
    anyio.run(use, False, backend=name, backend_options=options)
    anyio.run(use_without_start, backend=name, backend_options=options)


async def test_threads_and_memory_are_bounded_by_the_workers() -> None:
    before = threading.active_count()
    kept = []
    async with CheckpointPool(workers=3) as pool:
        for _ in range(20):
            one = checkpoint("c", lambda result: None)
            kept.append(weakref.ref(one))
            await pool.submit(one)
        del one
        most = threading.active_count() - before
        gc.collect()
        assert not [ref for ref in kept if ref() is not None]
    assert most <= 3


def test_the_registry() -> None:
    one, other = checkpoint("registered"), checkpoint("registered")
    try:
        assert register_checkpoint(one) is one
        assert register_checkpoint(one) is one
        with pytest.raises(OptionValueError, match="'registered' is registered already; give it another name, or"):
            register_checkpoint(other)
        assert get_checkpoint("registered") is one
        register_checkpoint(other, replace=True)
        assert list_checkpoints() == ["registered"]
        with pytest.raises(UnknownCheckpointError, match="did you mean 'registered'"):
            get_checkpoint("registred")
        with pytest.raises(TypeError, match=r"must be a sentrio\.Checkpoint, got 42"):
            register_checkpoint(42)  # type: ignore[arg-type]
    finally:
        assert unregister_checkpoint("registered") is other
    with pytest.raises(UnknownCheckpointError):
        unregister_checkpoint("registered")


async def test_registered_checkpoints_go_by_their_names() -> None:
    register_checkpoint(checkpoint("by name"))
    try:
        async with CheckpointPool() as pool:
            assert (await pool.submit("by name")).checkpoint_name == "by name"
            with pytest.raises(UnknownCheckpointError, match="did you mean 'by name'"):
                await pool.submit_many(["by name", "by nam"])
            assert pool.statistics().completed_runs == 1
    finally:
        unregister_checkpoint("by name")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: CheckpointPool(workers=0), ValueError, "workers must be .* got 0"),
        (lambda: CheckpointPool(workers=1.5), TypeError, "got 1.5"),  # type: ignore[arg-type]
        (lambda: CheckpointPool(worker=2), UnknownOptionError, "did you mean 'workers'"),  # type: ignore[call-arg]
        (lambda: CheckpointPool(result_callback=3), OptionValueError, "must be a function, got 3"),  # type: ignore[arg-type]
    ],
)
def test_bad_options(make: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


async def test_no_slots_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="max_concurrent must be .* got 0"):
        await run_checkpoints_parallel([], max_concurrent=0)


@pytest.mark.parametrize("given", ["orders", checkpoint("orders"), {"orders": checkpoint("orders")}, None])
async def test_what_is_no_list_of_checkpoints_is_told_so(given: Any) -> None:
    async with CheckpointPool() as pool:
        with pytest.raises(TypeError, match="must be a list of checkpoints or of their names, got "):
            await pool.submit_many(given)
        with pytest.raises(TypeError, match="must be a list of checkpoints or of their names, got "):
            pool.stream(given)
    with pytest.raises(TypeError, match="must be a list of checkpoints or of their names, got "):
        await run_checkpoints_parallel(given)


OPERATIONS: dict[str, Callable[[CheckpointPool], Awaitable[object]]] = {
    "submit": lambda pool: pool.submit(checkpoint("c", lambda_action)),
    "submit_many": lambda pool: pool.submit_many([checkpoint("c", lambda_action)] * 4),
}


async def lambda_action(result: CheckpointResult) -> None:
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("drain", [True, False])
def test_cancelled_anywhere_nothing_is_left(backend: Backend, operation: str, drain: bool) -> None:
    async def run() -> None:
        pool = CheckpointPool(workers=2, result_callback=lambda_action)
        await pool.start()
        try:
            await OPERATIONS[operation](pool)
        finally:
            with anyio.move_on_after(5, shield=True):
                await pool.stop(drain=drain)
        assert pool.statistics().running == pool.statistics().waiting == 0

    assert cancel_everywhere(run, backend=backend).points > 3


def test_cancelled_anywhere_a_stream_leaves_nothing(backend: Backend) -> None:
    async def run() -> None:
        async with CheckpointPool(workers=2) as pool, pool.stream([checkpoint("c", lambda_action)] * 3) as results:
            assert len([result async for result in results]) == 3

    assert cancel_everywhere(run, backend=backend).points > 3


def test_cancelled_anywhere_parallel_runs_leave_nothing(backend: Backend) -> None:
    def run() -> Awaitable[object]:
        return run_checkpoints_parallel([checkpoint("c", lambda_action)] * 3, max_concurrent=2)

    assert cancel_everywhere(run, backend=backend).points > 3
