from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from anyio.abc import TaskStatus
from tests.async_core._moments import cancelled_when, until

from sentrio.async_core.background import BackgroundTask, async_background, async_run, default_backend
from sentrio.errors import OptionValueError, RunningLoopError
from sentrio.testing import Backend, cancel_everywhere

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def run(main: Callable[[], Any], backend: Backend) -> Any:
    if backend == "trio":
        return anyio.run(main, backend="trio")
    return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": backend == "uvloop"})


class Log(list[str]):
    """What happened, in order."""

    async def forever(self, name: str = "task", *, task_status: TaskStatus[str] | None = None) -> None:
        self.append(f"{name} starts")
        try:
            if task_status is not None:
                task_status.started(f"{name} is ready")
            await anyio.sleep_forever()
        finally:
            self.append(f"{name} ends")


# --- what the backends do by themselves ------------------------------------------------------------------


def test_experiment_asyncio_destroys_a_task_that_nobody_refers_to() -> None:
    async def main() -> bool:
        async def wait_for_something_of_its_own() -> None:
            await asyncio.get_running_loop().create_future()

        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        task = asyncio.create_task(wait_for_something_of_its_own())
        await asyncio.sleep(0)
        alive = weakref.ref(task)
        del task
        gc.collect()
        return alive() is None

    assert asyncio.run(main())


def test_experiment_trio_breaks_down_when_a_system_task_raises() -> None:
    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        trio.lowlevel.spawn_system_task(fail)
        await trio.sleep_forever()

    with pytest.raises(trio.TrioInternalError):
        trio.run(main)


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_experiment_native_tasks_outlive_their_starter_and_end_with_the_loop(name: str) -> None:
    log = Log()

    async def main() -> None:
        with anyio.CancelScope() as scope:
            if name == "trio":
                trio.lowlevel.spawn_system_task(log.forever)
            else:
                globals()["_kept"] = asyncio.create_task(log.forever())
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.01)
        log.append("main ends")

    anyio.run(main, backend=name)
    assert log == ["task starts", "main ends", "task ends"]


def test_experiment_posting_to_an_ended_loop_is_a_runtime_error() -> None:
    async def loop() -> Any:
        return anyio.lowlevel.current_token().native_token

    with pytest.raises(RuntimeError, match="closed"):
        anyio.run(loop).call_soon_threadsafe(print)
    with pytest.raises(RuntimeError, match="exited"):
        anyio.run(loop, backend="trio").run_sync_soon(print)


# --- the host task ---------------------------------------------------------------------------------------


async def test_runs_beside_its_starter_and_ends_when_closed() -> None:
    log = Log()
    task = await BackgroundTask.start(log.forever)
    assert task.start_value == "task is ready"
    assert (task.done, task.name) == (False, "Log.forever")
    assert repr(task) == "<BackgroundTask Log.forever running>"
    await task.aclose()
    assert (task.done, log) == (True, ["task starts", "task ends"])
    await task.aclose()
    with pytest.raises(anyio.TaskCancelled, match="forever was cancelled"):
        await task.wait()


async def test_outlives_the_cancellation_of_its_starter() -> None:
    log = Log()
    with anyio.CancelScope() as scope:
        task = await BackgroundTask.start(log.forever)
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.01)
    assert not task.done
    await task.aclose()


async def test_may_be_closed_by_another_task() -> None:
    log = Log()
    async with anyio.create_task_group() as tg:
        task = await BackgroundTask.start(log.forever)
        tg.start_soon(task.aclose)
    assert task.done


async def test_gives_the_result_to_all_who_wait() -> None:
    async def double(value: int) -> int:
        await anyio.sleep(0.001)
        return value * 2

    task = BackgroundTask.start_soon(double, 21)
    assert [await task.wait(), await task.wait()] == [42, 42]
    await task.aclose()


async def test_cancelling_who_waits_leaves_the_task_alone() -> None:
    task = await BackgroundTask.start(Log().forever)
    async with cancelled_when():
        await task.wait()
    assert not task.done
    await task.aclose()


async def fail_later() -> None:
    await anyio.lowlevel.checkpoint()
    raise LookupError("lost")


async def test_an_early_end_is_raised_by_aclose_once() -> None:
    task = BackgroundTask.start_soon(fail_later)
    await until(lambda: task.done)
    with pytest.raises(LookupError, match="lost"):
        await task.aclose()
    await task.aclose()


async def test_an_error_that_was_seen_is_not_raised_again_by_aclose() -> None:
    async with BackgroundTask.start_soon(fail_later) as task:
        with pytest.raises(LookupError):
            await task.wait()


