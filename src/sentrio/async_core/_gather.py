"""Many coroutines, a few tasks: how ``AsyncRunner.gather`` works."""

from __future__ import annotations

__all__ = ("Gathering", "Turns")

import contextvars
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import anyio
import anyio.lowlevel

from sentrio.async_core._checks import close_coroutine, has_begun, require_coroutine
from sentrio.async_core._isolated import isolated
from sentrio.async_core._slots import Slots, Ticket, innermost
from sentrio.async_core.background import cancelled_from_outside
from sentrio.async_core.scheduler import TaskPriority
from sentrio.async_core.telemetry import span
from sentrio.errors import RunnerClosedError

# Coroutines that never wait must not hold the event loop for longer than this.
_HOLD_SECONDS = 0.005


class Turns:
    """Tells a worker that holds a slot for many pieces of work when to let others have a turn."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._since = time.perf_counter()

    def over(self) -> bool:
        """Whether somebody else waits for a slot, or the event loop for the control."""
        if self._slots.waiting:
            return True
        now = time.perf_counter()
        if now - self._since < _HOLD_SECONDS:
            return False
        self._since = now
        return True


def _close_all(coros: Iterable[Coroutine[Any, Any, Any]]) -> None:
    for coro in coros:
        close_coroutine(coro)  # does nothing to those that have run


class Gathering:
    """One call of ``gather``."""

    def __init__(self, slots: Slots, return_exceptions: bool) -> None:
        self._slots = slots
        self._return_exceptions = return_exceptions
        self._waiting: deque[tuple[int, Coroutine[Any, Any, Any]]] = deque()
        self._results: list[Any] = []
        self._error: BaseException | None = None
        self._stop: Callable[[], None] = lambda: None

    async def run(self, coros: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
        """Run them all and return their results."""
        given: list[Coroutine[Any, Any, Any]] = []
        try:
            if isinstance(coros, Coroutine):
                given.append(coros)
                raise TypeError("gather needs several coroutine objects; put the one that you have into a list")
            given.extend(coros)  # what an iterable has made before it raises stays in the list
            for coro in given:
                require_coroutine("gather", coro)
                if has_begun(coro):
                    raise RuntimeError(f"gather got a coroutine that was awaited already: {coro!r}")
            if len(set(map(id, given))) < len(given):
                raise RuntimeError("gather got the same coroutine object twice; call the function for each")
            self._slots.begin_call()
        except BaseException:
            _close_all(given)
            raise
        try:
            self._waiting.extend(enumerate(given))
            self._results = [None] * len(given)
            with span("sentrio.runner.gather", tasks=len(given)):
                async with anyio.create_task_group() as tg:
                    self._stop = tg.cancel_scope.cancel
                    for number in range(min(len(given), self._slots.total)):
                        tg.start_soon(self._work, name=f"sentrio: gather {number}")
                self._raise_error()
        finally:
            self._slots.end_call()
            _close_all(given)
        return self._results

    def _raise_error(self) -> None:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # the traceback refers to this frame, and so to us

    async def _work(self) -> None:
        while self._waiting:
            try:
                ticket = self._slots.enter(TaskPriority.NORMAL, in_call=True)
            except RunnerClosedError as exc:
                self._fail(exc)
                return
            try:
                with ticket.scope:
                    if ticket.event is None:
                        await anyio.lowlevel.checkpoint()
                    else:
                        await ticket.event.wait()
                    await self._turn(ticket)
            finally:
                ticket.leave()
            if ticket.closed:
                self._fail(RunnerClosedError(self._slots.owner, "was shut down before gather() had ended"))
                return

    async def _turn(self, ticket: Ticket) -> None:
        turns = Turns(self._slots)
        while self._waiting:
            index, coro = self._waiting.popleft()
            context = contextvars.copy_context()
            context.run(innermost.set, ticket)
            try:
                self._results[index] = await isolated(coro, context)
            except Exception as exc:  # noqa: BLE001  # an outcome, which the caller gets
                self._outcome(index, exc)
            except BaseException as exc:
                # On asyncio a coroutine may raise CancelledError although nobody cancels it.
                if not isinstance(exc, anyio.get_cancelled_exc_class()) or cancelled_from_outside():
                    raise
                self._outcome(index, exc)
            if turns.over():
                return

    def _outcome(self, index: int, exc: BaseException) -> None:
        if self._return_exceptions:
            self._results[index] = exc
        else:
            self._fail(exc)

    def _fail(self, exc: BaseException) -> None:
        if self._error is None:
            self._error = exc
            self._waiting.clear()
            self._stop()
        elif not isinstance(exc, RunnerClosedError):
            self._error.add_note(f"while it was cancelled, another task raised {type(exc).__name__}")
