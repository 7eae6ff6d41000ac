"""What a stream can be made of, and how one iteration of it begins and ends."""

from __future__ import annotations

__all__ = ("AsyncOrigin", "SyncOrigin", "origin_of")

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, cast

import anyio

from sentrio.async_core._stream_engine import Origin, Source, StreamIterator
from sentrio.async_core.background import BackgroundTask

# The finaliser of a source that nobody waits for.
_CLEANUP_SECONDS = 3.0


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
