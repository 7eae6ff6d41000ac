"""Bodies of requests and responses that can be left at any point.

httpx and httpcore read and write bodies through chains of async generators. One that is left before its end
is closed by the garbage collector, which trio reports as a leak, and rightly so. The classes here are plain
iterators, and :meth:`ResponseBody.aclose` ends the whole chain.
"""

from __future__ import annotations

__all__ = ("RequestBody", "ResponseBody", "require_decoded", "track_iterators")

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, Self

import anyio
import anyio.lowlevel
import attrs
import httpx

# Ending a chain of generators reads from a connection that is closed: this is only against a fault in there.
_CLEANUP_SECONDS = 2.0

# How a content begins that gzip has made, and each further one that was added to it.
_GZIP = b"\x1f\x8b"


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


def require_decoded(response: httpx.Response) -> None:
    """Check that nothing is missing of a compressed content that was read; httpx takes what there is for the whole.

    :raises httpx.RemoteProtocolError: if it breaks off
    :raises httpx.DecodingError: if it has several parts, since httpx decodes the first only
    """
    decoder = getattr(response, "_decoder", None)
    for each in getattr(decoder, "children", (decoder,)):
        inner = getattr(each, "decompressor", None)  # zlib's, which knows where its content ends
        if response.num_bytes_downloaded and not getattr(inner, "eof", True):
            raise httpx.RemoteProtocolError("the compressed content breaks off", request=response.request)
        if getattr(inner, "unused_data", b"").startswith(_GZIP):
            problem = "the compressed content has several parts, of which only the first can be read"
            raise httpx.DecodingError(problem, request=response.request)


async def _translating(
    response: httpx.Response, pieces: AsyncGenerator[Any, None], translate: Callable[[Exception], Exception]
) -> AsyncGenerator[Any, None]:
    """Decode as httpx does, with our error for what can not be decoded, or not to its end."""
    try:
        async for piece in pieces:
            yield piece
        require_decoded(response)
    except (httpx.DecodingError, httpx.RemoteProtocolError) as exc:
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
                generator = _translating(response, generator, translate)
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