async def test_an_error_during_the_clean_up_is_raised_by_aclose() -> None:
    async def clean_up_badly(task_status: TaskStatus[None]) -> None:
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("disk full")

    task = await BackgroundTask.start(clean_up_badly)
    with pytest.raises(OSError, match="disk full"):
        await task.aclose()


async def test_an_error_that_nobody_asks_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = [BackgroundTask.start_soon(fail_later)]
    await until(lambda: tasks[0].done)
    assert not caplog.records
    tasks.clear()
    gc.collect()  # from Python 3.12 on, the frames of the error may keep it alive until then
    await until(lambda: caplog.records)
    assert [record.getMessage() for record in caplog.records] == [
        "background task fail_later failed, and nobody asked"
    ]
    assert "LookupError: lost" in caplog.text


async def test_an_error_before_it_is_ready_is_raised_by_start() -> None:
    async def fail(task_status: TaskStatus[None]) -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError("no port")

    with pytest.raises(LookupError, match="no port"):
        await BackgroundTask.start(fail)


async def test_a_function_that_is_never_ready_is_an_error() -> None:
    async def forget(task_status: TaskStatus[None]) -> None:
        await anyio.lowlevel.checkpoint()

    with pytest.raises(RuntimeError, match=r"forget returned without calling task_status\.started"):
        await BackgroundTask.start(forget)


async def test_started_twice_is_an_error() -> None:
    async def twice(task_status: TaskStatus[None]) -> None:
        task_status.started()
        task_status.started()

    task = await BackgroundTask.start(twice)
    with pytest.raises(RuntimeError, match="twice"):
        await task.wait()


async def test_cancelling_start_ends_the_function_first() -> None:
    log = Log()

    async def slow_to_start(task_status: TaskStatus[None]) -> None:
        await log.forever("slow")

    async with cancelled_when(lambda: until(lambda: log)):
        await BackgroundTask.start(slow_to_start)
    assert log == ["slow starts", "slow ends"]


async def test_sees_a_copy_of_the_context() -> None:
    async def look() -> str:
        before = variable.get()
        variable.set("changed inside")
        return before

    variable.set("set outside")
    assert await BackgroundTask.start_soon(look).wait() == "set outside"
    assert variable.get() == "set outside"


async def test_task_groups_and_timeouts_work_inside() -> None:
    async def work() -> bool:
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.sleep, 0.001)
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert await BackgroundTask.start_soon(work).wait()


@pytest.mark.parametrize("method", ["aclose", "wait"])
async def test_a_task_can_not_wait_for_its_own_end(method: str) -> None:
    tasks: list[BackgroundTask[None]] = []
    messages: list[str] = []

    async def attempt() -> None:
        with pytest.raises(RuntimeError, match="can not wait for its own end") as caught:
            await getattr(tasks[0], method)()
        messages.append(str(caught.value))

    async def host() -> None:
        await anyio.lowlevel.checkpoint()
        await attempt()
        async with anyio.create_task_group() as tg:
            tg.start_soon(attempt)

    tasks.append(BackgroundTask.start_soon(host))
    await tasks[0].wait()
    assert len(messages) == 2


async def test_what_is_started_from_inside_may_close_it() -> None:
    """A callback that wants to stop its runner can do so from a task of its own."""
    tasks: list[BackgroundTask[None]] = []

    async def host() -> None:
        await anyio.lowlevel.checkpoint()
        tasks.append(BackgroundTask.start_soon(tasks[0].aclose))
        await anyio.sleep_forever()

    tasks.append(BackgroundTask.start_soon(host))
    await until(lambda: len(tasks) == 2)
    await tasks[1].wait()
    assert tasks[0].done


# --- garbage -------------------------------------------------------------------------------------------


class Owner:
    def __init__(self, log: Log) -> None:
        self.task = BackgroundTask.start_soon(log.forever)


async def test_ends_when_its_owner_is_garbage() -> None:
    log = Log()
    owner = Owner(log)
    await until(lambda: log == ["task starts"])
    del owner
    await until(lambda: log == ["task starts", "task ends"])


async def test_ends_when_its_owner_is_garbage_in_a_cycle() -> None:
    log = Log()
    owner = Owner(log)
    owner.itself = owner  # type: ignore[attr-defined]
    await until(lambda: log == ["task starts"])
    del owner
    gc.collect()
    await until(lambda: log == ["task starts", "task ends"])


async def test_the_last_reference_may_be_dropped_in_another_thread() -> None:
    log = Log()
    owners = [Owner(log)]
    await until(lambda: log == ["task starts"])
    thread = threading.Thread(target=owners.clear)
    thread.start()
    await until(lambda: log == ["task starts", "task ends"])
    thread.join()


