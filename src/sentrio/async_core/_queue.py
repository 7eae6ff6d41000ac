"""A queue between tasks that can be closed."""

from __future__ import annotations

__all__ = ("AsyncQueue", "QueueStatistics")

from collections import deque
from collections.abc import Awaitable, Callable, Generator
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio
import anyio.lowlevel
import attrs

from sentrio.async_core._checks import check_count
from sentrio.async_core._stream_engine import Source, StreamIterator
from sentrio.errors import QueueClosedError

if TYPE_CHECKING:
    from sentrio.async_core.streams import AsyncStream

T = TypeVar("T")

# A task that finds the queue ready again and again gives the event loop its turn after this long; the clock
# is read every so many calls.
_YIELD_SECONDS = 0.004
_CLOCK_EVERY = 64


@attrs.frozen
class QueueStatistics:
    """The state of a queue."""

    size: int  #: items that wait to be got
    maxsize: int  #: as it was given; 0 is unbounded
    waiting_get: int  #: tasks that wait for an item
    waiting_put: int  #: tasks that wait for room
    closed: bool


class _Waiter:
    """A task that waits, and the item that it gets or puts."""

    __slots__ = ("done", "event", "item")

    def __init__(self, item: Any = None) -> None:
        self.event = anyio.Event()
        self.item = item
        self.done = False  #: the item has changed hands

    def finish(self) -> None:
        self.done = True
        self.event.set()


