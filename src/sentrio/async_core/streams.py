"""Streams: lazy chains of stages over iterables, sync and async, and queues between tasks.

A stream takes one item at a time through all its stages, so that nothing is read that nobody wants. Where it
works ahead (``merge``, ``map`` with ``max_concurrency``, ``batch`` with ``timeout``) it does so by a bounded
number of items.

A bare ``async for`` may be left at any time. What was open is then closed as soon as the iteration is
forgotten, in the background. ``async with stream as items`` closes it at the end of the block, in the task
that entered it: choose it where the order of clean-up matters, and for sources that hold a cancel scope or a
task group.
"""

from __future__ import annotations

__all__ = (
    "AsyncPipeline",
    "AsyncQueue",
    "AsyncStream",
    "QueueStatistics",
    "StreamIterator",
    "async_batch",
    "async_filter",
    "async_map",
    "async_merge",
    "async_window",
)

import itertools
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from functools import partial
from types import CoroutineType, TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from sentrio.async_core import _stream_stages as stages
from sentrio.async_core._checks import check_count, check_seconds
from sentrio.async_core._queue import AsyncQueue, QueueStatistics
from sentrio.async_core._stream_engine import Origin, Stage, StreamIterator
from sentrio.async_core._stream_sources import origin_of
from sentrio.async_core._stream_tasks import ConcurrentMap, Merge, TimedBatches
from sentrio.async_core.telemetry import span

T = TypeVar("T")
U = TypeVar("U")

Source = Iterable[T] | AsyncIterable[T]


