"""What goes on inside of a host task: its function, its end, and what comes of it. See :mod:`.background`."""

from __future__ import annotations

__all__ = ("HostState", "HostStatus", "innermost_host")

import contextvars
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import attrs

logger = logging.getLogger("sentrio.async_core.background")

# How long somebody who is cancelled himself waits for a task that he has to end. Longer than the
# clean-up of a run (3 s), shorter than the patience of whoever cancelled him.
_GRACE_SECONDS = 5.0

#: The innermost host task that the code runs in or was started from.
innermost_host: contextvars.ContextVar[object] = contextvars.ContextVar("sentrio_innermost_host")


@attrs.define(eq=False)
class HostState:
    """What a host task and its owner share; neither of them is referred to from here."""

    name: str
    loop: Any  #: asyncio's loop or trio's token
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    ready: anyio.Event = attrs.field(factory=anyio.Event)
    finished: anyio.Event = attrs.field(factory=anyio.Event)
    token: object = attrs.field(factory=object)
    task_id: int | None = None
    started: bool = False
    start_value: Any = None
    ended: bool = False
    cancelled: bool = False
    result: Any = None
    error: BaseException | None = None
    asked: bool = False  #: somebody has seen the error
    on_end: Callable[[], object] | None = None

    async def host(self, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], **options: Any) -> None:
        """Run the function to its end and keep what comes of it; nothing escapes."""
        innermost_host.set(self.token)
        self.task_id = anyio.get_current_task().id
        try:
            with self.scope:
                self.result = await func(*args, **options)
            self.cancelled = self.scope.cancelled_caught
        except BaseException as exc:  # noqa: BLE001
            # This is the outermost frame, with the event loop alone above it: trio would break down, asyncio
            # would complain to nobody. A cancellation that arrives here has ended the task already.
            self.cancelled = _is_cancellation(exc)
            if not self.cancelled:
                # Without this frame, which refers to us: otherwise only the cyclic collector could free us.
                self.error = exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
        finally:
            self.end()
            # From Python 3.12 on, the frames of the error lead back to this one.
            del self

    def end(self) -> None:
        self.ended = True
        self.ready.set()
        self.finished.set()
        if self.on_end is not None:
            self.on_end()
            self.on_end = None  # it may refer to us

    def task_done(self, _: object) -> None:
        if not self.ended:
            self.cancelled = True
            self.end()

    def post_cancel(self) -> None:
        """Cancel the task from any thread, at any time."""
        loop = self.loop
        post = loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon
        # The loop has ended, and the task with it.
        with suppress(RuntimeError):
            post(self.scope.cancel)

    def unwrap(self) -> Any:
        """Return or raise what came of the function."""
        if self.error is not None:
            self.asked = True
            raise self.error
        if self.cancelled:
            raise anyio.TaskCancelled(f"background task {self.name} was cancelled")
        return self.result

    async def until_ended(self) -> None:
        """Wait until the task has ended; if the caller is cancelled, cancel the task too."""
        try:
            await self.finished.wait()
        except BaseException:
            self.scope.cancel()
            await self.linger()
            raise

    async def linger(self) -> None:
        """Give a cancelled task the time to end, although the caller is cancelled himself."""
        deadline = anyio.current_time() + _GRACE_SECONDS
        while not self.ended and anyio.current_time() < deadline:
            with anyio.CancelScope(deadline=deadline, shield=True):
                try:
                    await self.finished.wait()
                except BaseException:  # noqa: BLE001, S112
                    # A native asyncio ``task.cancel()`` pierces a shield. Whoever called this method
                    # raises the cancellation that brought him here.
                    continue
        if not self.ended:
            logger.warning("background task %s still runs %g s after it was cancelled", self.name, _GRACE_SECONDS)

    def __del__(self) -> None:
        if self.error is not None and not self.asked:
            logger.error("background task %s failed, and nobody asked", self.name, exc_info=self.error)


def _is_cancellation(exc: BaseException) -> bool:
    return isinstance(exc, anyio.get_cancelled_exc_class())


@attrs.define(eq=False)
class HostStatus:
    """What a function calls once it is ready, as ``task_status`` of AnyIO's task groups."""

    state: HostState

    def started(self, value: object = None) -> None:
        if self.state.started:
            raise RuntimeError("started() was called twice")
        self.state.started = True
        self.state.start_value = value
        self.state.ready.set()
