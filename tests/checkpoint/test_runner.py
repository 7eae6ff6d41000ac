"""A runner watches triggers, loses nothing, and ends when it is told to."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import polars as pl
import pytest
from tests.async_core._moments import cancelled_when, until
from tests.checkpoint._running import Gate, checkpoint

from sentrio import AsyncBaseTrigger, Checkpoint, CheckpointPool, CheckpointResult, TriggerConfig, TriggerResult
from sentrio.checkpoint.pool import run_checkpoints_parallel
from sentrio.checkpoint.registry import register_checkpoint, unregister_checkpoint
from sentrio.checkpoint.runner import AsyncCheckpointRunner, AsyncRunnerConfig, run_checkpoint_async
from sentrio.checkpoint.triggers import TriggerWatch
from sentrio.errors import (
    OptionValueError,
    RunnerClosedError,
    RunningLoopError,
    UnknownCheckpointError,
    UnknownOptionError,
)
from sentrio.testing import Backend, HandTrigger, cancel_everywhere


def broken(name: str = "broken", **given: Any) -> Checkpoint:
    """Its runs end with status ``error``."""
    return Checkpoint(name, "no/such/file.csv", ["not_null"], **given)


async def test_fired_runs_reach_callback_and_reader() -> None:
    trigger, seen = HandTrigger(), []

    async def note(result: CheckpointResult) -> None:
        seen.append(result.metadata)

    runner = AsyncCheckpointRunner(result_callback=note)
    runner.add_checkpoint(checkpoint("a", triggers=[trigger])).add_checkpoint(checkpoint("b"))
    async with runner:
        results = runner.iter_results_async()
        for number in range(3):
            trigger.fire(number=number)
            result = await anext(results)
            assert (result.checkpoint_name, result.metadata) == ("a", {"number": number})
        assert runner.get_stats()["running"] is True
    assert [result async for result in results] == []
    assert seen == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert runner.get_stats() == {
        "running": False, "checkpoints": 2, "pending_tasks": 0, "queued_results": 0, "dropped_results": 0,
        "completed_runs": 3, "failed_runs": 0, "consecutive_failures": 0, "callback_errors": 0, "trigger_errors": 0,
        "missed_firings": 0, "abandoned_threads": 0, "stop_reason": None,
    }  # fmt: skip


async def test_as_a_service_in_a_task_group_of_ones_own() -> None:
    trigger = HandTrigger(run_immediately=True)
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint(triggers=[trigger]))
    async with anyio.create_task_group() as tg:
        await tg.start(runner.serve)
        async for result in runner.iter_results_async():
            assert result.passed
            tg.cancel_scope.cancel()
    assert not runner.statistics().running
    async with anyio.create_task_group() as tg:
        await tg.start(runner.serve)
        await runner.stop_async()
        assert not runner.statistics().running


async def test_started_and_stopped_in_different_tasks() -> None:
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint(triggers=[HandTrigger(run_immediately=True)]))
    for _ in range(2):
        async with anyio.create_task_group() as tg:
            tg.start_soon(runner.start_async)
        async with anyio.create_task_group() as tg:
            results = await runner.get_results_async(timeout=20)
            assert [result.status for result in results] == ["success"]
            with pytest.raises(RunnerClosedError, match="is running already"):
                await runner.start_async()
            tg.start_soon(runner.stop_async)
        assert not runner.statistics().running
        await runner.stop_async()


async def test_who_started_it_may_be_cancelled() -> None:
    trigger = HandTrigger()
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint(triggers=[trigger]))
    with anyio.CancelScope() as scope:
        await runner.start_async()
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    trigger.fire()
    assert len(await runner.get_results_async(timeout=20)) == 1
    await runner.stop_async()


async def test_a_forgotten_runner_ends() -> None:
    trigger = HandTrigger()
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint(triggers=[trigger]))
    await runner.start_async()
    assert trigger.watched == 1
    gone = weakref.ref(runner)
    del runner
    gc.collect()
    assert gone() is None
    await until(lambda: trigger.watched == 0)


async def test_run_once_works_in_any_state() -> None:
    seen: list[str] = []
    runner = AsyncCheckpointRunner(result_callback=lambda result: seen.append(result.checkpoint_name))
    runner.add_checkpoint(checkpoint("orders", metadata={"a": 1}))
    assert (await runner.run_once_async("orders", context={"b": 2})).metadata == {"a": 1, "b": 2}
    async with runner:
        assert await runner.run_once_async("orders")
        assert await runner.run_once_async(checkpoint("another"))
    assert await runner.run_once_async("orders")
    assert seen == ["orders", "orders", "another", "orders"]
    assert runner.statistics().completed_runs == runner.statistics().queued_results == 4
    with pytest.raises(UnknownCheckpointError, match="did you mean 'orders'"):
        await runner.run_once_async("order")
    with pytest.raises(TypeError, match=r"must be a sentrio\.Checkpoint"):
        await runner.run_once_async(None)  # type: ignore[arg-type]


async def test_run_all_keeps_the_order_and_the_limit() -> None:
    gate = Gate()
    runner = AsyncCheckpointRunner(max_concurrent_checkpoints=2)
    assert await runner.run_all_async() == []
    for number in range(5):
        runner.add_checkpoint(checkpoint(f"c{number}", gate))
    async with anyio.create_task_group() as tg:

        async def let_through() -> None:
            await gate.until(2)
            assert runner.statistics().pending_tasks == 2
            gate.open.set()

        tg.start_soon(let_through)
        results = await runner.run_all_async({"shared": "data"})
    assert [result.checkpoint_name for result in results] == [f"c{number}" for number in range(5)]
    assert all(result.metadata == {"shared": "data"} for result in results)


async def test_cancelling_the_caller_cancels_the_run() -> None:
    gate = Gate()
    runner = AsyncCheckpointRunner(max_concurrent_checkpoints=1).add_checkpoint(checkpoint("c", gate))
    async with cancelled_when(lambda: gate.until(1)) as scope:
        await runner.run_once_async("c")
    assert scope.cancelled_caught
    assert gate.inside == runner.statistics().pending_tasks == 0


async def test_stopping_waits_for_what_runs() -> None:
    gate, trigger = Gate(), HandTrigger(run_immediately=True)
    runner = AsyncCheckpointRunner(max_concurrent_checkpoints=1)
    runner.add_checkpoint(checkpoint("a", gate, triggers=[trigger]))
    runner.add_checkpoint(checkpoint("b", gate, triggers=[trigger]))
    await runner.start_async()
    await gate.until(1)
    async with anyio.create_task_group() as tg:
        tg.start_soon(runner.stop_async)
        await anyio.wait_all_tasks_blocked()
        assert trigger.watched == 0  # triggers end first
        with pytest.raises(RunnerClosedError):
            await runner.run_once_async("a")
        gate.open.set()
    results = await runner.get_results_async()
    assert sorted(result.checkpoint_name for result in results) == ["a", "b"]
    assert {result.status for result in results} == {"success"}


async def test_what_outlasts_the_grace_is_cancelled_and_has_a_result() -> None:
    gate, seen = Gate(), []

    async def note(result: CheckpointResult) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(result)

    runner = AsyncCheckpointRunner(graceful_shutdown_timeout=0.02, result_callback=note)
    for name in "abc":
        runner.add_checkpoint(checkpoint(name, gate, triggers=[HandTrigger(run_immediately=True)]))
    got: list[CheckpointResult] = []

    async def once() -> None:
        got.append(await runner.run_once_async("a"))

    async with anyio.create_task_group() as tg:
        await runner.start_async()
        tg.start_soon(once)
        await gate.until(4)
        await runner.stop_async()
        assert gate.inside == 0
    results = await runner.get_results_async()
    assert [result.status for result in results] == ["cancelled"] * 4
    assert got[0].status == "cancelled"
    assert results[0].report.row_count == 3  # what it saw
    assert results[0].action_results == ()
    assert "was stopped before the run had ended" in str(results[0].error)
    assert len(seen) == 4


@pytest.mark.parametrize("hosted", [True, False])
async def test_giving_up_a_stop_cancels_what_was_started_here_and_leaves_a_service_to_its_owner(hosted: bool) -> None:
    gate = Gate()
    runner = AsyncCheckpointRunner(graceful_shutdown_timeout=60)
    runner.add_checkpoint(checkpoint("c", gate, triggers=[HandTrigger(run_immediately=True)]))
    async with anyio.create_task_group() as tg:
        await (runner.start_async() if hosted else tg.start(runner.serve))
        await gate.until(1)
        async with cancelled_when() as scope:
            await runner.stop_async()
        assert scope.cancelled_caught
        assert gate.inside == (0 if hosted else 1)
        assert runner.statistics().running is not hosted
        gate.open.set()
    assert not runner.statistics().running


async def test_leaving_the_block_by_an_error_ends_everything_and_raises_that_error() -> None:
    gate = Gate()
    runner = AsyncCheckpointRunner().add_checkpoint(
        checkpoint("c", gate, triggers=[HandTrigger(run_immediately=True)])
    )
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # what the block's end does is the point
        async with runner:
            await gate.until(1)
            raise ZeroDivisionError
    assert gate.inside == 0
    assert [result.status for result in await runner.get_results_async()] == ["cancelled"]


async def test_a_full_buffer_holds_triggered_runs_back_while_somebody_reads() -> None:
    trigger = HandTrigger(missed="run_all", max_concurrent=100)
    runner = AsyncCheckpointRunner(result_queue_size=3, max_concurrent_checkpoints=2)
    runner.add_checkpoint(checkpoint("c", triggers=[trigger]))
    async with runner:
        results = runner.iter_results_async()
        trigger.fire(number=-1)
        await anext(results)
        for number in range(30):
            trigger.fire(number=number)
        await until(lambda: runner.statistics().completed_runs >= 4)
        await anyio.wait_all_tasks_blocked()
        stats = runner.statistics()
        assert stats.completed_runs - 1 == stats.queued_results == 3
        assert stats.pending_tasks >= 1
        assert await runner.run_once_async("c")  # nobody waits for himself
        assert runner.statistics().queued_results == 4
        seen = [await anext(results) for _ in range(31)]
        assert len({result.run_id for result in seen}) == 31
    assert runner.statistics().dropped_results == 0
    assert [result async for result in results] == []


async def test_nobody_reads_and_the_newest_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    runner = AsyncCheckpointRunner(result_queue_size=10, max_concurrent_checkpoints=1)
    for number in range(100):
        runner.add_checkpoint(checkpoint(f"c{number}"))
    await runner.run_all_async()
    results = await runner.get_results_async(max_results=1000)
    assert [result.checkpoint_name for result in results] == [f"c{number}" for number in range(90, 100)]
    assert runner.get_stats()["dropped_results"] == 90
    assert caplog.text.count("nobody reads the results") == 1
    assert runner._result_queue.qsize() == 0


async def test_a_loop_left_by_break_holds_nobody_back() -> None:
    trigger = HandTrigger(missed="run_all", max_concurrent=100)
    runner = AsyncCheckpointRunner(result_queue_size=2)
    runner.add_checkpoint(checkpoint("c", triggers=[trigger]))
    async with runner:
        for _ in range(20):
            trigger.fire()
        async for _ in runner.iter_results_async():
            break
        gc.collect()
        await until(lambda: runner.statistics().completed_runs == 20)
        assert runner.statistics().queued_results == 2
        closed = runner.iter_results_async()
        await anext(closed)
        await closed.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(closed)


async def test_several_readers_share_the_results() -> None:
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint())
    seen: list[list[str]] = [[], [], []]

    async def read(number: int) -> None:
        async for result in runner.iter_results_async():
            seen[number].append(result.run_id)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tg:
        for number in range(3):
            tg.start_soon(read, number)
        async with runner:
            for _ in range(30):
                await runner.run_once_async("c")
    assert len({run_id for ids in seen for run_id in ids}) == sum(map(len, seen)) == 30


async def test_reading_ends_when_nothing_came_in_time() -> None:
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint())
    await runner.run_all_async()
    assert len([result async for result in runner.iter_results_async(timeout=0.2)]) == 1
    assert await runner.get_results_async(timeout=0.01) == []
    with anyio.move_on_after(0.02) as scope:
        async for _ in runner.iter_results_async():
            pass
    assert scope.cancelled_caught  # a cancelled reader does not end as if it had read all


async def test_a_cancelled_reader_takes_nothing_along() -> None:
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint())
    await runner.run_all_async()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await runner.get_results_async()
    assert runner.statistics().queued_results == 1


@pytest.mark.parametrize("options", [{"stop_on_error": True}, {"max_consecutive_failures": 3}])
async def test_it_stops_itself_after_errors_and_says_why(options: dict[str, Any]) -> None:
    errors: list[Exception] = []
    trigger = HandTrigger(missed="run_all")
    runner = AsyncCheckpointRunner(error_callback=errors.append, **options)
    runner.add_checkpoint(broken(triggers=[trigger]))
    await runner.start_async()
    for _ in range(10):
        trigger.fire()
    results = [result async for result in runner.iter_results_async()]
    await runner.stop_async()  # an ordinary stop: raises nothing
    assert 1 <= len(results) <= 4
    stats = runner.get_stats()
    assert not stats["running"]
    assert "no/such/file.csv" in stats["stop_reason"]
    assert stats["consecutive_failures"] == stats["failed_runs"] == len(results)
    assert "stops itself" in str(errors[0])
    assert len(errors) == 1


async def test_bad_data_are_no_failure_of_the_runner() -> None:
    bad = Checkpoint("bad", pl.DataFrame({"a": [None, 1]}), ["not_null"])
    runner = AsyncCheckpointRunner(max_consecutive_failures=2, stop_on_error=True).add_checkpoint(bad)
    async with runner:
        for _ in range(5):
            await runner.run_once_async("bad")
        assert runner.statistics().stop_reason is None
    assert runner.statistics().failed_runs == 5


async def test_callbacks_that_raise_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Caller:
        async def __call__(self, value: object) -> None:
            raise LookupError("in the callback")

    runner = AsyncCheckpointRunner(result_callback=Caller(), error_callback=Caller(), stop_on_error=True)
    runner.add_checkpoint(broken())
    async with runner:
        assert (await runner.run_once_async("broken")).status == "error"
        await until(lambda: runner.statistics().callback_errors == 2)
    assert caplog.text.count("LookupError: in the callback") == 2


async def test_a_run_that_raises_is_an_error_result(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = []
    bad = checkpoint("bad", lambda result: None, execution_strategy={"pipeline": {"stages": [[0], [1]]}})
    trigger = HandTrigger()
    bad.add_trigger(trigger)
    runner = AsyncCheckpointRunner(error_callback=errors.append).add_checkpoint(bad)
    async with runner:
        trigger.fire()
        result = await anext(runner.iter_results_async())
        assert result.status == "error"
        assert "stages name action 1" in str(result.error)
        with pytest.raises(OptionValueError):
            await runner.run_once_async("bad")
        await until(lambda: errors)
    assert isinstance(errors[0], OptionValueError)


async def test_no_more_at_once_than_the_trigger_allows() -> None:
    gate, trigger = Gate(), HandTrigger()
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint("c", gate, triggers=[trigger]))
    async with runner:
        trigger.fire()
        await gate.until(1)
        for _ in range(5):
            trigger.fire()
        await anyio.wait_all_tasks_blocked()
        assert gate.inside == 1
        gate.open.set()
        await until(lambda: runner.statistics().completed_runs == 2)  # what came meanwhile is one firing
    assert runner.statistics().missed_firings == 4


async def test_checkpoints_come_and_go_while_it_runs() -> None:
    trigger, other = HandTrigger(run_immediately=True), HandTrigger()
    runner = AsyncCheckpointRunner()
    async with runner:
        results = runner.iter_results_async()
        runner.add_checkpoint(checkpoint("late", triggers=[trigger]))
        assert (await anext(results)).checkpoint_name == "late"
        await anyio.to_thread.run_sync(runner.add_checkpoint, checkpoint("from a thread", triggers=[other]))
        await until(lambda: other.watched)
        assert runner.remove_checkpoint("late").name == "late"
        await until(lambda: not trigger.watched)
        with pytest.raises(UnknownCheckpointError):
            await runner.run_once_async("late")
        runner.add_checkpoint(checkpoint("late"))
        with pytest.raises(OptionValueError, match="a checkpoint named 'late' was added already"):
            runner.add_checkpoint(checkpoint("late"))
        assert [each.name for each in runner.checkpoints] == ["from a thread", "late"]
    with pytest.raises(UnknownCheckpointError, match="did you mean 'late'"):
        runner.remove_checkpoint("lat")


async def test_stopping_from_inside_is_an_error_unless_nobody_waits() -> None:
    errors: list[str] = []

    async def stop(result: CheckpointResult) -> None:
        with pytest.raises(RuntimeError, match=r"stop_async\(\) waits for all") as caught:
            await runner.stop_async()
        errors.append(str(caught.value))
        await runner.stop_async(wait=False)

    runner = AsyncCheckpointRunner(result_callback=stop)
    runner.add_checkpoint(checkpoint("c", triggers=[HandTrigger(run_immediately=True)]))
    with anyio.fail_after(20):
        await runner.serve()
    assert len(errors) == 1


async def test_from_a_worker_thread() -> None:
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint())

    def in_a_thread() -> None:
        assert anyio.from_thread.run(runner.run_once_async, "c").passed
        with pytest.raises(RuntimeError, match="runs in another event loop; call it there"):
            anyio.run(runner.run_once_async, "c")

    async with runner:
        await anyio.to_thread.run_sync(in_a_thread)


async def test_another_event_loop_is_told_so_and_waits_for_nothing() -> None:
    runner, gate = AsyncCheckpointRunner().add_checkpoint(checkpoint()), Gate()
    pool = CheckpointPool()

    async def read() -> None:
        async for _ in runner.iter_results_async():
            pass

    def elsewhere(call: Callable[..., Awaitable[object]], *args: object) -> None:
        with pytest.raises(RuntimeError, match="runs in another event loop"):
            anyio.run(call, *args)

    async with runner, pool, anyio.create_task_group() as tg:
        tg.start_soon(pool.submit, checkpoint("d", gate))
        await gate.until(1)
        for call, *args in ((runner.stop_async,), (runner.stop_async, False), (read,), (pool.stop,)):
            await anyio.to_thread.run_sync(elsewhere, call, *args)
        assert runner.get_stats()["running"]
        gate.open.set()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit(3), KeyError("key")], ids=repr)
async def test_what_is_raised_in_the_block_comes_out_as_it_is(error: type[BaseException] | BaseException) -> None:
    kind = error if isinstance(error, type) else type(error)
    caught: BaseException | None = None
    try:
        async with AsyncCheckpointRunner():
            raise error
    except BaseException as exc:  # a group, if it goes wrong
        caught = exc
    assert type(caught) is kind


async def test_a_runner_that_runs_is_not_started_again_and_runs_on() -> None:
    runner = AsyncCheckpointRunner()
    await runner.start_async()
    with pytest.raises(RunnerClosedError, match="is running already"):
        await runner.start_async()
    with pytest.raises(RunnerClosedError, match="is running already"):
        async with runner:
            pass
    with pytest.raises(RunnerClosedError, match="is running already"):
        await anyio.to_thread.run_sync(runner.run)
    await anyio.lowlevel.checkpoint()
    assert runner.get_stats()["running"]
    await runner.stop_async()


async def test_blocking_run_inside_a_loop_is_an_error() -> None:
    with pytest.raises(RunningLoopError, match=r"use `await runner\.serve\(\)` instead"):
        AsyncCheckpointRunner().run()


def test_blocking_run_in_a_thread_ends_when_it_stops_itself(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTRIO_BACKEND", "trio" if backend == "trio" else "asyncio")
    runner = AsyncCheckpointRunner(stop_on_error=True)
    runner.add_checkpoint(broken(triggers=[HandTrigger(run_immediately=True)]))
    thread = threading.Thread(target=runner.run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert runner.statistics().stop_reason is not None


SERVICE = """
import sys, anyio, polars as pl
from sentrio import Checkpoint
from sentrio.checkpoint.runner import AsyncCheckpointRunner
from sentrio.testing import HandTrigger