class AsyncStream(Generic[T]):
    """A lazy chain of stages over an iterable or async iterable.

    ::

        stream = AsyncStream(range(10)).map(fetch, max_concurrency=4).filter(is_good).batch(100)
        async for batch in stream:
            ...

    Nothing happens before it is iterated. Each method returns a new stream. A stream over a list may be
    iterated again, one over an iterator or generator only once. The event loop gets its turn every few
    milliseconds, although nothing awaits.

    :param source: what to read
    :raises TypeError: if it can not be iterated over
    """

    def __init__(self, source: Source[T]) -> None:
        self._stages: tuple[Stage, ...] = ()
        self._entered: list[StreamIterator[T]] = []
        if isinstance(source, AsyncStream):
            self._origin: Origin = source._origin
            self._stages = source._stages
        else:
            self._origin = origin_of(source)

    @overload
    def map(
        self, func: Callable[[T], Coroutine[Any, Any, U]], *, max_concurrency: int = 1, ordered: bool = True
    ) -> AsyncStream[U]: ...
    @overload
    def map(self, func: Callable[[T], U], *, max_concurrency: int = 1, ordered: bool = True) -> AsyncStream[U]: ...
    def map(self, func: Callable[[T], Any], *, max_concurrency: int = 1, ordered: bool = True) -> AsyncStream[Any]:
        """Replace every item by ``func(item)``; a coroutine that it returns is awaited.

        With ``max_concurrency`` that many items are in work, or done and waiting for the reader, at a time.
        The first error cancels the others; what was finished before is still given out.

        :param max_concurrency: how many calls run at once; more than 1 is of use for async functions
        :param ordered: give the results out in the order of the items; if false, as they are done
        :raises ValueError: if ``max_concurrency`` is less than 1
        """
        check_count("max_concurrency", max_concurrency)
        _check_callable("func", func)
        if max_concurrency == 1:
            return self._with(stages.mapping(func))
        return self._from(ConcurrentMap(self._opener(), func, max_concurrency, ordered=ordered))

    def filter(self, predicate: Callable[[T], object]) -> AsyncStream[T]:
        """Keep the items for which ``predicate(item)`` is true; a coroutine that it returns is awaited."""
        _check_callable("predicate", predicate)
        return self._with(stages.filtering(predicate))

    def batch(self, size: int, timeout: float | None = None) -> AsyncStream[list[T]]:
        """Gather ``size`` items at a time into lists; the last one may be shorter.

        :param size: items in a batch
        :param timeout: seconds after which a batch is given out as it is, counted from the arrival of its
            first item; ``None`` waits until it is full. With a timeout up to ``size`` items are read ahead.
        :raises ValueError: if ``size`` is less than 1, or ``timeout`` negative
        """
        check_count("size", size)
        check_seconds("timeout", timeout)
        if timeout is None:
            return self._with(stages.batches(size))
        return self._from(TimedBatches(self._opener(), size, timeout))

    def window(self, size: int, step: int = 1) -> AsyncStream[list[T]]:
        """Give out lists of ``size`` neighbours, each beginning ``step`` items after the one before.

        Only whole windows are given out.

        :raises ValueError: if ``size`` or ``step`` is less than 1
        """
        check_count("size", size)
        check_count("step", step)
        return self._with(stages.windows(size, step))

    def take(self, count: int) -> AsyncStream[T]:
        """End after ``count`` items.

        :raises ValueError: if ``count`` is negative
        """
        check_count("count", count, minimum=0)
        return self._with(stages.taking(count))

    def skip(self, count: int) -> AsyncStream[T]:
        """Leave out the first ``count`` items.

        :raises ValueError: if ``count`` is negative
        """
        check_count("count", count, minimum=0)
        return self._with(stages.skipping(count))

    def merge(self, *others: Source[T]) -> AsyncStream[T]:
        """Give out the items of this stream and the others as they arrive; see :func:`async_merge`."""
        return async_merge(self, *others)

    async def collect(self) -> list[T]:
        """Return all items as a list."""
        items: list[T] = []
        await self._consume(items.append)
        return items

    async def count(self) -> int:
        """Return the number of items."""
        counter = itertools.count()
        await self._consume(lambda _: next(counter))
        return next(counter)

    async def for_each(self, func: Callable[[T], object]) -> None:
        """Call ``func`` with every item, one after another; a coroutine that it returns is awaited."""
        await self.map(func)._consume(lambda _: None)

    @overload
    async def reduce(self, func: Callable[[U, T], Coroutine[Any, Any, U]], initial: U) -> U: ...
    @overload
    async def reduce(self, func: Callable[[U, T], U], initial: U) -> U: ...
    async def reduce(self, func: Callable[[Any, T], Any], initial: Any) -> Any:
        """Return ``func(... func(func(initial, first), second) ..., last)``; coroutines are awaited."""
        _check_callable("func", func)
        value = initial

        def step(item: T) -> Any:
            nonlocal value
            result: Any = func(value, item)
            if isinstance(result, CoroutineType):
                return keep(result)
            value = result
            return None

        async def keep(result: Awaitable[Any]) -> None:
            nonlocal value
            value = await result

        await self.map(step)._consume(lambda _: None)
        return value

    def __aiter__(self) -> StreamIterator[T]:
        return self._open(bare=True).measured()

    async def __aenter__(self) -> StreamIterator[T]:
        self._entered.append(self._open(bare=False).measured())
        return self._entered[-1]

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._entered.pop().aclose()

    def _open(self, *, bare: bool) -> StreamIterator[T]:
        return StreamIterator(self._origin, self._stages, bare=bare)

    def _opener(self) -> Callable[[], StreamIterator[T]]:
        return partial(self._open, bare=False)

    async def _consume(self, take: Callable[[T], object]) -> None:
        with span("sentrio.stream") as current:
            async with self._open(bare=False).measured(current) as items:
                await items.drain(take)

    def _with(self, stage: Stage) -> AsyncStream[Any]:
        stream = self._from(self._origin)
        stream._stages = (*self._stages, stage)
        return stream

    @staticmethod
    def _from(origin: Origin) -> AsyncStream[Any]:
        stream: AsyncStream[Any] = AsyncStream(())
        stream._origin = origin
        return stream


PipelineStage = Callable[[AsyncStream[Any]], AsyncIterable[Any] | Iterable[Any]]


class AsyncPipeline:
    """A chain of stages that is put together once and used for many sources.

    ::

        pipeline = AsyncPipeline().add_stage(async_map(clean)).add_stage(async_batch(100))
        results = await pipeline.process(rows)

    :param stages: functions that take a stream and return an async iterable: :func:`async_map` and its
        like, or an async generator function of your own
    """

    def __init__(self, *stages: PipelineStage) -> None:
        self.stages: list[PipelineStage] = []
        for stage in stages:
            self.add_stage(stage)

    def add_stage(self, stage: PipelineStage) -> Self:
        """Add a stage at the end, and return the pipeline.

        :raises TypeError: if it is no function
        """
        _check_callable("stage", stage)
        self.stages.append(stage)
        return self

    def stream(self, source: Source[Any]) -> AsyncStream[Any]:
        """Return a stream of what comes out when ``source`` goes in."""
        stream = AsyncStream(source)
        for stage in self.stages:
            stream = AsyncStream(stage(stream))
        return stream

    async def process(self, source: Source[Any]) -> list[Any]:
        """Take ``source`` through all stages and return what comes out."""
        return await self.stream(source).collect()

    def compose(self, other: AsyncPipeline) -> AsyncPipeline:
        """Return a new pipeline: this one, then the other."""
        return AsyncPipeline(*self.stages, *other.stages)


