"""Uploads that are streamed from where the content is."""

from __future__ import annotations

__all__ = ("async_upload",)

import inspect
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, BinaryIO, Self, Unpack

import anyio
import attrs
import httpx

from sentrio.async_core._checks import check_count, require_callback
from sentrio.async_core._http_client import AsyncHTTPClient, opened
from sentrio.async_core._http_settings import RequestOptions, check_options
from sentrio.async_core._thread_steps import GRACE_SECONDS, acquire
from sentrio.async_core.telemetry import span
from sentrio.async_core.threads import call_sync
from sentrio.errors import SourceError

_CLEANUP_SECONDS = 2.0

Progress = Callable[[int, int | None], Awaitable[object] | object]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | AsyncIterable[bytes]


async def async_upload(
    url: httpx.URL | str,
    source: Source,
    client: AsyncHTTPClient | None = None,
    *,
    method: str = "POST",
    field: str | None = None,
    filename: str | None = None,
    progress: Progress | None = None,
    chunk_size: int = 1 << 18,
    **options: Unpack[RequestOptions],
) -> httpx.Response:
    """Send a file, bytes or a stream as the body of a request, piece by piece, and return the response.

    The status of the response is the caller's affair, as with :meth:`AsyncHTTPClient.request`. The client's
    ``timeout`` starts anew with each piece that is sent, so that it does not limit the size. A try is
    repeated as the retry policy says, which needs an idempotent ``method`` such as ``"PUT"``, and a source
    that can be read again: an async iterator can not.

    :param url: where to
    :param source: a path, bytes, or an async iterable of bytes; an async generator is closed when the upload
        ends
    :param client: an open client; ``None`` makes one with default settings for this call
    :param method: an HTTP method
    :param field: send a ``multipart/form-data`` form with the content as this field; ``None`` sends the
        content itself as the body
    :param filename: the name of the file in a form; ``None`` takes the path's, or ``field``
    :param progress: called with the bytes handed over and the bytes in all, ``None`` if unknown; a function
        or an async function. What it raises ends the upload
    :param chunk_size: bytes that are read from a file at once
    :param options: what :meth:`AsyncHTTPClient.request` takes, except ``content``, ``data``, ``files``,
        ``json``
    :raises HTTPRequestError: if the last try got no answer
    :raises CircuitOpenError: if the host's circuit is open before the first try
    :raises SourceError: if a file changes its size meanwhile
    :raises OSError: if a file can not be read
    :raises ValueError: if a value is out of range
    :raises TypeError: if the source is of another type
    """
    check_count("chunk_size", chunk_size)
    require_callback("async_upload", "progress", progress)
    _check_source(source, options)
    body = _Body(source, chunk_size, progress)
    headers = httpx.Headers(options.get("headers"))
    if field is not None:
        headers["Content-Type"] = body.become_form(field, filename)
    options["headers"] = headers
    options["content"] = body
    try:
        async with opened(client) as sending:
            await body.measure()
            if body.size is not None:
                headers["Content-Length"] = str(body.size)
            call = sending.call(method, url, **options)
            call.replayable = body.replayable
            call.patient = True
            attributes = {"http.request.method": call.method, "url.full": call.shown}
            with span("sentrio.http.upload", **attributes) as current:
                response = await call.response()
                current.set_attribute("http.response.status_code", response.status_code)
            return response
    finally:
        await body.aclose()


def _check_source(source: object, options: RequestOptions) -> None:
    check_options("async_upload", options)
    for name in ("content", "data", "files", "json"):
        if name in options:
            raise TypeError(f"async_upload sends its source as the body; it takes no {name}")
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview | AsyncIterable):
        raise TypeError(f"source must be a path, bytes, or an async iterable of bytes, got {source!r}")