async def test_runs_on_through_a_collection_while_it_is_owned() -> None:
    owner = Owner(log := Log())
    await until(lambda: log == ["task starts"])
    gc.collect()
    await anyio.sleep(0.01)
    assert not owner.task.done
    await owner.task.aclose()


async def test_neither_task_nor_owner_stays_alive_afterwards() -> None:
    owner = Owner(Log())
    state = weakref.ref(owner.task._state)
    await owner.task.aclose()
    del owner

    def is_gone() -> bool:
        gc.collect()
        return state() is None

    await until(is_gone)


# --- the end of the loop ---------------------------------------------------------------------------------


def test_ends_with_the_loop_and_may_be_dropped_or_closed_later(backend: Backend) -> None:
    log = Log()

    async def main() -> BackgroundTask[None]:
        return await BackgroundTask.start(log.forever)

    task = run(main, backend)
    assert log == ["task starts", "task ends"]
    assert task.done
    run(task.aclose, backend)


def test_an_error_at_the_end_of_the_loop_breaks_nothing(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    async def clean_up_badly() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("disk full")

    async def main() -> str:
        globals()["_kept"] = BackgroundTask.start_soon(clean_up_badly)
        await anyio.sleep(0.001)
        return "result"

    assert run(main, backend) == "result"
    del globals()["_kept"]
    gc.collect()  # from Python 3.12 on, the frames of the error may keep it alive until then
    assert "clean_up_badly failed, and nobody asked" in caplog.text


def test_dropping_it_after_its_loop_has_vanished_is_harmless() -> None:
    loop = asyncio.new_event_loop()
    log = Log()

    async def main() -> BackgroundTask[None]:
        return await BackgroundTask.start(log.forever)

    task = loop.run_until_complete(main())
    with pytest.raises(RuntimeError, match="another event loop"):
        anyio.run(task.aclose)
    loop.run_until_complete(task.aclose())
    loop.close()
    del task
    assert log == ["task starts", "task ends"]


def test_a_task_that_is_cancelled_before_its_first_step_ends_all_the_same() -> None:
    async def main() -> None:
        task = BackgroundTask.start_soon(Log().forever)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        with anyio.fail_after(30), pytest.raises(anyio.TaskCancelled):
            await task.wait()

    anyio.run(main)


def test_needs_a_running_loop() -> None:
    with pytest.raises(anyio.NoEventLoopError):
        BackgroundTask.start_soon(Log().forever)


# --- cancelled at every point ----------------------------------------------------------------------------


def test_cancelled_anywhere_start_and_aclose_leave_nothing(backend: Backend) -> None:
    async def work(task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.sleep_forever)
            await anyio.lowlevel.checkpoint()
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.move_on_after(1, shield=True):
                    await anyio.lowlevel.checkpoint()

    async def operation() -> None:
        async with await BackgroundTask.start(work):
            await anyio.lowlevel.checkpoint()

    assert cancel_everywhere(operation, backend=backend).tries >= 4


def test_cancelled_anywhere_a_handle_that_is_awaited_leaves_nothing(backend: Backend) -> None:
    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.001)

    async def operation() -> None:
        await async_background(work())

    assert cancel_everywhere(operation, backend=backend).tries >= 2


async def test_a_task_that_refuses_to_end_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentrio.async_core._hosts._GRACE_SECONDS", 0.02)
    release = anyio.Event()

    async def stubborn(task_status: TaskStatus[None]) -> None:
        task_status.started()
        with anyio.CancelScope(shield=True):
            await release.wait()

    task = await BackgroundTask.start(stubborn)
    async with cancelled_when() as scope:
        await task.aclose()
    assert scope.cancelled_caught
    assert "stubborn still runs 0.02 s after it was cancelled" in caplog.text
    release.set()
    with anyio.fail_after(30):
        await task.aclose()


# --- async_background ------------------------------------------------------------------------------------


async def number(value: int) -> int:
    await anyio.lowlevel.checkpoint()
    return value


@pytest.fixture
def cancelled_error(anyio_backend_name: str) -> type[BaseException]:
    return anyio.TaskCancelled if anyio_backend_name == "trio" else asyncio.CancelledError


