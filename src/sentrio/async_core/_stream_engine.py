"""How a stream runs: plain generators for the stages, and one loop that awaits for all of them.

A stage is a generator over its predecessor, which is several times faster than an async generator. What has
to be awaited (such as the result of an async function) a stage leaves in the :class:`Link` as a request and
yields :data:`PAUSE`, which all later stages pass on, up to :class:`StreamIterator`: it awaits the request and
asks again. The items of an async source are awaited before the chain is asked, which spares that detour.
"""

from __future__ import annotations

__all__ = ("PAUSE", "AsyncOrigin", "Link", "Origin", "Stage", "StreamIterator", "SyncOrigin", "origin_of")

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from itertools import islice
from time import perf_counter
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import anyio
import anyio.lowlevel

from sentrio.async_core._checks import close_coroutine
from sentrio.async_core.background import BackgroundTask

T_co = TypeVar("T_co", covariant=True)

#: Yielded by a stage instead of an item: ask again after the link's request has been answered.
PAUSE: Any = type("Pause", (), {"__repr__": lambda self: "PAUSE"})()

_END: Any = object()

# A stream that awaits nothing gives the event loop its turn after this long.
_YIELD_SECONDS = 0.004

# The clock is not read for every item; how many pass between two readings adapts to what they cost.
_GLANCE_SECONDS = 0.001
_MOST_BETWEEN_GLANCES = 256
_AWAITS_BETWEEN_GLANCES = 64

# The finaliser of a source that nobody waits for.
_CLEANUP_SECONDS = 3.0

Chain = Iterator[Any]
Stage = Callable[[Chain, "Link"], Generator[Any, None, None]]


class Link:
    """What the stages of one iteration and its loop tell each other."""

    __slots__ = (
        "answer",
        "close",
        "closer",
        "count",
        "drop",
        "ended",
        "finished",
        "item",
        "request",
        "step",
        "stopped",
        "task",
        "yielded",
    )

    def __init__(self) -> None:
        self.request: Awaitable[Any] | None = None  #: to be awaited; ``None`` asks for a turn of the loop
        self.answer: Any = None
        self.stopped = False  #: the request raised StopAsyncIteration
        self.step: Callable[[], Awaitable[Any]] | None = None  #: asks an async source for an item
        self.item: Any = PAUSE  #: what it answered, until the chain takes it
        self.ended = False  #: it has no more
        self.finished = False  #: no more is wanted of it
        self.yielded = perf_counter()
        self.count = 0
        self.close: Callable[[], Awaitable[object]] | None = None  #: closes an async source
        self.drop: Callable[[], object] | None = None  #: closes a source that is a plain generator
        self.task: BackgroundTask[None] | None = None  #: works ahead for this iteration
        self.closer: BackgroundTask[None] | None = None  #: closes the source if the iteration is forgotten

    def turn_is_due(self) -> bool:
        """Tell, now and then, whether the event loop has waited long enough for its turn."""
        self.count += 1
        if self.count < _AWAITS_BETWEEN_GLANCES:
            return False
        self.count = 0
        return perf_counter() - self.yielded > _YIELD_SECONDS


class Origin(Protocol):
    """Where the items of a stream come from."""

    def feed(self, link: Link, *, bare: bool) -> Chain:
        """Begin to yield items. ``bare`` tells that nobody promises to close the iteration."""
        ...


