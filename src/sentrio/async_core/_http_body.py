"""Bodies of requests and responses that can be left at any point.

httpx and httpcore read and write bodies through chains of async generators. One that is left before its end
is closed by the garbage collector, which trio reports as a leak, and rightly so. The classes here are plain
iterators, and :meth:`ResponseBody.aclose` ends the whole chain.
"""

from __future__ import annotations

__all__ = ("RequestBody", "ResponseBody", "track_iterators")

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, Self

import anyio
import anyio.lowlevel
import attrs
import httpx

# Ending a chain of generators reads from a connection that is closed: this is only against a fault in there.
_CLEANUP_SECONDS = 2.0


@attrs.define(eq=False)
class RequestBody(httpx.AsyncByteStream):
    """The body that httpx made for a request, with an iterator that may be dropped.

    What the body itself raises is kept in ``error``, so that nobody mistakes it for a fault of the network.
    """

    source: Any
    advanced: Callable[[], object] | None = None  #: called whenever the transport asks for more
    error: Exception | None = None
    _parts: Iterator[bytes] | None = None
    _pieces: AsyncIterator[bytes] | None = None

    @classmethod
    def wrap(cls, request: httpx.Request, advanced: Callable[[], object] | None) -> RequestBody:
        body = cls(request.stream, advanced)
        request.stream = body
        return body

    def __aiter__(self) -> Self:
        # Anew for each connection that the request travels: redirects and challenges send a body again.
        if isinstance(self.source, httpx.SyncByteStream):
            self._parts = iter(self.source)
        else:
            self._pieces = aiter(self.source)
        return self

    async def __anext__(self) -> bytes:
        if self.advanced is not None:
            self.advanced()
        try:
            if self._pieces is not None:
                return await anext(self._pieces)
            assert self._parts is not None  # for the type checker
            for piece in self._parts:
                if piece:  # a request without a body has an empty one, whose sending takes its time too
                    return piece
        except Exception as exc:
            if not isinstance(exc, StopAsyncIteration):
                self.error = exc
            raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close what the body is read from, as far as it can be closed."""
        opened, self._pieces, self._parts = self._pieces, None, None
        if isinstance(opened, AsyncGenerator):
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLEANUP_SECONDS):
                await opened.aclose()
        if hasattr(self.source, "aclose"):
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLEANUP_SECONDS):
                await self.source.aclose()


@attrs.define(eq=False)
class ResponseBody(httpx.AsyncByteStream):
    """The body of a response whose every read is guarded, and which can be left early."""

    inner: httpx.AsyncByteStream
    read: Callable[[AsyncIterator[bytes]], Any]  #: reads the next piece, under limits; raises our errors
    _iterator: AsyncIterator[bytes] | None = None
    _ended: bool = False

    def __aiter__(self) -> Self:
        self._iterator = aiter(self.inner)
        return self

    async def __anext__(self) -> bytes:
        assert self._iterator is not None  # for the type checker
        try:
            piece: bytes = await self.read(self._iterator)
        except BaseException:
            self._ended = True
            raise
        return piece

    async def aclose(self) -> None:
        """Give the connection back, and end the generators that were reading from it."""
        iterator, self._iterator = self._iterator, None
        await self.inner.aclose()
        if iterator is None or self._ended:
            return
        self._ended = True
        # The innermost generator finds its connection closed and raises, which ends all those around it;
        # closing the outermost one would leave the inner ones to the garbage collector.
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLEANUP_SECONDS):
            with suppress(Exception):
                while True:
                    await anext(iterator)


async def _translating(
    pieces: AsyncGenerator[Any, None], translate: Callable[[Exception], Exception]
) -> AsyncGenerator[Any, None]:
    """Decode as httpx does, with our error for what can not be decoded."""
    try:
        async for piece in pieces:
            yield piece
    except httpx.DecodingError as exc:
        error = translate(exc)
        raise error from error.__cause__


def track_iterators(
    response: httpx.Response, translate: Callable[[Exception], Exception] | None = None
) -> Callable[[], Any]:
    """Make the iterators of ``response`` closable from outside; returns the function that closes them.

    :param translate: makes our error of what decoding raises; ``None`` leaves it as it is
    """
    opened: list[AsyncGenerator[Any, None]] = []

    def tracked(name: str) -> Callable[..., AsyncGenerator[Any, None]]:
        method = getattr(response, name)
        decodes = name == "aiter_bytes" and "content-encoding" in response.headers

        def iterate(*args: Any, **options: Any) -> AsyncGenerator[Any, None]:
            generator: AsyncGenerator[Any, None] = method(*args, **options)
            opened.append(generator)
            if decodes and translate is not None:
                generator = _translating(generator, translate)
                opened.append(generator)
            return generator

        return iterate

    # Each of these is built on the next, and finds it here as well.
    for name in ("aiter_lines", "aiter_text", "aiter_bytes", "aiter_raw"):
        setattr(response, name, tracked(name))

    async def close() -> None:
        for generator in reversed(opened):
            await generator.aclose()

    return close
