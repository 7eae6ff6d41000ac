"""Run coroutines with a limit: one by one by priority, all together, or as a stream."""

from __future__ import annotations

__all__ = (
    "AsyncRunner",
    "PoolStatistics",
    "ResourcePool",
    "SchedulerStatistics",
    "TaskPriority",
    "TaskScheduler",
    "async_background",
    "async_run",
    "async_timeout",
)

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
)
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from sentrio.async_core._checks import check_count, known_options, number_from_environment
from sentrio.async_core._gather import Gathering
from sentrio.async_core._stream import Streaming
from sentrio.async_core.background import async_background as async_background
from sentrio.async_core.background import async_run as async_run
from sentrio.async_core.resources import PoolStatistics as PoolStatistics
from sentrio.async_core.resources import ResourcePool as ResourcePool
from sentrio.async_core.scheduler import SchedulerStatistics as SchedulerStatistics
from sentrio.async_core.scheduler import TaskPriority as TaskPriority
from sentrio.async_core.scheduler import TaskScheduler as TaskScheduler
from sentrio.async_core.timeouts import async_timeout as async_timeout

T = TypeVar("T")
ItemT = TypeVar("ItemT")

_DEFAULT_WORKERS = 10


@known_options
class AsyncRunner:
    """Runs coroutines, at most ``max_workers`` at once over all its methods.

    ::

        async with AsyncRunner(max_workers=10) as runner:
            answer = await runner.submit(ask(), priority=TaskPriority.HIGH)
            pages = await runner.gather([fetch(url) for url in urls])
            async with runner.stream(fetch, urls) as results:
                async for page in results:
                    ...

    Leaving the block waits for the tasks that other tasks have submitted; leaving it by an error cancels them
    first, and their submitters get a ``RunnerClosedError``. A runner may be used again, also in another event
    loop.

    :param max_workers: how many tasks may run at once; ``None`` takes the environment variable
        ``SENTRIO_ASYNC_WORKERS``, and without it 10
    :param aging_seconds: a waiting task gains one level of priority every so many seconds; ``None`` for
        strict priorities
    :raises ValueError: if a value is out of range, NaN included
    :raises sentrio.errors.UnknownOptionError: (a ``TypeError``) for an option that is not listed here
    """

    def __init__(self, max_workers: int | None = None, *, aging_seconds: float | None = 10.0) -> None:
        if max_workers is None:
            max_workers = number_from_environment("SENTRIO_ASYNC_WORKERS", _DEFAULT_WORKERS, minimum=1)
        check_count("max_workers", max_workers)
        self.scheduler = TaskScheduler(max_workers, aging_seconds=aging_seconds)
        self.scheduler._slots.owner = "async runner"

    @property
    def max_workers(self) -> int:
        """How many tasks may run at once."""
        return self.scheduler.max_concurrent

    async def start(self) -> None:
        """Take tasks from now on, as ``async with`` does."""
        await self.scheduler.start()

    async def submit(
        self,
        coro: Coroutine[Any, Any, T],
        priority: TaskPriority = TaskPriority.NORMAL,
        timeout: float | None = None,
    ) -> T:
        """Run ``coro`` as soon as there is a slot; see :meth:`TaskScheduler.submit`."""
        return await self.scheduler.submit(coro, priority, timeout)

    @overload
    async def gather(
        self, coros: Iterable[Coroutine[Any, Any, T]], return_exceptions: Literal[False] = False
    ) -> list[T]: ...

    @overload
    async def gather(
        self, coros: Iterable[Coroutine[Any, Any, T]], return_exceptions: bool
    ) -> list[T | BaseException]: ...

    async def gather(self, coros: Iterable[Coroutine[Any, Any, T]], return_exceptions: bool = False) -> list[Any]:
        """Run all ``coros`` within the limit, and return their results in the order of ``coros``.

        The first error cancels the others, waits for them, and is raised as it is; coroutines that had not
        begun are closed. Each coroutine has context variables of its own, as a task would.

        :param coros: coroutine objects
        :param return_exceptions: return the errors in the places of the results, and cancel nothing
        :raises TypeError: if one of ``coros`` is not a coroutine object
        :raises sentrio.errors.RunnerClosedError: if the runner does not run, or is shut down meanwhile
        """
        return await Gathering(self.scheduler._slots, return_exceptions).run(coros)

    @overload
    def stream(
        self,
        func: Callable[[ItemT], Coroutine[Any, Any, T]],
        items: Iterable[ItemT] | AsyncIterable[ItemT],
    ) -> AbstractAsyncContextManager[AsyncIterator[T]]: ...

    @overload
    def stream(
        self, func: Callable[[ItemT], T], items: Iterable[ItemT] | AsyncIterable[ItemT]
    ) -> AbstractAsyncContextManager[AsyncIterator[T]]: ...

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any] | AsyncIterable[Any]
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Call ``func`` on each item within the limit, and give the results as they come.

        ::

            async with runner.stream(fetch, urls) as results:
                async for page in results:
                    ...

        Items are taken only as fast as results are: at most ``max_workers`` results wait for the consumer,
        and while they wait they hold no slot. The first error of ``func`` or of ``items`` cancels the rest
        and is raised where the consumer waits. Leaving the block early cancels what runs, and closes
        ``items`` if it is a generator.

        :param func: an async function of one item; a plain one is called in the event loop
        :param items: what to iterate over
        :raises TypeError: if ``items`` can not be iterated over
        :raises sentrio.errors.RunnerClosedError: if the runner does not run, or is shut down meanwhile
        """
        return Streaming(self.scheduler._slots, func, items).open()

    async def shutdown(self, wait: bool = True) -> None:
        """Take no more tasks, and end; see :meth:`TaskScheduler.shutdown`.

        What was gathered counts as submitted. A stream that is still read from takes no more items, and its
        reader gets a ``RunnerClosedError``.
        """
        await self.scheduler.shutdown(wait)

    def statistics(self) -> SchedulerStatistics:
        """Return what the runner is doing right now."""
        return self.scheduler.statistics()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.scheduler.__aexit__(exc_type, exc, tb)
