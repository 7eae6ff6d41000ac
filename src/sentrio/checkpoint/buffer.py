"""Results on their way from a runner to whoever reads them."""

from __future__ import annotations

__all__ = ("ResultBuffer", "ResultIterator")

import logging
import weakref
from collections import deque
from collections.abc import Callable

import anyio
import anyio.lowlevel

from sentrio.async_core.threads import loop_poster
from sentrio.checkpoint.result import CheckpointResult

logger = logging.getLogger("sentrio.checkpoint.runner")


class ResultBuffer:
    """Holds back while somebody reads, and is a ring while nobody does.

    :param size: how many results it holds
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: deque[CheckpointResult] = deque()
        self._readers: weakref.WeakSet[ResultIterator] = weakref.WeakSet()
        self._reserved = 0
        self._changed: anyio.Event | None = None
        self._loop: object = None  # in which results are expected
        self.dropped = 0
        self._ended = False  # nothing more will come
        self._holds_back = True
        self._error: BaseException | None = None

    def qsize(self) -> int:
        """Return how many results wait to be read."""
        return len(self._results)

    def open(self) -> None:
        """Expect results, and hold back those who make them while a reader lags behind."""
        self._ended = False
        self._holds_back = True
        self._error = None
        self._loop = anyio.lowlevel.current_token().native_token

    def let_all_in(self) -> None:
        """Hold nobody back any more."""
        self._holds_back = False
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come.

        :param error: raised to each reader that has read the rest
        """
        self._ended = True
        self._holds_back = False
        self._error = error
        self._loop = None
        self._wake()

    async def reserve(self) -> None:
        """Wait until there is room, and keep it for one result; at once while nobody reads."""
        while self._holds_back and self._readers and len(self._results) + self._reserved >= self._size:
            await self._change()
        self._reserved += 1

    def give_back(self) -> None:
        """Give reserved room back; the result is put after that, if there is one."""
        self._reserved -= 1
        self._wake()

    def put(self, result: CheckpointResult) -> None:
        """Add a result. While nobody reads, the oldest ones make room for it."""
        self._results.append(result)
        while not self._readers and len(self._results) > self._size:
            self._results.popleft()
            self.dropped += 1
            if self.dropped == 1:
                logger.warning(
                    "nobody reads the results: the newest %d are kept, and older ones are dropped; "
                    "get_stats()['dropped_results'] counts them",
                    self._size,
                )
        self._wake()

    def take(self) -> CheckpointResult:
        """Take the oldest result.

        :raises IndexError: if there is none
        """
        result = self._results.popleft()
        self._wake()
        return result

    async def get(self, timeout: float | None) -> CheckpointResult | None:
        """Wait for a result and take it; ``None`` if nothing came in time, or nothing more will come.

        :raises RuntimeError: if it would wait in another event loop than the one that results come from
        """
        with anyio.CancelScope(deadline=float("inf") if timeout is None else anyio.current_time() + timeout):
            while not self._results:
                if self._ended:
                    await anyio.lowlevel.checkpoint()
                    if self._error is not None:
                        raise self._error
                    return None
                if self._loop not in (None, anyio.lowlevel.current_token().native_token):
                    raise RuntimeError(
                        "the checkpoint runner runs in another event loop; read its results there "
                        "(anyio.from_thread.run does)"
                    )
                await self._change()
        if not self._results:
            return None
        result = self.take()
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException:
            self._results.appendleft(result)  # the reader is gone; the next one gets it
            self._wake()
            raise
        return result

    def attach(self, reader: ResultIterator) -> None:
        """Note that somebody reads, until he detaches or is garbage-collected."""
        self._readers.add(reader)

    def detach(self, reader: ResultIterator) -> None:
        """Note that somebody reads no more."""
        self._readers.discard(reader)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()


class ResultIterator:
    """Gives results as they come. Several of them share the results: each goes to one.

    It counts as a reader from its first use until it ends, is closed, or is garbage-collected.

    :param buffer: where the results are
    :param timeout: ends when nothing came for so many seconds; ``None``: waits until the runner has stopped
    """

    def __init__(self, buffer: ResultBuffer, timeout: float | None) -> None:
        self._buffer = buffer
        self._timeout = timeout
        self._post: Callable[..., object] | None = None
        self._ended = False

    def __aiter__(self) -> ResultIterator:
        return self

    async def __anext__(self) -> CheckpointResult:
        if self._ended:
            raise StopAsyncIteration
        if self._post is None:
            self._post = loop_poster()
            self._buffer.attach(self)
        try:
            result = await self._buffer.get(self._timeout)
        except Exception:
            self._end()
            raise
        if result is None:
            self._end()
            raise StopAsyncIteration
        return result

    async def aclose(self) -> None:
        """Read no more."""
        self._end()
        await anyio.lowlevel.checkpoint()

    def _end(self) -> None:
        self._ended = True
        self._buffer.detach(self)

    def __del__(self) -> None:
        # May run in any thread: whoever is held back must look again, in his loop.
        if self._post is not None and not self._ended:
            self._post(self._buffer._wake)
