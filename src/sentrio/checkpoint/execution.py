"""Runs of many checkpoints within one limit: what a pool and a runner have in common."""

from __future__ import annotations

__all__ = ("Execution", "call_back", "run_each")

import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from sentrio.async_core._slots import Slots, innermost
from sentrio.async_core.background import cancelled_from_outside, is_being_cancelled, postpone_cancellation
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.connections import Connections
from sentrio.checkpoint.result import CheckpointResult, CheckpointStatus
from sentrio.checkpoint.run import CheckpointRun
from sentrio.errors import ClosedError

logger = logging.getLogger("sentrio.checkpoint")

T = TypeVar("T")
Callback = Callable[[Any], Any]

_FAILED = frozenset({CheckpointStatus.FAILURE, CheckpointStatus.ERROR})

# The executions in whose callbacks the code runs.
_calling_back: ContextVar[tuple[Execution, ...]] = ContextVar("sentrio_calling_back", default=())


class Execution:
    """Runs checkpoints in their callers' tasks, as many at once as there are slots, first come, first served.

    A run that is started from inside another one uses that one's slot, so that nesting can not deadlock.

    :param total: how many slots there are
    :param owner: whose they are, for messages
    :param closed_error: what is raised while no work is taken
    :param keep_interrupted: whether a run that is ended by closing the slots has a result
    """

    def __init__(
        self,
        total: int,
        owner: str,
        closed_error: type[ClosedError],
        *,
        keep_interrupted: bool,
    ) -> None:
        self.slots = Slots(total, math.inf, owner, closed_error)
        self._keep_interrupted = keep_interrupted
        self._loop: object = None
        self.connections = Connections()  #: of the actions, while the owner has them open
        self.completed_runs = 0
        self.failed_runs = 0

    @property
    def busy(self) -> bool:
        """Whether something runs or waits in the event loop that runs here."""
        return self._loop is _current_loop() and not self.slots.is_empty

    def open(self) -> None:
        """Take work from now on, in the event loop that runs here."""
        loop, slots = _current_loop(), self.slots
        if loop is not self._loop:
            # What was left behind in a loop that has ended takes no slots in this one.
            self.slots = slots = Slots(slots.total, math.inf, slots.owner, slots.closed_error)
            self._loop = loop
        slots.open()

    async def run(
        self,
        checkpoint: Checkpoint,
        context: Mapping[str, Any] | None,
        on_result: Callable[[CheckpointResult], Awaitable[None]],
        *,
        in_call: bool = False,
    ) -> CheckpointResult | None:
        """Run a checkpoint once there is a slot, and hand out its result.

        :param on_result: called with the result, after the slot was given back
        :param in_call: the caller has begun a call of the slots itself
        :return: the result; ``None`` if the slots were closed before there was one
        :raises ClosedError: if no work is taken
        :raises RuntimeError: in another event loop than the one in which work is taken
        """
        slots = self.slots
        if self._loop is not _current_loop():
            slots.require_open()
            self.refuse_elsewhere()
        if not in_call:
            slots.begin_call()
        try:
            ticket = slots.enter(0, in_call=True)
            run: CheckpointRun | None = None
            result: CheckpointResult | None = None
            try:
                with ticket.scope:
                    if ticket.event is not None:
                        await ticket.event.wait()
                    run = CheckpointRun(checkpoint, context)
                    token = innermost.set(ticket)
                    try:
                        with self.connections.in_use():
                            result = await run.execute()
                    finally:
                        innermost.reset(token)
            finally:
                ticket.leave()
            if result is None and run is not None and self._keep_interrupted:
                result = run.interrupted(f"the {slots.owner} was stopped before the run had ended")
            if result is not None:
                await self.hand_out(result, on_result)
            return result
        finally:
            if not in_call:
                slots.end_call()

    async def hand_out(
        self, result: CheckpointResult, on_result: Callable[[CheckpointResult], Awaitable[None]]
    ) -> None:
        """Count a result, and call ``on_result`` with it."""
        self.completed_runs += 1
        self.failed_runs += result.status in _FAILED
        token = _calling_back.set((*_calling_back.get(), self))
        try:
            await on_result(result)
        except anyio.get_cancelled_exc_class():
            # The run has ended: its caller gets the result, and then the cancellation.
            postpone_cancellation()
        finally:
            _calling_back.reset(token)

    def refuse_elsewhere(self) -> None:
        """Check that the event loop that runs here is the one in which work is taken.

        :raises RuntimeError: if it is not
        """
        if self._loop is not _current_loop():
            problem = (
                "runs in another event loop; call it there (anyio.from_thread.run does), or start it in this one"
            )
            raise RuntimeError(f"the {self.slots.owner} {problem}")

    def refuse_inside(self, call: str) -> None:
        """Check that the caller is not part of a run or callback that it wants to wait for.

        :raises RuntimeError: if it is
        """
        self.slots.refuse_inside(call)
        if self in _calling_back.get():
            raise RuntimeError(
                f"{call} waits for all callbacks, so a callback of the {self.slots.owner} can not call it"
            )


def _current_loop() -> object:
    return anyio.lowlevel.current_token().native_token


async def call_back(callback: Callback, value: object, what: str) -> bool:
    """Call a user's callback, sync or async; return whether it did well.

    :param what: what it is, for the log
    """
    try:
        answer = callback(value)
        if inspect.isawaitable(answer):
            await answer
    except BaseException as exc:
        # On asyncio a callback may raise CancelledError although nobody cancels it.
        own = isinstance(exc, anyio.get_cancelled_exc_class()) and not is_being_cancelled()
        if not own and not isinstance(exc, Exception):
            raise
        logger.exception("%s raised; what it was called with is kept", what)
        return False
    return True


async def run_each(func: Callable[[T], Awaitable[Any]], items: Sequence[T], at_once: int) -> list[Any]:
    """Call ``func`` on each item, some at once, and return what it returns in the order of the items.

    The first error cancels the others, waits for them, and is raised as it is.
    """
    results: list[Any] = [None] * len(items)
    waiting = iter(enumerate(items))
    errors: list[BaseException] = []

    async with anyio.create_task_group() as tg:

        async def work() -> None:
            try:
                for number, item in waiting:
                    results[number] = await func(item)
            except BaseException as exc:
                # On asyncio a run may raise CancelledError, or cancel its task, although nobody cancels the caller.
                own = isinstance(exc, anyio.get_cancelled_exc_class()) and not cancelled_from_outside()
                if not own and not isinstance(exc, Exception):
                    raise
                errors.append(exc)  # raised below, outside of the group, as it is
                tg.cancel_scope.cancel()

        for number in range(min(len(items), at_once)):
            tg.start_soon(work, name=f"sentrio: runs {number}")
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # the traceback refers to this frame
    return results