async def test_a_handle_is_a_task_on_asyncio_and_its_twin_on_trio(anyio_backend_name: str) -> None:
    handle = async_background(number(7))
    assert isinstance(handle, asyncio.Task) == (anyio_backend_name != "trio")
    assert (handle.done(), handle.cancelled()) == (False, False)
    seen: list[Any] = []
    handle.add_done_callback(seen.append)
    assert [await handle, await handle] == [7, 7]
    assert (handle.done(), handle.cancelled(), handle.result(), handle.exception()) == (True, False, 7, None)
    assert (handle.cancel(), bool(handle.get_name())) == (False, True)
    handle.add_done_callback(seen.append)
    await until(lambda: len(seen) > 1)
    assert seen == [handle, handle]


async def test_a_handle_that_fails() -> None:
    handle = async_background(fail_later())
    with pytest.raises(LookupError, match="lost"):
        await handle
    assert isinstance(handle.exception(), LookupError)
    with pytest.raises(LookupError):
        handle.result()


async def test_a_handle_that_is_cancelled(cancelled_error: type[BaseException]) -> None:
    log = Log()
    handle = async_background(log.forever())
    await until(lambda: log == ["task starts"])
    assert handle.cancel()
    with pytest.raises(cancelled_error):
        await handle
    assert (handle.cancelled(), log) == (True, ["task starts", "task ends"])
    with pytest.raises(cancelled_error):
        handle.exception()


async def test_a_handle_that_still_runs_has_no_result(anyio_backend_name: str) -> None:
    unfinished = anyio.TaskNotFinished if anyio_backend_name == "trio" else asyncio.InvalidStateError
    handle = async_background(number(1))
    with pytest.raises(unfinished):
        handle.result()
    with pytest.raises(unfinished):
        handle.exception()
    assert "running" in repr(handle) or anyio_backend_name != "trio"
    await handle


async def test_cancelling_who_awaits_the_handle_cancels_the_task() -> None:
    log = Log()
    handle = async_background(log.forever())
    async with cancelled_when(lambda: until(lambda: log)) as scope:
        await handle
    assert scope.cancelled_caught
    assert (handle.cancelled(), log) == (True, ["task starts", "task ends"])


async def test_a_dropped_handle_leaves_the_task_running() -> None:
    log = Log()
    event = anyio.Event()

    async def work() -> None:
        log.append("works")
        await event.wait()
        log.append("has worked")

    async_background(work())
    await until(lambda: log == ["works"])
    gc.collect()
    event.set()
    await until(lambda: log == ["works", "has worked"])


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_callback_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """On asyncio the loop's exception handler hears of it."""

    def complain(handle: object) -> None:
        raise LookupError("from a callback")

    handle = async_background(number(1))
    handle.add_done_callback(complain)
    assert await handle == 1
    assert "from a callback" in caplog.text


def test_a_handle_may_be_made_in_a_callback_of_asyncio() -> None:
    async def main() -> int:
        made: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: made.append(async_background(number(3))))
        await asyncio.sleep(0.001)
        result: int = await made[0]
        return result

    assert asyncio.run(main()) == 3


def test_without_a_loop_the_coroutine_is_closed() -> None:
    with pytest.raises(anyio.NoEventLoopError):
        async_background(number(1))


@pytest.mark.parametrize("function", [async_background, async_run])
def test_a_function_in_place_of_a_coroutine_is_an_error(function: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=rf"{function.__name__}\(number\(\)\)"):
        function(number)
    with pytest.raises(TypeError, match=r"needs a coroutine object, got 3$"):
        function(3)


# --- async_run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_run(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def which() -> str:
        await anyio.lowlevel.checkpoint()
        return type(anyio.lowlevel.current_token().native_token).__module__.split(".")[0]

    assert async_run(which()) == "asyncio"
    assert async_run(which(), backend=backend) == backend
    monkeypatch.setenv("SENTRIO_BACKEND", backend)
    assert async_run(which()) == backend == default_backend()
    with pytest.raises(LookupError):
        async_run(fail_later(), backend=backend)


async def test_async_run_inside_a_loop_is_an_error() -> None:
    with pytest.raises(RunningLoopError, match=r"use `await number\(\.\.\.\)` instead"):
        async_run(number(1))


async def test_async_run_in_a_worker_thread() -> None:
    assert await anyio.to_thread.run_sync(functools.partial(async_run, number(5))) == 5


def test_a_backend_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionValueError, match="backend must be 'asyncio' or 'trio', got 'curio'"):
        async_run(number(1), backend="curio")  # type: ignore[arg-type]
    monkeypatch.setenv("SENTRIO_BACKEND", "twisted")
    with pytest.raises(OptionValueError, match="environment: SENTRIO_BACKEND must be .* got 'twisted'"):
        async_run(number(1))


async def test_the_log_is_quiet_when_all_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    async with await BackgroundTask.start(Log().forever):
        pass
    assert await async_background(number(1)) == 1
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
