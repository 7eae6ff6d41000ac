"""Tasks by priority, so many at once."""

from __future__ import annotations

__all__ = ("SchedulerStatistics", "TaskPriority", "TaskScheduler", "cancel_all", "end_of_block")

import logging
import math
from collections.abc import Coroutine
from enum import IntEnum
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import anyio.lowlevel
import attrs

from sentrio.async_core._checks import (
    check_count,
    check_number,
    check_seconds,
    close_coroutine,
    known_options,
    require_coroutine,
)
from sentrio.async_core._slots import Slots, Ticket, innermost
from sentrio.async_core.telemetry import metric_counter, span
from sentrio.errors import RunnerClosedError

T = TypeVar("T")

logger = logging.getLogger("sentrio.async_core.scheduler")


class TaskPriority(IntEnum):
    """How urgent a task is; the smaller number goes first."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    BACKGROUND = 4


def _as_priority(value: Any) -> TaskPriority:
    try:
        return TaskPriority(value)
    except ValueError:
        names = ", ".join(priority.name for priority in TaskPriority)
        raise ValueError(f"priority must be a TaskPriority ({names}), got {value!r}") from None


_OUTCOMES = ("succeeded", "failed", "timed_out", "cancelled")
_ATTRIBUTES = {
    (outcome, priority): {"outcome": outcome, "priority": priority.name.lower()}
    for outcome in _OUTCOMES
    for priority in TaskPriority
}
_count_ended = metric_counter("sentrio.scheduler.tasks")


@attrs.frozen
class SchedulerStatistics:
    """What a scheduler is doing."""

    running: int  #: tasks that run now, also those that wait for a nested one
    waiting: int  #: tasks that wait for a slot
    succeeded: int  #: tasks that returned, since the scheduler was made
    failed: int  #: tasks that raised
    timed_out: int  #: tasks that their timeout ended
    cancelled: int  #: tasks that were cancelled, by their submitter or by a shutdown


@known_options
class TaskScheduler:
    """Runs coroutines, at most ``max_concurrent`` at once, the most urgent first.

    ::

        async with TaskScheduler(max_concurrent=5) as scheduler:
            report = await scheduler.submit(make_report(), priority=TaskPriority.HIGH)

    A task runs inside the call of ``submit``, so whoever submits is its parent: cancelling the submitter
    cancels the task, and there is no task that nobody waits for. Submit from several tasks to run several at
    once.

    :param max_concurrent: how many tasks may run at once
    :param aging_seconds: a waiting task gains one level of priority every so many seconds, so that no task
        waits for ever while more urgent ones keep coming; ``None`` for strict priorities
    :raises ValueError: if a value is out of range, NaN included
    :raises sentrio.errors.UnknownOptionError: (a ``TypeError``) for an option that is not listed here
    """

    def __init__(self, max_concurrent: int = 10, *, aging_seconds: float | None = 10.0) -> None:
        check_count("max_concurrent", max_concurrent)
        check_number("aging_seconds", aging_seconds, finite=False, unit=" seconds", or_none=True)
        self._slots = Slots(max_concurrent, math.inf if aging_seconds is None else aging_seconds, "task scheduler")
        self._counts = dict.fromkeys(_OUTCOMES, 0)

    @property
    def max_concurrent(self) -> int:
        """How many tasks may run at once."""
        return self._slots.total

    async def start(self) -> None:
        """Take tasks from now on. Starting again does nothing, or undoes a shutdown."""
        self._slots.open()
        await anyio.lowlevel.checkpoint()

    async def submit(
        self,
        coro: Coroutine[Any, Any, T],
        priority: TaskPriority = TaskPriority.NORMAL,
        timeout: float | None = None,
    ) -> T:
        """Run ``coro`` as soon as there is a slot, and return its result or raise its error.

        Tasks of the same priority start in the order in which they were submitted. A submit from inside a
        running task uses the slot of that task, so nested tasks can not wait for each other for ever. A
        coroutine that never gets to run is closed.

        :param coro: a coroutine object
        :param priority: who goes first when there are more tasks than slots
        :param timeout: seconds from this call for waiting and running together; ``None`` for no limit
        :raises TimeoutError: if the task did not end in time; its own one passes unchanged
        :raises sentrio.errors.RunnerClosedError: if the scheduler does not run, or is shut down meanwhile
        :raises TypeError: if ``coro`` is not a coroutine object
        :raises ValueError: if ``priority`` or ``timeout`` is out of range
        """
        ticket, priority = self._enter(coro, priority, timeout)
        outcome, began = "cancelled", False
        try:
            with ticket.scope:
                # Not in a method of the ticket: each coroutine between us and the loop costs a tenth.
                if ticket.event is None:
                    await anyio.lowlevel.checkpoint()
                else:
                    await ticket.event.wait()
                began = True
                token = innermost.set(ticket)
                try:
                    with span("sentrio.scheduler.task", task=getattr(coro, "__qualname__", None)):
                        result = await coro
                except Exception:
                    outcome = "failed"
                    raise
                else:
                    outcome = "succeeded"
                    return result
                finally:
                    innermost.reset(token)
            if not ticket.closed:
                outcome = "timed_out"
        finally:
            ticket.leave()
            if not began:
                close_coroutine(coro)
            self._counts[outcome] += 1
            _count_ended(1, _ATTRIBUTES[outcome, priority])
        name = getattr(coro, "__qualname__", "task")
        if ticket.closed:
            raise RunnerClosedError(self._slots.owner, f"was shut down before {name} had ended")
        where = "" if began else ", all of them in the queue"
        raise TimeoutError(f"{name} took longer than {timeout:g} s{where}")

    def _enter(self, coro: object, priority: TaskPriority, timeout: float | None) -> tuple[Ticket, TaskPriority]:
        """Check what ``submit`` was given, and queue for a slot; what is refused is closed."""
        try:
            require_coroutine("submit", coro)
            if type(priority) is not TaskPriority:
                priority = _as_priority(priority)
            deadline = math.inf
            if timeout is not None:
                check_seconds("timeout", timeout)
                deadline = anyio.current_time() + timeout
            return self._slots.enter(priority, deadline), priority
        except BaseException:
            close_coroutine(coro)
            raise

    async def shutdown(self, wait: bool = True) -> None:
        """Take no more tasks, and end. Nobody who has submitted is left without an answer.

        With ``wait``, those that run and wait are run to their ends first. Without, they are cancelled, and
        their submitters get a ``RunnerClosedError``; this method then returns at once.

        :raises RuntimeError: if a task of this scheduler wants to wait for its own end
        """
        if wait:
            self._slots.refuse_inside("shutdown(wait=True)")
        self._slots.close(cancel=not wait)
        await anyio.lowlevel.checkpoint()
        if wait:
            await self._slots.emptied()

    def statistics(self) -> SchedulerStatistics:
        """Return what the scheduler is doing right now."""
        return SchedulerStatistics(running=self._slots.running, waiting=self._slots.waiting, **self._counts)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await end_of_block(self._slots, failed=exc is not None)


# How long a block that ends by an error waits for the tasks that it cancels.
_GRACE_SECONDS = 5.0


async def end_of_block(slots: Slots, *, failed: bool) -> None:
    """End the slots as ``async with`` does: run everything to its end, after an error cancel everything."""
    if not failed:
        slots.refuse_inside("leaving `async with`")
        slots.close(cancel=False)
        try:
            await anyio.lowlevel.checkpoint()
            await slots.emptied()
        except BaseException:
            await cancel_all(slots)
            raise
    else:
        await cancel_all(slots)


async def cancel_all(slots: Slots) -> None:
    """Cancel what runs and waits, and wait for its end, even under a cancellation, but not for ever."""
    slots.close(cancel=True)
    with anyio.move_on_after(_GRACE_SECONDS, shield=True) as scope:
        await slots.emptied()
    if scope.cancelled_caught:
        logger.warning(
            "%d tasks of the %s still run %g s after they were cancelled",
            slots.running, slots.owner, _GRACE_SECONDS,
        )  # fmt: skip
