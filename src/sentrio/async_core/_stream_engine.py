"""How a stream runs: one loop that takes an item at a time through all stages, and awaits for all of them.

A stage is an :class:`Op`: a plain call for each item. One loop for all of them, in one coroutine, is what makes a
chain cost less than async generators that are put one into another, and lets any function be async.
"""

from __future__ import annotations

__all__ = (
    "SKIP",
    "Link",
    "Meter",
    "Op",
    "Origin",
    "Source",
    "Stage",
    "StreamIterator",
)

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from time import perf_counter
from types import CoroutineType, TracebackType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import anyio
import anyio.lowlevel

from sentrio.async_core.telemetry import Span, is_active, metric_counter, span

T_co = TypeVar("T_co", covariant=True)

#: What a folding :class:`Op` returns for an item that it keeps to itself.
SKIP: Any = type("Skip", (), {"__repr__": lambda self: "SKIP"})()

_END: Any = object()

# A stream that awaits nothing gives the event loop its turn after this long.
_YIELD_SECONDS = 0.004

# The clock is not read for every item; how many pass between two readings adapts to what they cost.
_GLANCE_SECONDS = 0.001
_MOST_BETWEEN_GLANCES = 256

_items_out = metric_counter("sentrio.stream.items")
_passes = metric_counter("sentrio.stream.passes")


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


class Meter:
    """Counts what comes out of one iteration, for telemetry."""

    __slots__ = ("_ended", "_items", "_own", "_span")

    def __init__(self, around: Span | None) -> None:
        self._own = around is None
        self._span = span("sentrio.stream").start() if around is None else around
        self._items = 0
        self._ended = False

    def count(self, item: Any) -> Any:
        """Count an item that is given out."""
        self._items += 1
        return item

    def end(self, kind: type[BaseException] | None = None, *, left: bool = False) -> None:
        """Report, the first time that it is called.

        :param kind: the type of the exception that ended the iteration
        :param left: whether it was left before its end
        """
        if self._ended:
            return
        self._ended = True
        outcome = "left" if left else "finished"
        if kind is not None:
            outcome = "failed" if issubclass(kind, Exception) else "cancelled"
        self._span.set_attribute("sentrio.stream.items", self._items)
        self._span.set_attribute("sentrio.stream.outcome", outcome)
        if self._own:
            self._span.end(kind)
        _items_out(self._items)
        _passes(1, outcome=outcome)


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


class StreamIterator(Generic[T_co]):
    """One pass over a stream, for ``async for``; ``async with`` closes its sources at once."""

    # Passes inside of other passes are not measured; those that a user sees are given a meter by `measured`.
    __slots__ = (
        "__weakref__",
        "_begun",
        "_busy",
        "_closed",
        "_flushes",
        "_glanced",
        "_left",
        "_link",
        "_meter",
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
        self._meter: Meter | None = None
        self._left = self._several = 1  # items until the next glance at the clock
        self._glanced = self._yielded = perf_counter()
        self._source = origin.open(bare=bare)
        self._closed = False

    def measured(self, around: Span | None = None) -> Self:
        """Report this iteration to telemetry, if anybody listens.

        :param around: a span that lasts as long as the iteration; ``None`` makes one
        """
        if is_active():
            self._meter = Meter(around)
            self._ops.append((None, self._meter.count))
            self._flushes.append(None)
        return self

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
        except BaseException as exc:
            if not isinstance(exc, GeneratorExit):  # whoever closes this coroutine does not let it await
                await self._fail(exc)
            raise
        await self._finish()
        if take is None:
            raise StopAsyncIteration
        return None

    async def _finish(self) -> None:
        self._busy = False
        self._report()
        await self.aclose()

    async def _fail(self, exc: BaseException) -> None:
        self._busy = False
        self._report(type(exc))
        await self.aclose()
        if isinstance(exc, StopAsyncIteration):  # it would end the loop as if all were well
            raise RuntimeError("a function of a stream raised StopAsyncIteration") from exc  # noqa: TRY004

    def _report(self, kind: type[BaseException] | None = None, *, left: bool = False) -> None:
        if self._meter is not None:
            self._meter.end(kind, left=left)

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
        self._report(left=True)
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
            self._report(left=True)
            self._source.drop()
