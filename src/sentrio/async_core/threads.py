"""Blocking code in worker threads: the one place of the project that starts a thread.

AnyIO's own ``to_thread.run_sync`` differs between its backends in the two points that matter most here.
An abandoned call gives its limiter token back at once on asyncio, so that a limit no longer limits; and at
process exit asyncio waits for abandoned threads for as long as they like, where trio kills them in silence.
:func:`call_sync` behaves alike on every backend: the slot is kept until the thread has really ended, and at
exit the threads that still run are named in the log and left behind.
"""

from __future__ import annotations

__all__ = ("ThreadStatistics", "call_sync", "loop_poster", "thread_statistics")

import atexit
import contextvars
import logging
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
from anyio import CapacityLimiter

from sentrio.async_core._checks import close_coroutine

try:
    from sniffio import current_async_library_cvar
except ImportError:  # trio needs it; where it is missing, AnyIO does without
    current_async_library_cvar = None  # type: ignore[assignment]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger("sentrio.async_core.threads")

# An idle worker ends after this long: longer than the gaps within one run, shorter than anybody looks.
_IDLE_SECONDS = 10.0

# At interpreter exit a thread inside a native library must not come back into a finalised interpreter
# if a short wait can avoid it; a morsel ends within this time.
_EXIT_GRACE_SECONDS = 0.25


@attrs.frozen
class ThreadStatistics:
    """What the worker threads of this process are doing."""

    running: int  #: calls that run in a thread now, abandoned ones included
    abandoned: int  #: of these, calls whose caller has gone
    idle: int  #: threads that wait for work


@attrs.define(eq=False, slots=True)
class _Call:
    """One call on its way through a thread and back."""

    func: Callable[[], Any]
    name: str
    post: Callable[..., object]  # schedules a callback in the caller's event loop, from any thread
    done: anyio.Event
    limiter: CapacityLimiter
    result: Any = None
    error: BaseException | None = None
    abandoned: bool = False
    unwanted: bool = False

    def run(self) -> None:
        """Run the function in the current thread and send the answer home."""
        try:
            self.result = self.func()
        except BaseException as exc:  # noqa: BLE001  # it belongs to the caller, whatever it is
            self.error = exc
        # The caller may go on before this thread does: what it passed in must not live on here.
        self.func = _answered
        self.finish()

    def finish(self) -> None:
        if self.unwanted:
            close_coroutine(self.result)
        _running.discard(self)
        if self.abandoned:
            logger.info("abandoned call %s has ended", self.name)
        self.post(self._deliver)

    def _deliver(self) -> None:
        self.limiter.release_on_behalf_of(self)
        self.done.set()

    def discard(self) -> None:
        """Note that nobody will take the answer, which may be a coroutine that was never awaited."""
        # Whichever comes second, this or the answer, sees what the other one has set.
        self.unwanted = True
        close_coroutine(self.result)

    def unwrap(self) -> Any:
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            # The traceback refers to this frame: without this, caller and error would form a cycle.
            self.error = None


def _answered() -> None:
    """Stands where the function of a call was."""


_running: set[_Call] = set()
_idle: list[_Worker] = []


class _Worker(threading.Thread):
    """A daemon thread that runs calls until it has been idle for a while."""

    def __init__(self) -> None:
        super().__init__(name="sentrio worker", daemon=True)
        self.inbox: queue.SimpleQueue[_Call] = queue.SimpleQueue()

    def run(self) -> None:
        while True:
            try:
                call = self.inbox.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                try:
                    _idle.remove(self)
                except ValueError:
                    continue  # somebody took this worker off the list just now: a call is on its way
                return

            call.run()
            del call  # an idle worker keeps nobody's result alive
            _idle.append(self)


def _start(call: _Call) -> None:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
    worker.inbox.put(call)


def _submit(call: _Call, executor: Executor) -> None:
    def answered(future: Future[Any]) -> None:
        try:
            call.error = future.exception()
        except FutureCancelledError:
            call.error = anyio.BrokenResourceError()
        if call.error is None:
            call.result = future.result()
        call.finish()

    executor.submit(call.func).add_done_callback(answered)