class SyncOrigin:
    """Any iterable."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._once = iter(source) is source
        self._used = False

    def feed(self, link: Link, *, bare: bool) -> Chain:
        _refuse_second_use(self)
        iterator = iter(self._source)
        if isinstance(iterator, Generator):
            link.drop = iterator.close
        return self._feed(iterator, link)

    @staticmethod
    def _feed(iterator: Iterator[Any], link: Link) -> Chain:
        several = 1
        while True:
            started = perf_counter()
            yield from islice(iterator, several - 1)
            try:
                item = next(iterator)  # `islice` does not tell whether it has reached the end
            except StopIteration:
                return
            yield item
            now = perf_counter()
            if now - started < _GLANCE_SECONDS:
                several = min(2 * several, _MOST_BETWEEN_GLANCES)
            elif now - started > 2 * _GLANCE_SECONDS:
                several = max(several // 4, 1)
            if now - link.yielded > _YIELD_SECONDS:
                yield PAUSE


class AsyncOrigin:
    """Any async iterable."""

    def __init__(self, source: Any) -> None:
        self._source = source
        # Asking an async generator for its iterator is free; asking anything else may have effects.
        self._once = isinstance(source, AsyncIterator)
        self._used = False

    def feed(self, link: Link, *, bare: bool) -> Chain:
        _refuse_second_use(self)
        iterator = aiter(self._source)
        close = getattr(iterator, "aclose", None)
        link.close = close
        link.step = iterator.__anext__
        # Iterations of our own close their sources themselves when they are forgotten.
        guarded = bare and close is not None and not isinstance(iterator, StreamIterator)
        return self._feed(iterator, link, guarded)

    @staticmethod
    def _feed(iterator: Any, link: Link, guarded: bool) -> Chain:
        if guarded:
            link.closer = BackgroundTask.start_soon(_close_when_left, iterator, name="sentrio: close a source")
        while not link.ended:
            item, link.item = link.item, PAUSE
            yield item


def _refuse_second_use(origin: Any) -> None:
    if origin._used and origin._once:
        raise RuntimeError("this stream has been used, and its source can be read only once; make a new one")
    origin._used = True


async def _close_when_left(source: Any) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
            await source.aclose()


def origin_of(source: Any) -> Origin:
    """Return the origin for whatever a stream is made of.

    :raises TypeError: if it can not be iterated over
    """
    own = getattr(source, "_stream_origin_", None)
    if own is not None:
        return cast("Origin", own())
    if hasattr(source, "__aiter__"):
        return AsyncOrigin(source)
    if hasattr(source, "__iter__"):
        return SyncOrigin(source)
    raise TypeError(f"a stream needs an iterable or an async iterable, got {source!r}")


class StreamIterator(Generic[T_co]):
    """One pass over a stream, for ``async for``; ``async with`` closes its sources at once."""

    __slots__ = ("__weakref__", "_busy", "_chain", "_closed", "_link")

    def __init__(self, origin: Origin, stages: tuple[Stage, ...], *, bare: bool) -> None:
        self._closed = True  # until there is something to close
        self._busy = False
        self._link = Link()
        chain = origin.feed(self._link, bare=bare)
        for stage in stages:
            chain = stage(chain, self._link)
        self._chain = chain
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        if self._busy:
            raise RuntimeError("another task is waiting for the next item of this iteration")
        self._busy = True
        try:
            item = await self._next()
        except GeneratorExit:
            raise  # whoever closes this coroutine does not let it await
        except BaseException:
            self._busy = False
            await self.aclose()
            raise
        self._busy = False
        if item is _END:
            await self.aclose()
            raise StopAsyncIteration
        return item  # type: ignore[no-any-return]

    async def drain(self, take: Callable[[T_co], object]) -> None:
        """Call ``take`` with every item."""
        if self._link.step is not None:
            while (item := await self._next()) is not _END:
                take(item)
            return
        while True:
            for item in self._chain:
                if item is PAUSE:
                    break
                take(item)
            else:
                return
            await self._pause()

    async def _next(self) -> Any:
        link, chain, end = self._link, self._chain, _END
        step = link.step
        if step is not None and not link.ended and not link.finished:
            left = 1 if link.turn_is_due() else _AWAITS_BETWEEN_GLANCES
            # One item in gives at most one out: the chain is not asked again before the next one is in.
            while True:
                left -= 1
                if not left:
                    left = _AWAITS_BETWEEN_GLANCES
                    if perf_counter() - link.yielded > _YIELD_SECONDS:
                        await self._pause()
                try:
                    link.item = await step()
                except StopAsyncIteration:
                    link.ended = True
                    break
                item = next(chain, end)
                while item is PAUSE and link.request is not None:
                    await self._pause()
                    item = next(chain, end)
                if item is not PAUSE:
                    return item
        for item in chain:
            if item is not PAUSE:
                return item
            await self._pause()
        return _END

    async def _pause(self) -> None:
        """Do what the chain has asked for: await its request, or give the event loop a turn."""
        link = self._link
        request, link.request = link.request, None
        link.stopped = False
        try:
            # Before the request: a cancellation here loses no item that has been answered.
            if request is None or link.turn_is_due():
                await anyio.lowlevel.checkpoint()
                link.yielded = perf_counter()
            if request is not None:
                pending, request = request, None
                try:
                    link.answer = await pending
                except StopAsyncIteration:
                    link.stopped = True
        finally:
            close_coroutine(request)  # one that was not begun

    async def aclose(self) -> None:
        """Close the sources, and wait until whatever worked ahead has ended. Closing again does nothing.

        :raises RuntimeError: if another task is waiting for the next item
        """
        if self._closed:
            return
        if self._busy:
            raise RuntimeError("another task is waiting for the next item of this iteration")
        self._closed = True
        link, self._link = self._link, Link()
        chain, self._chain = self._chain, iter(())
        chain.close()  # type: ignore[attr-defined]  # every chain is a generator
        del chain
        try:
            if link.drop is not None:
                link.drop()
            if link.close is not None:
                await link.close()
        finally:
            for task in (link.task, link.closer):
                if task is not None:
                    await task.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A bare `async for` that was left early. Tasks end and async sources are closed by the background
        # tasks that are forgotten together with this object.
        if not self._closed and self._link.drop is not None:
            self._link.drop()