@attrs.define(eq=False)
class _Body:
    """The body of an upload; each iteration starts anew, where that is possible."""

    source: Any
    chunk_size: int
    progress: Progress | None
    size: int | None = None  #: of the whole body
    head: bytes = b""
    tail: bytes = b""
    _content: int | None = None  #: bytes of the source
    _sent: int = 0
    _step: int = 0  #: 0 before the head, 1 in the content, 2 after the tail
    _file: BinaryIO | None = None
    _busy: bool = False
    _pieces: AsyncIterator[bytes] | None = None

    @property
    def replayable(self) -> bool:
        return not hasattr(self.source, "__anext__")

    @property
    def _is_path(self) -> bool:
        return isinstance(self.source, str | os.PathLike)

    def become_form(self, field: str, filename: str | None) -> str:
        """Put a form around the content; return its content type."""
        boundary = secrets.token_hex(16)
        if filename is None:
            filename = os.path.basename(os.fspath(self.source)) if self._is_path else field  # noqa: PTH119
        self.head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(field)}"; '
            f'filename="{_quoted(filename)}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        ).encode()
        self.tail = f"\r\n--{boundary}--\r\n".encode()
        return f"multipart/form-data; boundary={boundary}"

    async def measure(self) -> None:
        """Find out how long the body is, if that can be known."""
        if self._is_path:
            self._content = (await call_sync(os.stat, self.source, abandon_after=GRACE_SECONDS)).st_size
        elif isinstance(self.source, bytes | bytearray | memoryview):
            self.source = memoryview(self.source).cast("B")
            self._content = len(self.source)
        if self._content is not None:
            self.size = len(self.head) + self._content + len(self.tail)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _BodyIterator(self)

    async def start(self) -> None:
        await self._close_source()
        self._sent = self._step = 0
        if self._is_path:
            self._file = await acquire(_open, self.source, release=_close)
        elif isinstance(self.source, AsyncIterable):
            self._pieces = aiter(self.source)

    async def piece(self) -> bytes:
        """Return the next piece, empty at the end."""
        if self._step == 0:
            self._step = 1
            if self.head:
                return self.head
        if self._step == 1:
            found = await self._content_piece()
            if found:
                self._sent += len(found)
                await self._tell()
                return found
            self._step = 2
            self._check_size()
            return self.tail
        return b""

    async def _content_piece(self) -> bytes:
        if self._file is not None:
            data = await call_sync(self._read, self._file, abandon_after=GRACE_SECONDS)
            self._check_size(more=len(data))
            return data
        if self._pieces is not None:
            async for piece in self._pieces:
                if piece:
                    return piece
            return b""
        return bytes(self.source[self._sent : self._sent + self.chunk_size])

    def _read(self, file: BinaryIO) -> bytes:
        self._busy = True
        try:
            return file.read(self.chunk_size)
        finally:
            self._busy = False

    def _check_size(self, more: int | None = None) -> None:
        """Refuse a file that has grown or shrunk: the length has been announced."""
        if self._content is None:
            return
        seen = self._sent + (more or 0)
        if seen > self._content or (more is None and seen < self._content):
            raise SourceError(
                os.fspath(self.source), f"had {self._content} bytes when its upload began, and has changed"
            )

    async def _tell(self) -> None:
        if self.progress is not None:
            answer = self.progress(self._sent, self._content)
            if inspect.isawaitable(answer):
                await answer

    async def _close_source(self) -> None:
        file, self._file = self._file, None
        # A read that was abandoned is still in there; its thread has the last reference, and closes.
        if file is not None and not self._busy:
            file.close()

    async def aclose(self) -> None:
        await self._close_source()
        for pieces in (self._pieces, self.source):
            if isinstance(pieces, AsyncGenerator):
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLEANUP_SECONDS):
                    await pieces.aclose()


@attrs.define(eq=False)
class _BodyIterator:
    body: _Body
    _started: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._started:
            self._started = True
            await self.body.start()
        piece = await self.body.piece()
        if not piece:
            raise StopAsyncIteration
        return piece


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    return open(path, "rb", buffering=0)  # noqa: PTH123  # closed by the body


def _close(file: BinaryIO) -> None:
    file.close()


def _quoted(text: str) -> str:
    # What browsers do, and what the HTML standard says.
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
