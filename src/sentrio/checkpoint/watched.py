"""The triggers that a runner watches, and what becomes of those that raise."""

from __future__ import annotations

__all__ = ("WatchedCheckpoint", "WatchedTrigger", "own_error")

import logging
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import attrs

from sentrio.async_core.background import is_being_cancelled
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.triggers import Trigger, TriggerResult, TriggerWatch

logger = logging.getLogger("sentrio.checkpoint.runner")


@attrs.define(eq=False)
class WatchedTrigger:
    """A trigger and its watch. A watch that could not be begun is begun by the next :meth:`wait`."""

    trigger: Trigger[Any]
    _checkpoint: str
    _poll_interval: float
    _watch: TriggerWatch | None = attrs.field(default=None, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)

    def __str__(self) -> str:
        return f"trigger {self.trigger.name} of {self._checkpoint}"

    def begin(self) -> None:
        """Begin to watch; what the trigger raises is raised by :meth:`wait`."""
        try:
            self._watch = self._begun()
        except BaseException as exc:  # noqa: BLE001
            self._error = own_error(exc)

    async def wait(self) -> TriggerResult:
        """Wait until the trigger is due, and raise what it raises."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # the traceback refers to this frame, and so to us
        if self._watch is None:
            await anyio.lowlevel.checkpoint()  # one that was closed begins no other watch
            self._watch = self._begun()
        due: object = await self._watch.wait()
        if not isinstance(due, TriggerResult):
            raise TypeError(f"the watch of {self} must answer with a TriggerResult, got {due!r}")
        return due

    def _begun(self) -> TriggerWatch:
        watch: object = self.trigger.watch(poll_interval=self._poll_interval)
        if not isinstance(watch, TriggerWatch):
            raise TypeError(f"watch() of {self} must return a TriggerWatch, got {watch!r}")
        return watch

    def close(self) -> bool:
        """Stop watching, and return whether that went well. Done again, it does nothing."""
        watch, self._watch = self._watch, None
        try:
            if watch is not None:
                watch.close()
        except Exception:
            logger.exception("%s raised as its watch was closed", self)
            return False
        return True


@attrs.define(eq=False)
class WatchedCheckpoint:
    """A checkpoint that was added to a runner, and its triggers while the runner serves."""

    checkpoint: Checkpoint
    triggers: tuple[WatchedTrigger, ...] = ()
    scope: anyio.CancelScope | None = None

    def begin(self, poll_interval: float) -> None:
        """Begin to watch: what fires from now on is not lost."""
        self.scope = anyio.CancelScope()
        enabled = [trigger for trigger in self.checkpoint.triggers if trigger.config.enabled]
        self.triggers = tuple(WatchedTrigger(trigger, self.checkpoint.name, poll_interval) for trigger in enabled)
        for trigger in self.triggers:
            trigger.begin()

    def end(self) -> int:
        """Watch no more; return how many triggers raised meanwhile."""
        if self.scope is not None:
            self.scope.cancel()
        return sum(not trigger.close() for trigger in self.triggers)


def own_error(exc: BaseException, cancelled: Callable[[], bool] = is_being_cancelled) -> Exception:
    """Return what a run or a trigger has raised by itself; raise what comes from outside, as a cancellation does.

    On asyncio, code may raise ``CancelledError`` although nobody cancels it, as when it awaits a task that was.

    :param cancelled: tells whether somebody does
    """
    if isinstance(exc, Exception):
        return exc
    if isinstance(exc, anyio.get_cancelled_exc_class()) and not cancelled():
        error = RuntimeError("it raised CancelledError, although nobody cancelled it")
        error.__cause__ = exc
        return error
    raise exc
