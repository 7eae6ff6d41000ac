"""How a stream runs: one loop that takes an item at a time through all stages, and awaits for all of them.

A stage is an :class:`Op`: a plain call for each item. One loop for all of them, in one coroutine, is what makes a
chain cost less than async generators that are put one into another, and lets any function be async.
"""

from __future__ import annotations

__all__ = (
    "SKIP",
    "AsyncOrigin",
    "Link",
    "Op",
    "Origin",
    "Source",
    "Stage",
    "StreamIterator",
    "SyncOrigin",
    "origin_of",
)

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from time import perf_counter
from types import CoroutineType, TracebackType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar, cast

import anyio
import anyio.lowlevel

from sentrio.async_core.background import BackgroundTask

T_co = TypeVar("T_co", covariant=True)

#: What a folding :class:`Op` returns for an item that it keeps to itself.
SKIP: Any = type("Skip", (), {"__repr__": lambda self: "SKIP"})()

_END: Any = object()

# A stream that awaits nothing gives the event loop its turn after this long.
_YIELD_SECONDS = 0.004

# The clock is not read for every item; how many pass between two readings adapts to what they cost.
_GLANCE_SECONDS = 0.001
_MOST_BETWEEN_GLANCES = 256

# The finaliser of a source that nobody waits for.
_CLEANUP_SECONDS = 3.0


class Op(NamedTuple):
    """What a stage does with one item, in one iteration."""

    #: ``False``: ``call(item)`` is the next item; ``True``: it tells whether ``item`` stays; a coroutine is
    #: awaited. ``None``: ``call(item)`` is the next item or :data:`SKIP`, and never a coroutine.
    keeps: bool | None
    call: Callable[[Any], Any]
    flush: Callable[[], Any] | None = None  #: gives, at the end, what is left, or :data:`SKIP`


class Link:
    """What the stages of one iteration tell its loop."""

    __slots__ = ("ended", "first")

    def __init__(self) -> None:
        self.ended = False  #: the source has no more, or no more is wanted of it
        self.first = 0  #: the first stage that is still worth asking what is left

    def finish(self, index: int) -> None:
        """Tell that stage ``index`` has had enough."""
        self.ended = True
        self.first = max(self.first, index + 1)


#: Begins one iteration of a stage, given its link and its place in the chain.
Stage = Callable[[Link, int], Op]


class Source(Protocol):
    """Where the items of one iteration come from: ``items`` if that is an iterator, else ``step``."""

    @property
    def items(self) -> Iterator[Any] | None: ...

    @property
    def step(self) -> Callable[[], Awaitable[Any]]:
        """Return the next item, or raise ``StopAsyncIteration``."""
        ...

    def begin(self) -> None:
        """Called once, in the event loop, before the first item is asked for."""
        ...

    async def aclose(self) -> None:
        """Close it, and wait until whatever worked ahead has ended."""
        ...

    def drop(self) -> None:
        """Do what can be done at once, because the iteration was forgotten."""
        ...


class Origin(Protocol):
    """Where the items of a stream come from."""

    def open(self, *, bare: bool) -> Source:
        """Begin an iteration. ``bare`` tells that nobody promises to close it."""
        ...