@overload
def async_map(
    func: Callable[[T], Coroutine[Any, Any, U]],
    source: None = None,
    *,
    max_concurrency: int = 1,
    ordered: bool = True,
) -> Callable[[Source[T]], AsyncStream[U]]: ...
@overload
def async_map(
    func: Callable[[T], U], source: None = None, *, max_concurrency: int = 1, ordered: bool = True
) -> Callable[[Source[T]], AsyncStream[U]]: ...
@overload
def async_map(
    func: Callable[[T], Coroutine[Any, Any, U]],
    source: Source[T],
    *,
    max_concurrency: int = 1,
    ordered: bool = True,
) -> AsyncStream[U]: ...
@overload
def async_map(
    func: Callable[[T], U], source: Source[T], *, max_concurrency: int = 1, ordered: bool = True
) -> AsyncStream[U]: ...
def async_map(func: Any, source: Source[Any] | None = None, *, max_concurrency: int = 1, ordered: bool = True) -> Any:
    """Map ``source`` as :meth:`AsyncStream.map` does; without a source, return a stage for a pipeline."""
    return _stage(source, lambda s: s.map(func, max_concurrency=max_concurrency, ordered=ordered))


@overload
def async_filter(predicate: Callable[[T], object], source: None = None) -> Callable[[Source[T]], AsyncStream[T]]: ...
@overload
def async_filter(predicate: Callable[[T], object], source: Source[T]) -> AsyncStream[T]: ...
def async_filter(predicate: Any, source: Source[Any] | None = None) -> Any:
    """Filter ``source`` as :meth:`AsyncStream.filter` does; without a source, return a stage."""
    return _stage(source, lambda s: s.filter(predicate))


@overload
def async_batch(
    size: int, source: None = None, *, timeout: float | None = None
) -> Callable[[Source[T]], AsyncStream[list[T]]]: ...
@overload
def async_batch(size: int, source: Source[T], *, timeout: float | None = None) -> AsyncStream[list[T]]: ...
def async_batch(size: int, source: Source[Any] | None = None, *, timeout: float | None = None) -> Any:
    """Batch ``source`` as :meth:`AsyncStream.batch` does; without a source, return a stage."""
    return _stage(source, lambda s: s.batch(size, timeout))


@overload
def async_window(size: int, step: int = 1, source: None = None) -> Callable[[Source[T]], AsyncStream[list[T]]]: ...
@overload
def async_window(size: int, step: int = 1, *, source: Source[T]) -> AsyncStream[list[T]]: ...
@overload
def async_window(size: int, step: int, source: Source[T]) -> AsyncStream[list[T]]: ...
def async_window(size: int, step: int = 1, source: Source[Any] | None = None) -> Any:
    """Take windows of ``source`` as :meth:`AsyncStream.window` does; without a source, return a stage."""
    return _stage(source, lambda s: s.window(size, step))


def async_merge(*sources: Source[T]) -> AsyncStream[T]:
    """Give out the items of all sources as they arrive; the order within one source is kept.

    Each source is read in a task of its own, up to 16 items ahead of the reader. If one fails, the others are
    closed, and the error is raised after the items that had arrived.

    :raises TypeError: if one can not be iterated over
    """
    return AsyncStream._from(Merge(tuple(AsyncStream(source)._opener() for source in sources)))


def _stage(source: Source[Any] | None, apply: Callable[[AsyncStream[Any]], AsyncStream[Any]]) -> Any:
    apply(AsyncStream(()))  # a bad option is told here, not when the stage is used
    if source is not None:
        return apply(AsyncStream(source))

    def stage(source: Source[Any]) -> AsyncStream[Any]:
        return apply(AsyncStream(source))

    return stage


def _check_callable(name: str, value: object) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {value!r}")
