"""The parts of a stream that work ahead: merging, mapping concurrently, batches that do not wait for ever.

Each runs in one background task with a task group of its own inside. The task knows an :class:`_Outlet`, and
not the iteration that reads it, so that an iteration that is forgotten ends the task.
"""

from __future__ import annotations

__all__ = ("ConcurrentMap", "Merge", "TimedBatches")

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import Any

import anyio
import anyio.abc
import attrs

from sentrio.async_core._stream_engine import Source, StreamIterator
from sentrio.async_core.background import BackgroundTask, cancelled_from_outside

# How far each source of a merge may run ahead of the reader: enough to spare most of the task switches.
_AHEAD = 16

#: Begins a pass over a stream that its caller closes.
Opener = Callable[[], StreamIterator[Any]]


@attrs.define(eq=False)
class _Room:
    """Bounds how many items are on their way."""

    limit: int
    used: int = 0
    freed: anyio.Event | None = None

    async def wait(self) -> None:
        while self.used >= self.limit:
            self.freed = anyio.Event()
            await self.freed.wait()

    def leave(self) -> None:
        self.used -= 1
        if self.freed is not None:
            self.freed.set()
            self.freed = None


@attrs.define(eq=False)
class _Slot:
    """An item on its way, or the place that is kept for it."""

    room: _Room
    value: Any = None
    arrived: float | None = None


@attrs.define(eq=False)
class _Outlet:
    """Where a background task leaves items for the iteration that reads them."""

    slots: deque[_Slot] = attrs.field(factory=deque)
    ended: bool = False
    error: BaseException | None = None
    changed: anyio.Event | None = None
    closing: list[BaseException] = attrs.field(factory=list)  #: errors of what was closed because it was left

    def reserve(self, room: _Room, *, ordered: bool) -> _Slot:
        room.used += 1
        slot = _Slot(room)
        if ordered:
            self.slots.append(slot)
        return slot

    def fill(self, slot: _Slot, value: Any, *, ordered: bool) -> None:
        slot.value, slot.arrived = value, anyio.current_time()
        if not ordered:
            self.slots.append(slot)
        self._wake()

    def put(self, room: _Room, value: Any) -> None:
        self.fill(self.reserve(room, ordered=False), value, ordered=False)

    def end(self, error: BaseException | None = None) -> None:
        if not self.ended:
            self.ended, self.error = True, error
            self._wake()

    def fail(self, error: BaseException) -> None:
        """End with an error, or keep it for who closes the task if that is why there is one."""
        if cancelled_from_outside():
            self.closing.append(error)
        else:
            self.end(error)

    def _wake(self) -> None:
        if self.changed is not None:
            self.changed.set()
            self.changed = None

    @property
    def filled(self) -> bool:
        return bool(self.slots) and self.slots[0].arrived is not None

    def take(self) -> _Slot:
        slot = self.slots.popleft()
        slot.room.leave()
        return slot

    async def wait(self, until: float = float("inf")) -> None:
        """Wait for a change, but no longer than to a point in time."""
        changed = self.changed = anyio.Event()
        with anyio.move_on_at(until):
            await changed.wait()

    def finish(self) -> None:
        """Raise what ended the task, if that was an error."""
        error, self.error = self.error, None
        if isinstance(error, StopAsyncIteration):  # it would end the loop as if all were well
            raise RuntimeError("a function of a stream raised StopAsyncIteration") from error  # noqa: TRY004
        if error is not None:
            raise error


def _is_failure(exc: BaseException) -> bool:
    """Tell whether this is an error of what runs, and not the end of a task that is cancelled.

    On asyncio a function may raise CancelledError although nobody cancels it; a task group takes that in silence.
    """
    if isinstance(exc, anyio.get_cancelled_exc_class()):
        return not cancelled_from_outside()
    return isinstance(exc, Exception)


async def _run(body: Callable[[_Outlet], Awaitable[None]], outlet: _Outlet) -> None:
    try:
        await body(outlet)
        if outlet.closing and cancelled_from_outside():
            raise outlet.closing[0]
        outlet.end()
    except BaseException as exc:
        if cancelled_from_outside():
            raise (outlet.closing or [exc])[0]  # noqa: B904  # whoever closes this task gets it, or the log
        if not isinstance(exc, Exception):
            raise
        outlet.end(exc)  # raised where the items are read
    finally:
        # Reached before `end` only if the event loop ends, or the process is interrupted.
        outlet.end(anyio.BrokenResourceError())