class SyncOrigin:
    """Any iterable."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._once = iter(source) is source
        self._used = False

    def open(self, *, bare: bool) -> Source:
        _refuse_second_use(self)
        return _SyncSource(iter(self._source))


class _SyncSource:
    def __init__(self, items: Iterator[Any]) -> None:
        self.items = items

    async def step(self) -> Any:
        raise StopAsyncIteration

    def begin(self) -> None:
        pass

    async def aclose(self) -> None:
        self.drop()

    def drop(self) -> None:
        # Generators only: a file, say, is its own iterator, and may be wanted for more.
        if isinstance(self.items, Generator):
            self.items.close()


class AsyncOrigin:
    """Any async iterable."""

    def __init__(self, source: Any) -> None:
        self._source = source
        # Asking an async generator for its iterator is free; asking anything else may have effects.
        self._once = isinstance(source, AsyncIterator)
        self._used = False

    def open(self, *, bare: bool) -> Source:
        _refuse_second_use(self)
        return _AsyncSource(aiter(self._source), bare=bare)


class _AsyncSource:
    items = None

    def __init__(self, iterator: Any, *, bare: bool) -> None:
        self.step = iterator.__anext__
        self._iterator = iterator
        # Iterations of our own close their sources themselves when they are forgotten.
        self._guarded = bare and hasattr(iterator, "aclose") and not isinstance(iterator, StreamIterator)
        self._closer: BackgroundTask[None] | None = None

    def begin(self) -> None:
        if self._guarded:
            self._closer = BackgroundTask.start_soon(_close_when_left, self._iterator, name="sentrio: close a source")

    async def aclose(self) -> None:
        try:
            if hasattr(self._iterator, "aclose"):
                await self._iterator.aclose()
        finally:
            if self._closer is not None:
                await self._closer.aclose()

    def drop(self) -> None:
        pass  # the closer is forgotten together with this object


def _refuse_second_use(origin: Any) -> None:
    if origin._used and origin._once:
        raise RuntimeError("this stream has been used, and its source can be read only once; make a new one")
    origin._used = True


def _refuse_early_end(exc: BaseException) -> None:
    if isinstance(exc, StopAsyncIteration):
        raise RuntimeError("a function of a stream raised StopAsyncIteration") from exc  # noqa: TRY004


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

    __slots__ = (
        "__weakref__",
        "_begun",
        "_busy",
        "_closed",
        "_flushes",
        "_glanced",
        "_left",
        "_link",
        "_ops",
        "_several",
        "_source",
        "_yielded",
    )

    def __init__(self, origin: Origin, stages: tuple[Stage, ...], *, bare: bool) -> None:
        self._closed = True  # until there is something to close
        self._busy = self._begun = False
        self._link = Link()
        begun = [stage(self._link, index) for index, stage in enumerate(stages)]
        self._ops = [(op.keeps, op.call) for op in begun]
        self._flushes = [op.flush for op in begun]
        self._left = self._several = 1  # items until the next glance at the clock
        self._glanced = self._yielded = perf_counter()
        self._source = origin.open(bare=bare)
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    # Not `async def`: a coroutine around a coroutine would cost every item as much as a stage.
    def __anext__(self) -> Coroutine[Any, Any, T_co]:
        return self._run(None)

    async def drain(self, take: Callable[[T_co], object]) -> None:
        """Call ``take`` with every item."""
        await self._run(take)

    async def _run(self, take: Callable[[Any], object] | None) -> Any:  # noqa: C901
        """Return the next item, or give all items to ``take``.

        One loop, because every item pays for whatever is called from here.
        """
        if self._busy:
            raise RuntimeError("another task is waiting for the next item of this iteration")
        self._busy = True
        link, left, every_op = self._link, self._left, self._ops
        items, step = self._source.items, self._source.step
        coroutine, skip, end = CoroutineType, SKIP, _END  # local names are quicker
        try:
            while True:
                ops = every_op
                if link.ended:
                    item, ops = self._left_over()
                    if item is end:
                        break
                else:
                    left -= 1
                    if not left:
                        # Before an item is asked for: a cancellation here loses none.
                        await self._glance()
                        left = self._several
                    if items is not None:
                        item = next(items, end)
                        if item is end:
                            link.ended = True
                            continue
                    else:
                        try:
                            item = await step()
                        except StopAsyncIteration:
                            link.ended = True
                            continue
                for keeps, call in ops:
                    result = call(item)
                    if keeps is None:
                        if result is skip:
                            break
                        item = result
                        continue
                    if result.__class__ is coroutine:
                        result = await result
                    if not keeps:
                        item = result
                    elif not result:
                        break
                else:
                    if take is None:
                        self._left, self._busy = left, False
                        return item
                    take(item)
        except GeneratorExit:
            raise  # whoever closes this coroutine does not let it await
        except BaseException as exc:
            self._busy = False
            await self.aclose()
            _refuse_early_end(exc)
            raise
        self._busy = False
        await self.aclose()
        if take is None:
            raise StopAsyncIteration
        return None

    def _left_over(self) -> tuple[Any, list[tuple[bool | None, Callable[[Any], Any]]]]:
        """Return what the next stage has kept to itself, and the stages after it; at the end, the end."""
        link = self._link
        while link.first < len(self._ops):
            flush = self._flushes[link.first]
            link.first += 1
            if flush is not None and (item := flush()) is not SKIP:
                return item, self._ops[link.first :]
        return _END, []

    async def _glance(self) -> None:
        """Look at the clock, and give the event loop its turn if it has waited for long enough."""
        if not self._begun:
            self._begun = True
            self._source.begin()
        now = perf_counter()
        taken = now - self._glanced
        if taken < _GLANCE_SECONDS:
            self._several = min(2 * self._several, _MOST_BETWEEN_GLANCES)
        elif taken > 2 * _GLANCE_SECONDS:
            self._several = max(self._several // 4, 1)
        if now - self._yielded > _YIELD_SECONDS:
            await anyio.lowlevel.checkpoint()
            now = self._yielded = perf_counter()
        self._glanced = now

    async def aclose(self) -> None:
        """Close the sources, and wait until whatever worked ahead has ended. Closing again does nothing.

        :raises RuntimeError: if another task is waiting for the next item
        """
        if self._closed:
            return
        if self._busy:
            raise RuntimeError("another task is waiting for the next item of this iteration")
        self._closed = True
        # Whoever asks once more is at the end.
        self._link.finish(len(self._ops))
        await self._source.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A bare `async for` that was left early. Tasks end and async sources are closed by the background
        # tasks that are forgotten together with this object.
        if not self._closed:
            self._source.drop()