class _Closed:
    """What ``close()`` returns, so that it may be awaited or not."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return anyio.lowlevel.checkpoint().__await__()


class _Taking:
    """The source of a loop over a queue."""

    items = None

    def __init__(self, step: Callable[[], Awaitable[Any]]) -> None:
        self.step = step

    def begin(self) -> None:
        pass

    async def aclose(self) -> None:
        pass  # leaving a loop leaves the queue as it is

    def drop(self) -> None:
        pass


class AsyncQueue(Generic[T]):
    """A first-in, first-out queue between tasks of one event loop, with a bound and an end.

    Who waits longest is served first. :meth:`close` says that nothing more will come: what is in the queue
    can still be got, then everybody who waits or asks gets :class:`sentrio.errors.QueueClosedError`, and
    loops over the queue end. As an async context manager it is closed at the end of the block.

    :param maxsize: how many items it holds before ``put`` waits; 0 is unbounded
    :raises ValueError: if ``maxsize`` is negative
    """

    def __init__(self, maxsize: int = 0) -> None:
        check_count("maxsize", maxsize, minimum=0)
        self._maxsize = maxsize
        self._limit: float = maxsize or float("inf")
        self._items: deque[T] = deque()
        self._getters: deque[_Waiter] = deque()  # never any while there are items
        self._putters: deque[_Waiter] = deque()  # never any while there is room
        self._closed = False
        self._calls = 0
        self._yielded = 0.0

    @property
    def maxsize(self) -> int:
        """How many items it holds; 0 is unbounded."""
        return self._maxsize

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    async def put(self, item: T) -> None:
        """Add an item, after waiting for room.

        If the caller is cancelled, the item has not been added, except where room was found at the same time.

        :raises sentrio.errors.QueueClosedError: if the queue is closed, also while waiting
        """
        self._calls += 1
        if self._calls >= _CLOCK_EVERY:
            await self._turn()
        if self._closed or self._getters or len(self._items) >= self._limit:
            await self._put_slowly(item)
        else:
            self._items.append(item)

    async def get(self) -> T:
        """Remove and return the first item, after waiting for one. If the caller is cancelled, none is lost.

        :raises sentrio.errors.QueueClosedError: if the queue is closed and empty, also while waiting
        """
        self._calls += 1
        if self._calls >= _CLOCK_EVERY:
            await self._turn()
        if self._items:
            item = self._items.popleft()
            if self._putters:
                self._admit()
            return item
        return await self._get_slowly()

    def put_nowait(self, item: T) -> None:
        """Add an item if there is room.

        :raises anyio.WouldBlock: if there is none
        :raises sentrio.errors.QueueClosedError: if the queue is closed
        """
        if self._closed:
            raise QueueClosedError("put")
        if self._getters:
            getter = self._getters.popleft()
            getter.item = item
            getter.finish()
        elif len(self._items) < self._limit:
            self._items.append(item)
        else:
            raise anyio.WouldBlock

    def get_nowait(self) -> T:
        """Remove and return the first item if there is one.

        :raises anyio.WouldBlock: if there is none yet
        :raises sentrio.errors.QueueClosedError: if the queue is closed and empty
        """
        if not self._items:
            if self._closed:
                raise QueueClosedError("get")
            raise anyio.WouldBlock
        item = self._items.popleft()
        self._admit()
        return item

    def qsize(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def empty(self) -> bool:
        """Tell whether there is no item."""
        return not self._items

    def full(self) -> bool:
        """Tell whether there is no room."""
        return len(self._items) >= self._limit

    def statistics(self) -> QueueStatistics:
        """Return the state of the queue."""
        return QueueStatistics(len(self._items), self._maxsize, len(self._getters), len(self._putters), self._closed)

    def close(self) -> _Closed:
        """Say that nothing more will come, and wake everybody who waits; it takes effect at once.

        The result may be awaited or ignored. Closing again does nothing.
        """
        if not self._closed:
            self._closed = True
            # Nobody has been served: the waiters find out by themselves that the queue is closed.
            for waiter in (*self._getters, *self._putters):
                waiter.event.set()
            self._getters.clear()
            self._putters.clear()
        return _Closed()

    def stream(self) -> AsyncStream[T]:
        """Return a stream of the items, as they come, that ends when the queue is closed and empty.

        Leaving the stream leaves the queue as it is. Several streams share the items.
        """
        from sentrio.async_core.streams import AsyncStream  # it imports this module

        return AsyncStream(self)

    def __aiter__(self) -> StreamIterator[T]:
        return StreamIterator[T](self, (), bare=True).measured()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def open(self, *, bare: bool) -> Source:
        """Begin an iteration; see ``Origin``."""
        return _Taking(self._next_or_end)

    def _stream_origin_(self) -> Self:
        return self

    async def _turn(self) -> None:
        self._calls = 0
        if perf_counter() - self._yielded > _YIELD_SECONDS:
            await anyio.lowlevel.checkpoint()
            self._yielded = perf_counter()

    async def _put_slowly(self, item: T) -> None:
        if self._closed or self._getters:
            self.put_nowait(item)
            return
        waiter = _Waiter(item)
        self._putters.append(waiter)
        try:
            await waiter.event.wait()
        except BaseException:
            if not waiter.done and waiter in self._putters:
                self._putters.remove(waiter)
            raise
        if not waiter.done:
            raise QueueClosedError("put")

    async def _get_slowly(self) -> T:
        if self._closed:
            raise QueueClosedError("get")
        waiter = _Waiter()
        self._getters.append(waiter)
        try:
            await waiter.event.wait()
        except BaseException:
            if waiter.done:
                self._give_back(waiter.item)
            elif waiter in self._getters:
                self._getters.remove(waiter)
            raise
        if not waiter.done:
            raise QueueClosedError("get")
        return waiter.item  # type: ignore[no-any-return]

    async def _next_or_end(self) -> T:
        try:
            if not self._items:
                return await self._get_slowly()
        except QueueClosedError:
            raise StopAsyncIteration from None
        item = self._items.popleft()
        if self._putters:
            self._admit()
        return item

    def _give_back(self, item: T) -> None:
        """Put an item that its getter can not take any more where it was: before all others."""
        if self._getters:
            getter = self._getters.popleft()
            getter.item = item
            getter.finish()
        else:
            self._items.appendleft(item)

    def _admit(self) -> None:
        while self._putters and len(self._items) < self._limit:
            putter = self._putters.popleft()
            self._items.append(putter.item)
            putter.finish()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<AsyncQueue {state}, {len(self._items)} of {self._maxsize or 'unbounded'}>"
