"""What is started here and stopped there: the one place of the project that starts native tasks.

Everything else runs in a task group that its caller can see. Three forms that people are used to have none:
``start_async()`` with ``stop_async()``, a bare ``async for`` over something that works ahead, and fire and
forget. They stand on a *host task*: on asyncio a task, on trio a system task.

What the backends do by themselves, and what is made of it (the tests keep the experiments):

============================  =====================  ====================  ===================
when                          asyncio                trio                  here
============================  =====================  ====================  ===================
the starter is cancelled      task runs on           task runs on          task runs on
nobody refers to the task     destroyed pending      task runs on          cancelled
the function raises           logged when collected  ``trio.run`` breaks   raised by ``aclose``
the main function returns     cancelled              cancelled             cancelled
posting to an ended loop      ``RuntimeError``       ``RunFinishedError``  ignored
============================  =====================  ====================  ===================
"""

from __future__ import annotations

__all__ = (
    "BackgroundHandle",
    "BackgroundTask",
    "async_background",
    "async_run",
    "cancelled_from_outside",
    "current_task_id",
    "default_backend",
    "is_being_cancelled",
    "loop_time_is_virtual",
    "native_cancellation",
    "postpone_cancellation",
)

import asyncio
import contextvars
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, cast

import anyio
import anyio.lowlevel

from sentrio.async_core._checks import require_coroutine
from sentrio.async_core._handles import BackgroundHandle, TrioHandle, describe
from sentrio.async_core._hosts import HostState, HostStatus, innermost_host
from sentrio.errors import OptionValueError, RunningLoopError

T = TypeVar("T")

# asyncio refers to its tasks weakly: without this, a task that waits for something that only it knows
# would be destroyed in the middle.
_alive: set[asyncio.Task[Any]] = set()


def _launch(
    func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], name: str | None, *, with_status: bool = False
) -> HostState:
    """Start a host task in the running event loop, with a copy of the current context."""
    loop = cast("Any", anyio.lowlevel.current_token().native_token)
    state = HostState(name or str(getattr(func, "__qualname__", func)), loop)
    options = {"task_status": HostStatus(state)} if with_status else {}
    if hasattr(loop, "call_soon_threadsafe"):
        task = loop.create_task(state.host(func, args, **options), name=state.name)
        _keep(task)
        # A task that is cancelled before its first step never enters `host`.
        task.add_done_callback(state.task_done)
    else:
        import trio

        async def system_task() -> None:
            await state.host(func, args, **options)

        trio.lowlevel.spawn_system_task(system_task, name=state.name, context=contextvars.copy_context())
    return state


def _keep(task: asyncio.Task[Any]) -> None:
    if not task.done():
        _alive.add(task)
        task.add_done_callback(_alive.discard)


