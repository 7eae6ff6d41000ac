from __future__ import annotations

import contextvars
import functools
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import anyio
import anyio.lowlevel
import pytest
from tests.async_core._moments import cancelled_when, until

from sentrio.async_core.background import async_run
from sentrio.async_core.threads import call_sync, thread_statistics
from sentrio.testing import Backend, cancel_everywhere

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_returns_and_raises_what_the_function_does() -> None:
    def divide(a: int, b: int) -> float:
        return a / b

    assert await call_sync(divide, 6, 3) == 2
    with pytest.raises(ZeroDivisionError):
        await call_sync(divide, 1, 0)


async def test_sees_context_variables_of_its_caller() -> None:
    variable.set("here")
    assert await call_sync(variable.get) == "here"
    with ThreadPoolExecutor(1) as executor:
        assert await call_sync(variable.get, executor=executor) == "here"


async def test_runs_in_a_process_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        assert await call_sync(os.getpid, executor=executor) != os.getpid()


async def test_an_executor_that_is_shut_down_gives_the_slot_back() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    limiter = anyio.CapacityLimiter(1)
    with pytest.raises(RuntimeError, match="shutdown"):
        await call_sync(int, limiter=limiter, executor=executor)
    assert limiter.borrowed_tokens == 0


async def test_a_call_that_its_executor_drops_is_an_error() -> None:
    executor = ThreadPoolExecutor(1)
    gate = threading.Event()
    first = executor.submit(gate.wait)
    async with anyio.create_task_group() as tg:
        tg.start_soon(drop_waiting_calls, executor, gate)
        with pytest.raises(anyio.BrokenResourceError):
            await call_sync(int, executor=executor)
    assert first.result(5)


async def running() -> None:
    """Wait until a call is on its way through a thread."""
    await until(lambda: thread_statistics().running)


async def drop_waiting_calls(executor: ThreadPoolExecutor, gate: threading.Event) -> None:
    await anyio.wait_all_tasks_blocked()
    executor.shutdown(wait=False, cancel_futures=True)
    gate.set()


async def test_abandoned_call_keeps_its_slot_until_its_thread_ends(caplog: pytest.LogCaptureFixture) -> None:
    limiter = anyio.CapacityLimiter(1)
    gate = threading.Event()
    async with cancelled_when(running) as scope:
        await call_sync(gate.wait, limiter=limiter)
    assert scope.cancelled_caught
    assert limiter.borrowed_tokens == 1
    assert thread_statistics().abandoned == 1
    assert "Event.wait was abandoned" in caplog.text
    gate.set()
    with anyio.fail_after(30):
        async with limiter:  # free as soon as the thread has ended
            pass
    assert thread_statistics().abandoned == 0


async def test_the_log_never_shows_arguments(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()

    def wait(secret: str) -> None:
        ended.wait(10)

    limiter = anyio.CapacityLimiter(1)
    async with cancelled_when(running):
        await call_sync(functools.partial(functools.partial(wait), "hush"), limiter=limiter)
    ended.set()
    with anyio.fail_after(30):
        async with limiter:  # the thread has ended
            pass
    assert "wait was abandoned" in caplog.text
    assert "hush" not in caplog.text


async def test_waits_for_a_short_call_before_it_abandons_it(caplog: pytest.LogCaptureFixture) -> None:
    limiter = anyio.CapacityLimiter(1)
    async with cancelled_when(running):
        await call_sync(time.sleep, 0.05, limiter=limiter, abandon_after=60)
    assert limiter.borrowed_tokens == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_never_abandons_when_told_so() -> None:
    ended = threading.Event()

    def work() -> None:
        time.sleep(0.05)
        ended.set()

    async with cancelled_when(running):
        await call_sync(work, abandon_after=None)
    assert ended.is_set()


async def test_a_call_that_waits_for_its_slot_never_starts_once_cancelled() -> None:
    limiter = anyio.CapacityLimiter(1)
    started = threading.Event()
    async with limiter:
        async with cancelled_when():
            await call_sync(started.set, limiter=limiter)
    assert not started.is_set()


async def test_a_call_is_told_when_its_caller_is_cancelled() -> None:
    told = threading.Event()
    async with cancelled_when(running) as scope:
        await call_sync(told.wait, 60, abandon_after=None, on_cancel=told.set)
    assert scope.cancelled_caught

    told.clear()
    await call_sync(int, on_cancel=told.set)
    assert not told.is_set()


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
async def test_refuses_a_bad_deadline(bad: float) -> None:
    with pytest.raises(ValueError, match="abandon_after"):
        await call_sync(int, abandon_after=bad)


async def test_threads_are_used_again() -> None:
    await call_sync(int)
    before = threading.active_count()
    for _ in range(50):
        await call_sync(int)
    assert threading.active_count() <= before + 1


def test_cancelled_anywhere_it_leaves_nothing(backend: Backend) -> None:
    limiters: list[anyio.CapacityLimiter] = []

    async def operation() -> None:
        limiters[:] = [anyio.CapacityLimiter(1)]
        async with anyio.create_task_group() as tg:
            for _ in range(3):
                tg.start_soon(_short, limiters[0])

    report = cancel_everywhere(operation, backend=backend, limiters=lambda: limiters)
    assert report.tries >= 3


async def _short(limiter: anyio.CapacityLimiter) -> None:
    await call_sync(time.sleep, 0.001, limiter=limiter, abandon_after=None)


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_exit_neither_waits_for_an_abandoned_call_nor_hides_it(name: str) -> None:
    program = f"""
import logging, time, anyio, anyio.from_thread, anyio.lowlevel
from sentrio.async_core.threads import call_sync
logging.basicConfig()
def stuck():
    anyio.from_thread.run_sync(scope.cancel, token=token)
    time.sleep(60)
async def main():
    global scope, token
    token = anyio.lowlevel.current_token()
    with anyio.CancelScope() as scope:
        await call_sync(stuck)
anyio.run(main, backend={name!r})
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert time.monotonic() - started < 20
    assert "the process exits while these calls still run in worker threads: stuck" in done.stderr


def test_works_in_a_forked_child() -> None:
    program = """
import os, anyio, sys, warnings
warnings.simplefilter("ignore")
from sentrio.async_core.threads import call_sync
async def main(): return await call_sync(int, "7")
assert anyio.run(main) == 7
pid = os.fork()
if pid == 0:
    os._exit(anyio.run(main))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)


async def test_a_coroutine_that_an_abandoned_call_returns_is_closed() -> None:
    begun, go, returned = threading.Event(), threading.Event(), threading.Event()

    async def never_awaited() -> None:
        pytest.fail("must not run")

    def make() -> object:
        begun.set()
        go.wait(60)
        coroutine = never_awaited()
        returned.set()
        return coroutine

    async with cancelled_when(lambda: until(begun.is_set)):
        await call_sync(make)
    go.set()
    assert await anyio.to_thread.run_sync(returned.wait, 60)
    await until(lambda: not thread_statistics().running)


@pytest.mark.parametrize("executor", [False, True])
async def test_a_blocking_function_may_run_an_event_loop_of_its_own(executor: bool) -> None:
    async def answer() -> int:
        await anyio.lowlevel.checkpoint()
        return 42

    with ThreadPoolExecutor(1) as pool:
        given = pool if executor else None
        assert await call_sync(functools.partial(anyio.run, answer), executor=given) == 42
        assert await call_sync(lambda: async_run(answer()), executor=given) == 42
        assert await call_sync(functools.partial(anyio.run, answer, backend="trio"), executor=given) == 42
    assert await answer() == 42