async def call_sync(
    func: Callable[[*Ts], T],
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    executor: Executor | None = None,
    abandon_after: float | None = 0.0,
    on_cancel: Callable[[], object] | None = None,
) -> T:
    """Run ``func(*args)`` in a worker thread and return what it returns.

    The call sees a copy of the caller's context variables (with a process pool, none). When the caller is
    cancelled, a call that still waits for its slot never starts; one that runs can not be stopped, so the
    caller waits ``abandon_after`` seconds for it and then leaves it behind. An abandoned call keeps its slot
    until its thread ends, is counted by :func:`thread_statistics`, and is named in the log if it still runs
    when the process exits; it never keeps the process from exiting.

    :param func: a blocking function
    :param limiter: bounds how many calls run at once; ``None`` uses AnyIO's default limiter for threads
    :param executor: run the call there instead of in a thread of our own; it is not shut down
    :param abandon_after: seconds to wait for a running call after a cancellation; ``None`` waits to its end
    :param on_cancel: called in the event loop when the caller is cancelled while the call runs, to tell ``func``
        that it may end
    :raises ValueError: if ``abandon_after`` is negative or NaN
    """
    if abandon_after is not None and not abandon_after >= 0:
        raise ValueError(f"abandon_after must be at least 0 seconds or None, got {abandon_after!r}")

    if limiter is None:
        limiter = anyio.to_thread.current_default_thread_limiter()
    bound = _with_context(func, args) if executor is None else _for_executor(func, args, executor)
    call = _Call(bound, _name(func), loop_poster(), anyio.Event(), limiter)
    await limiter.acquire_on_behalf_of(call)
    _running.add(call)
    try:
        if executor is None:
            _start(call)
        else:
            _submit(call, executor)
    except BaseException:
        _running.discard(call)
        limiter.release_on_behalf_of(call)
        raise

    try:
        await call.done.wait()
    except BaseException:
        try:
            if on_cancel is not None:
                on_cancel()
        finally:
            await _wait_after_cancellation(call, abandon_after)
        raise
    return call.unwrap()  # type: ignore[no-any-return]


def _with_context(func: Callable[..., T], args: tuple[Any, ...]) -> Callable[[], T]:
    context = contextvars.copy_context()
    # It says which event loop runs, and none does in the thread: the function may run one of its own.
    if current_async_library_cvar is not None:
        context.run(current_async_library_cvar.set, None)
    return _Bound(context.run, (func, *args))


def _for_executor(func: Callable[..., T], args: tuple[Any, ...], executor: Executor) -> Callable[[], T]:
    if isinstance(executor, ThreadPoolExecutor):
        return _with_context(func, args)
    return _Bound(func, args)  # picklable if the function and its arguments are


def loop_poster() -> Callable[..., None]:
    """Return a function that has the event loop that runs now call something soon; it works in any thread.

    Once the loop has ended, nobody waits for that any more, and the function does nothing.

    :raises anyio.NoEventLoopError: if no event loop is running
    """
    loop: Any = anyio.lowlevel.current_token().native_token
    native = loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon

    def post(callback: Callable[..., object], *args: Any) -> None:
        with suppress(RuntimeError):
            native(callback, *args)

    return post


def _name(func: Any) -> str:
    """Return what the log calls a function; never its ``repr``, which may show what is bound to it."""
    while isinstance(func, partial):
        func = func.func
    return str(getattr(func, "__qualname__", type(func).__qualname__))


@attrs.frozen
class _Bound:
    """``functools.partial`` without its merging of keywords, and picklable with a plain function."""

    func: Callable[..., Any]
    args: tuple[Any, ...]

    def __call__(self) -> Any:
        return self.func(*self.args)


async def _wait_after_cancellation(call: _Call, abandon_after: float | None) -> None:
    deadline = float("inf") if abandon_after is None else anyio.current_time() + abandon_after
    # Until the answer has arrived, not only left: its slot is given back in this loop.
    while not call.done.is_set() and anyio.current_time() < deadline:
        with anyio.CancelScope(deadline=deadline, shield=True):
            try:
                await call.done.wait()
            except BaseException:  # noqa: BLE001, S112
                # A native asyncio ``task.cancel()`` pierces a shield; the cancellation that brought us
                # here is raised again by the caller of this function in any case.
                continue
    call.discard()
    if call in _running:
        call.abandoned = True
        logger.warning("call %s was abandoned by its cancelled caller and still runs", call.name)


def thread_statistics() -> ThreadStatistics:
    """Return what the worker threads of this process are doing right now."""
    calls = tuple(_running)
    return ThreadStatistics(running=len(calls), abandoned=sum(call.abandoned for call in calls), idle=len(_idle))


def _report_at_exit() -> None:
    deadline = threading.Event()
    for _ in range(10):
        if not _running:
            return
        deadline.wait(_EXIT_GRACE_SECONDS / 10)
    names = ", ".join(sorted(call.name for call in tuple(_running)))
    if names:
        logger.warning("the process exits while these calls still run in worker threads: %s", names)


def _forget_after_fork() -> None:
    # Threads do not survive a fork; their records must not either.
    _running.clear()
    _idle.clear()


atexit.register(_report_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