class BackgroundTask(Generic[T]):
    """An async function that runs beside its caller until it returns, is closed, or is forgotten.

    The function runs with a copy of the caller's context variables, outside of the caller's cancel scopes and
    task groups. Whoever holds this object owns the task. The task is cancelled when the object is closed or
    garbage-collected, in whatever thread that happens, and when the event loop ends. So that an owner can
    become garbage, the function and its arguments must not refer to the owner.

    ::

        task = await BackgroundTask.start(serve, port)   # serve(port, *, task_status) has called started()
        ...
        await task.aclose()                              # anywhere, also in another task

    As an async context manager it is closed at the end of the block.
    """

    __slots__ = ("__weakref__", "_state")

    def __init__(self, state: HostState) -> None:
        self._state = state

    @classmethod
    def start_soon(cls, func: Callable[..., Awaitable[T]], *args: Any, name: str | None = None) -> Self:
        """Start ``func(*args)`` and return at once.

        :param func: an async function
        :param name: what the task is called in logs; ``None`` takes the function's name
        :raises anyio.NoEventLoopError: if no event loop is running
        """
        return cls(_launch(func, args, name))

    @classmethod
    async def start(cls, func: Callable[..., Awaitable[T]], *args: Any, name: str | None = None) -> Self:
        """Start ``func(*args, task_status=...)`` and wait until it calls ``task_status.started(value)``.

        What it raises before that is raised here. If the caller is cancelled before, so is the function, and
        it has ended when this method raises (or, if its clean-up takes longer than 5 seconds, is named in
        the log).

        :param func: an async function with a parameter ``task_status``
        :param name: what the task is called in logs; ``None`` takes the function's name
        :raises RuntimeError: if the function returns without having called ``started``
        :raises anyio.TaskCancelled: if the task is cancelled before it is ready
        """
        task = cls(_launch(func, args, name, with_status=True))
        state = task._state
        try:
            await state.ready.wait()
        except BaseException:
            state.scope.cancel()
            await state.linger()
            raise
        if not state.started:
            await state.finished.wait()
            state.unwrap()
            raise RuntimeError(f"{state.name} returned without calling task_status.started()")
        return task

    @property
    def name(self) -> str:
        """What the task is called in logs."""
        return self._state.name

    @property
    def start_value(self) -> Any:
        """What the function passed to ``started()``; ``None`` before that."""
        return self._state.start_value

    @property
    def done(self) -> bool:
        """Whether the task has ended, in whatever way."""
        return self._state.ended

    def cancel(self) -> None:
        """Ask the task to end, and return at once. Call it in the event loop that the task runs in."""
        self._state.scope.cancel()

    async def wait(self) -> T:
        """Wait until the task has ended, and return what its function returned or raise what it raised.

        Cancelling the caller does not cancel the task.

        :raises anyio.TaskCancelled: if the task was cancelled
        :raises RuntimeError: if called from the task itself, or in another event loop than the task's
        """
        state = self._state
        if state.ended:
            await anyio.lowlevel.checkpoint()
        else:
            self._refuse_to_wait_in_vain("wait")
            await state.finished.wait()
        return cast("T", state.unwrap())

    async def aclose(self) -> None:
        """Cancel the task, wait until it has ended, and raise what it raised, unless that was seen before.

        Closing again does nothing. If the caller is cancelled meanwhile, it still waits up to 5 seconds.

        :raises RuntimeError: if called from the task itself, or in another event loop than the task's
        """
        state = self._state
        if state.ended:
            await anyio.lowlevel.checkpoint()
        else:
            self._refuse_to_wait_in_vain("aclose")
            state.scope.cancel()
            await state.until_ended()
        if state.error is not None and not state.asked:
            state.unwrap()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def _refuse_to_wait_in_vain(self, method: str) -> None:
        state = self._state
        if anyio.lowlevel.current_token().native_token is not state.loop:
            raise RuntimeError(f"background task {state.name} belongs to another event loop; call {method}() there")
        if innermost_host.get(None) is not state.token:
            return
        # Code that was merely started from inside may wait for the task; itself and its children may not.
        parents = {info.id: info.parent_id for info in anyio.get_running_tasks()}
        task_id: int | None = anyio.get_current_task().id
        while task_id is not None:
            if task_id == state.task_id:
                raise RuntimeError(
                    f"background task {state.name} can not wait for its own end; "
                    f"call {method}() from outside, or cancel() here"
                )
            task_id = parents.get(task_id)

    def __del__(self) -> None:
        # May run in any thread, at any time: nothing but the post is safe here.
        if not self._state.ended:
            self._state.post_cancel()

    def __repr__(self) -> str:
        return f"<BackgroundTask {self._state.name} {describe(self._state)}>"


def async_background(coro: Coroutine[Any, Any, T]) -> BackgroundHandle[T]:
    """Start ``coro`` beside the caller and return a handle that can be awaited and cancelled.

    On asyncio the handle is an ``asyncio.Task``; on trio it has the same methods, and a cancelled task raises
    ``anyio.TaskCancelled`` where asyncio raises ``CancelledError``. The task runs on if the handle is
    dropped; it is cancelled when the event loop ends, and an error that nobody asked for is logged.

    :raises TypeError: if ``coro`` is not a coroutine object
    :raises anyio.NoEventLoopError: if no event loop is running
    """
    require_coroutine("async_background", coro)
    try:
        loop = _running_loop()
        if hasattr(loop, "call_soon_threadsafe"):
            task: asyncio.Task[T] = loop.create_task(coro)
            _keep(task)
            return task

        async def run() -> T:
            return await coro

        return TrioHandle(_launch(run, (), _name_of(coro)))
    except BaseException:
        coro.close()
        raise