async def act(result):
    print("running", flush=True)
    try:
        await anyio.sleep(float(sys.argv[1]))
    except BaseException:
        print("cancelled", flush=True)
        raise
    print("done", flush=True)

checkpoint = Checkpoint("c", pl.DataFrame({"a": [1]}), ["not_null"], [act], [HandTrigger(run_immediately=True)])
runner = AsyncCheckpointRunner(result_callback=lambda r: print(r.status, flush=True)).add_checkpoint(checkpoint)
runner.run()
print("ended", runner.get_stats()["running"], flush=True)
"""


@pytest.mark.endurance
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("again", [False, True])
def test_signals_stop_a_blocking_run_gracefully(backend: Backend, number: signal.Signals, again: bool) -> None:
    if backend == "uvloop":
        pytest.skip("run() uses asyncio's own loop or trio")
    environment = {**os.environ, "SENTRIO_BACKEND": backend}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, "60" if again else "0.3"],
        stdout=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # whoever started us may ignore it  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    if again:
        threading.Event().wait(0.2)  # the first one has been dealt with
        process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    assert rest.split() == (["cancelled", "cancelled"] if again else ["done", "success"]) + ["ended", "False"]
    assert process.returncode == 0


async def test_run_checkpoint_async_takes_a_name_or_a_checkpoint() -> None:
    register_checkpoint(checkpoint("by name"))
    try:
        assert (await run_checkpoint_async("by name", context={"key": "value"})).metadata == {"key": "value"}
        assert await run_checkpoint_async(checkpoint())
        with pytest.raises(UnknownCheckpointError, match="did you mean 'by name'"):
            await run_checkpoint_async("by nam")
    finally:
        unregister_checkpoint("by name")


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"max_concurrent_checkpoints": 0}, OptionValueError, "at least 1, got 0"),
        ({"max_concurent_checkpoints": 1}, UnknownOptionError, "did you mean 'max_concurrent_checkpoints'"),
        ({"trigger_poll_interval": 0}, OptionValueError, "above 0, got 0"),
        ({"trigger_poll_interval": float("inf")}, OptionValueError, "a finite number above 0, got inf"),
        (
            {"graceful_shutdown_timeout": 10**400},
            OptionValueError,
            "a number of at least 0, as a float can hold it, got 1000",
        ),
        ({"result_queue_size": 0}, OptionValueError, "result_queue_size must be .* got 0"),
        ({"stop_on_error": "yes"}, OptionValueError, "true or false, got 'yes'"),
        ({"max_consecutive_failures": -1}, OptionValueError, "at least 0, got -1"),
        ({"graceful_shutdown_timeout": float("nan")}, OptionValueError, "got nan"),
        ({"result_callback": 3}, OptionValueError, "result_callback must be a function, got 3"),
        ({"config": AsyncRunnerConfig(), "stop_on_error": True}, OptionValueError, "not both: got stop_on_error"),
        ({"config": {"stop_on_error": True}}, OptionValueError, "must be an AsyncRunnerConfig"),
    ],
)
def test_bad_options(given: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        AsyncCheckpointRunner(**given)


async def test_bad_arguments() -> None:
    runner = AsyncCheckpointRunner()
    with pytest.raises(ValueError, match="timeout must be .* got -1"):
        runner.iter_results_async(timeout=-1)
    with pytest.raises(ValueError, match="max_results must be .* got 0"):
        await runner.get_results_async(max_results=0)
    with pytest.raises(TypeError, match=r"must be a sentrio\.Checkpoint"):
        runner.add_checkpoint("orders")  # type: ignore[arg-type]


def test_used_in_several_loops(backend: Backend) -> None:
    name, options = ("asyncio", {"use_uvloop": True}) if backend == "uvloop" else (backend, {})
    runner = AsyncCheckpointRunner(max_concurrent_checkpoints=1)
    runner.add_checkpoint(checkpoint("a", triggers=[HandTrigger(run_immediately=True)]))
    runner.add_checkpoint(checkpoint("b"))

    async def serve(stop: bool) -> None:
        await runner.start_async()
        assert len(await runner.run_all_async()) == 2
        if stop:
            await runner.stop_async()

    for stop in (True, False, True):
        anyio.run(serve, stop, backend=name, backend_options=options)
    assert len(anyio.run(runner.run_all_async, backend=name, backend_options=options)) == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncios_own_timeout_round_a_reader_fires(anyio_backend: str) -> None:
    async with AsyncCheckpointRunner() as runner:
        with pytest.raises(TimeoutError):  # noqa: PT012
            async with asyncio.timeout(0.01):
                async for _ in runner.iter_results_async():
                    pass


async def step(result: object) -> None:
    await anyio.lowlevel.checkpoint()


async def served(runner: AsyncCheckpointRunner) -> None:
    async with anyio.create_task_group() as tg:
        await tg.start(runner.serve)
        await anext(runner.iter_results_async())
        tg.cancel_scope.cancel()
        await anyio.lowlevel.checkpoint()


async def in_a_block(runner: AsyncCheckpointRunner) -> None:
    async with runner:
        await anext(runner.iter_results_async())


async def unrolled(runner: AsyncCheckpointRunner) -> None:
    try:
        await runner.start_async()
        await anext(runner.iter_results_async())
    finally:
        with anyio.CancelScope(shield=True):
            await runner.stop_async()


async def stopped(runner: AsyncCheckpointRunner) -> None:
    await runner.start_async()
    await runner.stop_async()


OPERATIONS: dict[str, Callable[[AsyncCheckpointRunner], Awaitable[object]]] = {
    "run_once_async": lambda runner: runner.run_once_async("a"),
    "run_all_async": lambda runner: runner.run_all_async(),
    "get_results_async": lambda runner: runner.get_results_async(timeout=0.001),
    "serve": served,
    "block": in_a_block,
    "unrolled": unrolled,
    "stopped": stopped,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_cancelled_anywhere_nothing_is_left(backend: Backend, name: str) -> None:
    def run() -> Awaitable[object]:
        runner = AsyncCheckpointRunner(result_callback=step, graceful_shutdown_timeout=5)
        for each in "ab":
            runner.add_checkpoint(checkpoint(each, step, triggers=[HandTrigger(run_immediately=True)]))
        return OPERATIONS[name](runner)

    assert cancel_everywhere(run, backend=backend).points >= 1


class AwaitsWhatWasCancelled(AsyncBaseTrigger[TriggerConfig]):
    """Once it raises what asyncio raises to whoever awaits a cancelled task, then it is due."""

    trigger_type = "awaits_what_was_cancelled"
    asked = 0

    async def should_trigger_async(self) -> TriggerResult:
        self.asked += 1
        if self.asked == 1:
            await await_what_was_cancelled()
        return TriggerResult(should_run=True)


async def await_what_was_cancelled(*_: object) -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})])
async def test_a_cancellation_that_somebody_raises_himself_takes_no_result_along(
    anyio_backend: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentrio.checkpoint.engine._FIRST_BACKOFF_SECONDS", 0.01)
    triggers = {name: HandTrigger() for name in ("action", "hook")}
    runner = AsyncCheckpointRunner(result_callback=await_what_was_cancelled)
    runner.add_checkpoint(checkpoint("action", await_what_was_cancelled, triggers=[triggers["action"]]))
    runner.add_checkpoint(checkpoint("hook", on_complete=await_what_was_cancelled, triggers=[triggers["hook"]]))
    runner.add_checkpoint(checkpoint("trigger", triggers=[AwaitsWhatWasCancelled(max_runs=1)]))
    results: dict[str, CheckpointResult] = {}
    async with runner:
        for trigger in triggers.values():
            trigger.fire()
        with anyio.fail_after(20):
            async for result in runner.iter_results_async():
                results[result.checkpoint_name] = result
                if len(results) == 3:
                    break
    stats = runner.get_stats()
    assert {name: str(result.status) for name, result in results.items()} == {
        "action": "success",
        "hook": "error",
        "trigger": "success",
    }
    assert [str(action.status) for action in results["action"].action_results] == ["cancelled"]
    assert "CancelledError" in str(results["hook"].error)
    assert (stats["completed_runs"], stats["callback_errors"], stats["trigger_errors"]) == (3, 3, 1)


async def test_a_source_that_can_not_even_be_made_stops_no_runner() -> None:
    bad, trigger = checkpoint("bad", triggers=[HandTrigger(run_immediately=True)]), HandTrigger()
    bad.data_source = 5
    runner = AsyncCheckpointRunner().add_checkpoint(bad).add_checkpoint(checkpoint("good", triggers=[trigger]))
    results = []
    async with runner:
        with anyio.fail_after(20):
            async for result in runner.iter_results_async():
                results.append((result.checkpoint_name, str(result.status)))
                trigger.fire()
                if len(results) == 2:
                    break
    assert results == [("bad", "error"), ("good", "success")]


class BrokenTwice(HandTrigger):
    """Can not be watched at first, and then raises when it is asked."""

    begun = 0

    def watch(self, **given: Any) -> TriggerWatch:
        self.begun += 1
        if self.begun == 1:
            raise ConnectionError("the broker is down")
        return BrokenOnce(self, **given)


class BrokenOnce(TriggerWatch):
    asked = 0

    async def wait(self) -> TriggerResult:
        self.asked += 1
        if self.asked == 1:
            raise LookupError("the topic is not there")
        await anyio.lowlevel.checkpoint()
        return TriggerResult(should_run=self.asked == 2)


async def test_one_bad_trigger_ends_no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentrio.checkpoint.engine._FIRST_BACKOFF_SECONDS", 0.01)
    errors: list[Exception] = []
    trigger = HandTrigger()
    runner = AsyncCheckpointRunner(error_callback=errors.append)
    runner.add_checkpoint(checkpoint("bad", triggers=[BrokenTwice()]))
    runner.add_checkpoint(checkpoint("good", triggers=[trigger]))
    names = set()
    async with runner:
        trigger.fire()
        with anyio.fail_after(20):
            async for result in runner.iter_results_async():
                names.add(result.checkpoint_name)
                if len(names) == 2:
                    break
    assert [str(error).strip("'") for error in errors] == ["the broker is down", "the topic is not there"]
    assert runner.get_stats()["trigger_errors"] == 2


async def cancel_the_task_itself(*_: object) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})])
async def test_a_run_that_cancels_its_own_task_ends_no_other_and_is_told(anyio_backend: object) -> None:
    """The task is the runner's, and neither its caller nor its runner is cancelled."""
    triggers = [HandTrigger(), HandTrigger()]
    runner = AsyncCheckpointRunner()
    runner.add_checkpoint(checkpoint("bad", on_complete=cancel_the_task_itself, triggers=triggers[:1]))
    runner.add_checkpoint(checkpoint("good", triggers=triggers[1:]))
    statuses = {}
    async with runner:
        for trigger in triggers:
            trigger.fire()
            with anyio.fail_after(20):
                (result,) = await runner.get_results_async(timeout=20)
            statuses[result.checkpoint_name] = str(result.status)
        assert runner.get_stats()["running"]
    assert statuses == {"bad": "error", "good": "success"}
    bad = [checkpoint("bad", cancel_the_task_itself), checkpoint("bad", on_complete=cancel_the_task_itself)]
    for one in bad:
        with pytest.raises(asyncio.CancelledError):
            await run_checkpoints_parallel([checkpoint("good"), one])


def test_the_end_of_the_event_loop_is_no_error_of_triggers_and_runs(caplog: pytest.LogCaptureFixture) -> None:
    async def forget() -> None:
        gate = Gate()
        runner = AsyncCheckpointRunner()
        runner.add_checkpoint(checkpoint("c", gate, gate, triggers=[HandTrigger(run_immediately=True)]))
        runner.add_checkpoint(checkpoint("idle", triggers=[HandTrigger()]))
        await runner.start_async()
        await gate.until(inside=2)
        forgotten.append(runner)

    forgotten: list[AsyncCheckpointRunner] = []
    asyncio.run(forget())
    stats = forgotten[0].get_stats()
    assert (stats["trigger_errors"], stats["completed_runs"], stats["running"]) == (0, 0, False)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
