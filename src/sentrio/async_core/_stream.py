"""Results as they come, no faster than they are taken: how ``AsyncRunner.stream`` works."""

from __future__ import annotations

__all__ = ("Streaming",)

import contextvars
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from sentrio.async_core._isolated import isolated
from sentrio.async_core._slots import Slots, innermost
from sentrio.async_core.background import cancelled_from_outside
from sentrio.async_core.scheduler import TaskPriority
from sentrio.async_core.telemetry import span
from sentrio.errors import ClosedError

# How long closing the items may take when the consumer leaves.
_CLOSE_SECONDS = 5.0


class Results:
    """The iterator that a consumer gets; it ends with the last result, or with the first error."""

    def __init__(self, streaming: Streaming, receive: MemoryObjectReceiveStream[Any]) -> None:
        self._streaming = streaming
        self._receive = receive

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            self._streaming.raise_error()
            raise StopAsyncIteration from None


class Streaming:
    """One call of ``stream``."""

    def __init__(self, slots: Slots, func: Callable[[Any], Any], items: Any) -> None:
        self._slots = slots
        self._func = func
        self._source: Any
        if isinstance(items, AsyncIterable):
            self._source = aiter(items)
        elif isinstance(items, Iterable):
            self._source = _Async(iter(items))
        else:
            raise TypeError(f"items must be iterable, sync or async, got {items!r}")
        self._taking = anyio.Lock()
        self._error: BaseException | None = None
        self._stop: Callable[[], None] = lambda: None
        self._workers = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[Any]]:
        """Work while the block runs."""
        self._slots.require_open()
        send, receive = anyio.create_memory_object_stream[Any](0)
        failure: Exception | None = None
        with span("sentrio.runner.stream"):
            try:
                async with receive, anyio.create_task_group() as tg:
                    tg.start_soon(self._run, send, name="sentrio: stream")
                    try:
                        yield Results(self, receive)
                    except Exception as exc:  # noqa: BLE001  # raised below, outside of the group, as it is
                        failure = exc
                    tg.cancel_scope.cancel()
            finally:
                await self._close_source()
            if failure is not None:
                if self._error is not None:
                    failure.add_note(f"besides, a task of the stream raised {type(self._error).__name__}")
                raise failure
            self.raise_error()  # that the consumer left too early to see

    def raise_error(self) -> None:
        """Raise the first error, if there is one that was not raised yet."""
        error, self._error = self._error, None
        if isinstance(error, StopAsyncIteration):  # it would end the loop as if all were well
            raise RuntimeError("a function of a stream raised StopAsyncIteration") from error  # noqa: TRY004
        if error is not None:
            raise error

    async def _run(self, send: MemoryObjectSendStream[Any]) -> None:
        # A group of its own: the first error ends the workers, and the consumer hears of it as it iterates.
        async with send:
            async with anyio.create_task_group() as tg:
                self._stop = tg.cancel_scope.cancel
                self._start_next(tg, send)

    def _start_next(self, tg: TaskGroup, send: MemoryObjectSendStream[Any]) -> None:
        """Start another worker, if there may be more: no more of them than items, however high the limit."""
        if self._workers < self._slots.total:
            tg.start_soon(self._work, tg, send, name=f"sentrio: stream {self._workers}")
            self._workers += 1

    async def _work(self, tg: TaskGroup, send: MemoryObjectSendStream[Any]) -> None:
        is_first = True
        try:
            while True:
                try:
                    async with self._taking:
                        item = await anext(self._source)
                except StopAsyncIteration:
                    return
                if is_first:
                    is_first = False
                    self._start_next(tg, send)
                result = await self._call(item)
                # Without the slot: a consumer that is slow, or that submits tasks itself, blocks nobody.
                await send.send(result)
        except Exception as exc:  # noqa: BLE001  # the consumer gets it
            self._fail(exc)
        except BaseException as exc:
            # On asyncio a function may raise CancelledError although nobody cancels it.
            if not isinstance(exc, anyio.get_cancelled_exc_class()) or cancelled_from_outside():
                raise
            self._fail(exc)

    async def _call(self, item: Any) -> Any:
        ticket = self._slots.enter(TaskPriority.NORMAL)
        try:
            with ticket.scope:
                if ticket.event is None:
                    await anyio.lowlevel.checkpoint()
                else:
                    await ticket.event.wait()
                context = contextvars.copy_context()
                context.run(innermost.set, ticket)
                result = context.run(self._func, item)
                if inspect.isawaitable(result):
                    result = await isolated(_awaited(result), context)
                return result
        finally:
            ticket.leave()
        raise self._slots.closed_error(self._slots.owner, "was shut down before stream() had ended")

    def _fail(self, exc: BaseException) -> None:
        if self._error is None:
            self._error = exc
            self._stop()
        elif not isinstance(exc, ClosedError):
            self._error.add_note(f"while it was cancelled, another task raised {type(exc).__name__}")

    async def _close_source(self) -> None:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            if hasattr(self._source, "aclose"):
                await self._source.aclose()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class _Async:
    """A plain iterator as an async one."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        # Generators only: a file, say, is its own iterator, and may be wanted for more.
        if inspect.isgenerator(self._iterator):
            self._iterator.close()