def async_run(coro: Coroutine[Any, Any, T], *, backend: Literal["asyncio", "trio"] | None = None) -> T:
    """Run ``coro`` in an event loop of its own, wait for it, and return its result.

    :param backend: ``None`` takes asyncio, or what the environment variable ``SENTRIO_BACKEND`` says
    :raises TypeError: if ``coro`` is not a coroutine object
    :raises sentrio.errors.RunningLoopError: if an event loop is running in this thread
    :raises sentrio.errors.OptionValueError: if ``backend`` or ``SENTRIO_BACKEND`` names no backend
    """
    require_coroutine("async_run", coro)

    async def main() -> T:
        return await coro

    try:
        with suppress(anyio.NoEventLoopError):
            _running_loop()
            raise RunningLoopError("async_run()", f"{_name_of(coro)}(...)")
        if backend is None:
            backend = default_backend()
        else:
            _require_backend("async_run", "backend", backend)
        return anyio.run(main, backend=backend)
    finally:
        coro.close()  # does nothing to one that has run


def default_backend() -> Literal["asyncio", "trio"]:
    """Return the backend for blocking entry points: asyncio, unless ``SENTRIO_BACKEND`` is ``trio``.

    :raises sentrio.errors.OptionValueError: if the variable names no backend
    """
    name = os.environ.get("SENTRIO_BACKEND") or "asyncio"
    return _require_backend("environment", "SENTRIO_BACKEND", name)


def _require_backend(owner: str, option: str, name: str) -> Literal["asyncio", "trio"]:
    if name not in ("asyncio", "trio"):
        raise OptionValueError(owner, option, f"{option} must be 'asyncio' or 'trio', got {name!r}")
    return cast("Literal['asyncio', 'trio']", name)


def _name_of(coro: Coroutine[Any, Any, Any]) -> str:
    return str(getattr(coro, "__qualname__", coro))


def current_task_id() -> int:
    """Return a number that the running task shares with no other one as long as it lives.

    AnyIO has this in ``get_current_task().id``, among much else that takes most of its time.
    """
    task: object = None
    with suppress(RuntimeError):
        task = asyncio.current_task()
    if task is None:
        import trio

        task = trio.lowlevel.current_task()
    return id(task)


def postpone_cancellation() -> None:
    """Have a cancellation that was caught just now delivered again, at the next checkpoint.

    A cancel scope does so by itself. What asyncio's ``task.cancel()`` has asked for is said only once.
    """
    if cancelled_from_outside():
        return
    with suppress(RuntimeError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            task.uncancel()  # the count is what asyncio.timeout() goes by
            task.cancel()


def cancelled_from_outside() -> bool:
    """Tell whether the current task is being cancelled by a scope around it.

    This is what a task asks that belongs to a task group of ours: whoever cancels the caller, with ``task.cancel()``
    too, reaches it by the group's scope. Code that calls ``task.cancel()`` on such a task itself cancels nobody but
    its own piece of work. To let that pass would end the group in silence, and all results with it.
    """
    return anyio.current_effective_deadline() == float("-inf")


def is_being_cancelled() -> bool:
    """Tell whether somebody cancels the current task: a scope around it, or asyncio's ``task.cancel()``.

    This is what code asks that may run in its caller's own task. If nobody does, a ``CancelledError`` is what code
    has raised by itself, as it happens where a task is awaited that was cancelled.
    """
    return cancelled_from_outside() or native_cancellation()()


def native_cancellation() -> Callable[[], bool]:
    """Return what tells, in other tasks too, whether asyncio's ``task.cancel()`` was called on the current one."""
    task: asyncio.Task[Any] | None = None
    with suppress(RuntimeError):
        task = asyncio.current_task()
    return lambda: task is not None and task.cancelling() > 0


def loop_time_is_virtual() -> bool:
    """Tell whether the running event loop's clock is one that tests bend: ``trio.testing.MockClock``."""
    with suppress(RuntimeError):  # no loop runs, or, in a worker thread, not here
        if hasattr(_running_loop(), "run_sync_soon"):
            import trio

            return hasattr(trio.lowlevel.current_clock(), "jump")
    return False


def _running_loop() -> Any:
    """Return asyncio's loop or trio's token, also inside a callback, where no task is current."""
    try:
        return anyio.lowlevel.current_token().native_token
    except anyio.NoEventLoopError:
        with suppress(RuntimeError):
            return asyncio.get_running_loop()
        raise