class _Ahead:
    """The source of an iteration that a background task works for."""

    items = None

    def __init__(self, name: str, body: Callable[[_Outlet], Awaitable[None]]) -> None:
        self._name = name
        self._body = body
        self._outlet = _Outlet()
        self._task: BackgroundTask[None] | None = None

    def begin(self) -> None:
        self._task = BackgroundTask.start_soon(_run, self._body, self._outlet, name=self._name)

    async def step(self) -> Any:
        outlet = self._outlet
        while not outlet.filled:
            if outlet.ended:
                outlet.finish()
                raise StopAsyncIteration
            await outlet.wait()
        return outlet.take().value

    async def aclose(self) -> None:
        if self._task is not None:
            await self._task.aclose()

    def drop(self) -> None:
        pass  # the task is forgotten together with this object


class Merge:
    """The items of several streams, in the order in which they arrive."""

    def __init__(self, openers: tuple[Opener, ...]) -> None:
        self._openers = openers

    def open(self, *, bare: bool) -> Source:
        return _Ahead("sentrio: merge", self._body)

    async def _body(self, outlet: _Outlet) -> None:
        async def pump(opener: Opener) -> None:
            room = _Room(_AHEAD)
            try:
                async with opener() as items:
                    async for item in items:
                        outlet.put(room, item)
                        await room.wait()
            except BaseException as exc:
                if not _is_failure(exc):
                    raise
                outlet.fail(exc)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for number, opener in enumerate(self._openers):
                tasks.start_soon(pump, opener, name=f"sentrio: merge, source {number}")


class ConcurrentMap:
    """The results of an async function that is called for several items at a time."""

    def __init__(self, opener: Opener, func: Callable[[Any], Any], limit: int, *, ordered: bool) -> None:
        self._opener = opener
        self._func = func
        self._limit = limit
        self._ordered = ordered

    def open(self, *, bare: bool) -> Source:
        return _Ahead("sentrio: map", self._body)

    async def _body(self, outlet: _Outlet) -> None:
        async def work(item: Any, slot: _Slot) -> None:
            try:
                result = self._func(item)
                if isinstance(result, CoroutineType):
                    result = await result
                outlet.fill(slot, result, ordered=self._ordered)
            except BaseException as exc:
                if not _is_failure(exc):
                    raise
                outlet.fail(exc)
                tasks.cancel_scope.cancel()

        room = _Room(self._limit)
        async with self._opener() as items:
            async with anyio.create_task_group() as tasks:
                await self._distribute(items, room, outlet, tasks, work)

    async def _distribute(
        self,
        items: StreamIterator[Any],
        room: _Room,
        outlet: _Outlet,
        tasks: anyio.abc.TaskGroup,
        work: Callable[[Any, _Slot], Coroutine[Any, Any, None]],
    ) -> None:
        while True:
            # Before the item is asked for: what nobody can work on stays with its source.
            await room.wait()
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            except Exception as exc:  # noqa: BLE001  # as above
                if cancelled_from_outside():
                    outlet.fail(exc)  # of closing the source
                    return
                # The items before it are finished first, as they would be without concurrency.
                await self._until_idle(room, outlet)
                outlet.end(exc)
                return
            tasks.start_soon(work, item, outlet.reserve(room, ordered=self._ordered), name="sentrio: map")

    async def _until_idle(self, room: _Room, outlet: _Outlet) -> None:
        while room.used:
            room.freed = anyio.Event()
            await room.freed.wait()


class TimedBatches:
    """Batches that are given out when they are full, or when their first item has waited long enough."""

    def __init__(self, opener: Opener, size: int, timeout: float) -> None:
        self._opener = opener
        self._size = size
        self._timeout = timeout

    def open(self, *, bare: bool) -> Source:
        return _Batching("sentrio: batch", self._body, self._size, self._timeout)

    async def _body(self, outlet: _Outlet) -> None:
        room = _Room(self._size)
        async with self._opener() as items:
            async for item in items:
                outlet.put(room, item)
                await room.wait()


class _Batching(_Ahead):
    def __init__(self, name: str, body: Callable[[_Outlet], Awaitable[None]], size: int, timeout: float) -> None:
        super().__init__(name, body)
        self._size = size
        self._timeout = timeout

    async def step(self) -> list[Any]:
        outlet = self._outlet
        batch: list[Any] = []
        deadline = float("inf")
        while len(batch) < self._size:
            if outlet.filled:
                slot = outlet.take()
                if not batch and slot.arrived is not None:
                    deadline = slot.arrived + self._timeout
                batch.append(slot.value)
            elif outlet.ended:
                if not batch:
                    outlet.finish()
                    raise StopAsyncIteration
                break
            elif anyio.current_time() >= deadline:
                break
            else:
                await outlet.wait(deadline)
        return batch
