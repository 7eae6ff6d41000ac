"""Downloads that end with the whole new file or with the old one."""

from __future__ import annotations

__all__ = ("DownloadResult", "async_download")

import hashlib
import inspect
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, Unpack

import anyio
import attrs
import httpx

from sentrio.async_core._atomic import Replacement, naming
from sentrio.async_core._checks import check_count, check_number, require_callback
from sentrio.async_core._http_call import Answer, Call, status_error
from sentrio.async_core._http_client import AsyncHTTPClient, opened
from sentrio.async_core._http_errors import ProtocolFailed, TimedOut
from sentrio.async_core._http_settings import RequestOptions, check_options
from sentrio.async_core._thread_steps import GRACE_SECONDS, acquire, clean_up
from sentrio.async_core.telemetry import metric_counter, span
from sentrio.async_core.threads import call_sync
from sentrio.errors import ChecksumError, HTTPRequestError

_bytes = metric_counter("sentrio.http.download.bytes")

Progress = Callable[[int, int | None], Awaitable[object] | object]


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


@attrs.frozen(kw_only=True)
class DownloadResult:
    """A file that has arrived."""

    path: Path  #: where it is
    size: int  #: bytes in the file
    attempts: int  #: requests that it took
    resumed: int  #: how many of them went on where an earlier one broke off
    etag: str | None = None  #: what the server calls this version
    content_type: str | None = None  #: what the server says it is


async def async_download(
    url: httpx.URL | str,
    destination: str | os.PathLike[str],
    client: AsyncHTTPClient | None = None,
    *,
    checksum: str | None = None,
    progress: Progress | None = None,
    chunk_size: int = 1 << 20,
    min_bytes_per_second: float = 1024.0,
    **options: Unpack[RequestOptions],
) -> DownloadResult:
    """Download a file to ``destination``, which has its old content until the new one is whole.

    The content goes to a temporary file beside the destination, which is synced and renamed at the end; on
    any error or cancellation it is removed. A transfer that breaks off is tried again as the client's retry
    policy says: from where it stopped if the server has named the version by a strong ETag and still has the
    same one, else from the start. Redirects are followed unless ``follow_redirects=False`` is given.

    The client's ``timeout`` is not for the whole transfer, which may be long: it is for the headers, and for
    each piece; and a server that sends less than ``min_bytes_per_second`` for as long as ``timeout`` is given
    up as well. The policy's ``total_timeout`` is for everything.

    A server that declares no length can break off unnoticed; a checksum notices.

    :param url: what to download
    :param destination: where to; its folder must exist
    :param client: an open client; ``None`` makes one with default settings for this call
    :param checksum: what the content must have, like ``"sha256:9f86d0..."``
    :param progress: called with the bytes received and the bytes expected, ``None`` if unknown; a function
        or an async function. What it raises ends the download
    :param chunk_size: bytes that are collected before they are written
    :param min_bytes_per_second: slower than this over ``timeout`` seconds is a failed try; 0 for any speed
    :param options: what :meth:`AsyncHTTPClient.request` takes
    :raises HTTPStatusError: if the last try is answered with anything else than success
    :raises ChecksumError: if the content is not the expected one
    :raises HTTPRequestError: if the last try breaks off
    :raises CircuitOpenError: if the host's circuit is open before the first try
    :raises OSError: if the file can not be written
    :raises ValueError: if a value is out of range
    """
    algorithm, expected = _parse_checksum(checksum)
    check_count("chunk_size", chunk_size)
    check_number("min_bytes_per_second", min_bytes_per_second)
    require_callback("async_download", "progress", progress)
    check_options("async_download", options)
    async with opened(client) as loading:
        download = _Download(
            call=loading.call("GET", url, **_for_a_file(options)),
            algorithm=algorithm,
            expected=expected,
            progress=progress,
            chunk_size=chunk_size,
            min_rate=min_bytes_per_second,
        )
        with span("sentrio.http.download", **{"url.full": download.call.shown}) as current:
            await download.save(destination)
            current.set_attribute("http.request.resend_count", download.call.attempts - 1)
    return download.result(Path(destination))


def _for_a_file(options: RequestOptions) -> RequestOptions:
    options.setdefault("follow_redirects", True)
    headers = httpx.Headers(options.get("headers"))
    # Lengths and ranges are those of what travels, so let that be the file itself.
    headers.setdefault("Accept-Encoding", "identity")
    options["headers"] = headers
    return options


def _parse_checksum(checksum: str | None) -> tuple[str, str]:
    if checksum is None:
        return "", ""
    algorithm, colon, digits = checksum.partition(":")
    algorithm = algorithm.strip().lower()
    digits = digits.strip().lower()
    if not colon or algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        raise ValueError(f"checksum must be like 'sha256:9f86d0...', got {checksum!r}")
    length = hashlib.new(algorithm, usedforsecurity=False).digest_size * 2
    if len(digits) != length or not all(digit in "0123456789abcdef" for digit in digits):
        raise ValueError(f"checksum must have {length} hexadecimal digits for {algorithm}, got {checksum!r}")
    return algorithm, digits


@attrs.define(eq=False, kw_only=True)
class _Download:
    """The state of one download across its tries."""

    call: Call
    file: Replacement = attrs.field(default=None, init=False)
    algorithm: str
    expected: str
    progress: Progress | None
    chunk_size: int
    min_rate: float
    received: int = 0  #: bytes of this version that are in the file
    total: int | None = None  #: bytes that this version has, if the server has said so
    etag: str | None = None  #: the strong validator of this version
    content_type: str | None = None
    resumed: int = 0
    resuming: bool = False
    digest: _Hash | None = None
    pieces: list[bytes] = attrs.field(factory=list)
    waiting: int = 0  #: bytes in ``pieces``

    def result(self, path: Path) -> DownloadResult:
        return DownloadResult(
            path=path,
            size=self.received,
            attempts=self.call.attempts,
            resumed=self.resumed,
            etag=self.etag,
            content_type=self.content_type,
        )

    async def save(self, destination: str | os.PathLike[str]) -> None:
        """Put the content in the place of what is at ``destination``, when it is whole."""
        self.file = await acquire(Replacement.begin, destination, release=Replacement.discard)
        try:
            await self.run()
            await call_sync(self.file.commit, abandon_after=GRACE_SECONDS)
        except BaseException:
            await clean_up(self.file.discard)
            raise

    async def run(self) -> None:
        """Try until the content is whole."""
        while True:
            outcome: Any = await self.call.attempt(stream=True, headers=self._range())
            if isinstance(outcome, Answer):
                outcome = await self._take(outcome)
                if outcome is None:
                    return
            if await self.call.wait_to_retry(outcome):
                continue
            if isinstance(outcome, httpx.Response):
                raise status_error(self.call, outcome)
            try:
                raise outcome
            finally:
                del outcome  # the traceback refers to this frame

    def _range(self) -> dict[str, str] | None:
        self.resuming = bool(self.received and self.etag)
        if not self.resuming:
            return None
        return {"Range": f"bytes={self.received}-", "If-Range": str(self.etag)}

    async def _take(self, answer: Answer) -> httpx.Response | HTTPRequestError | None:
        """Take what an answer has to give; return what is wrong with it, or ``None``."""
        response = answer.response
        failed: bool | None = False
        try:
            if response.status_code == 206:
                problem = self._check_part(response)
            elif response.status_code == 416 and self.resuming:
                problem = "the content has changed while it was downloaded"
            elif response.is_success:
                await self._start_over(response)
                problem = ""
            else:
                failed = response.status_code >= 500
                return response
            if problem:
                await self._forget()
                return self._failure(problem)
            failure = await self._receive(response)
        except BaseException:
            failed = None
            raise
        else:
            failed = failure is not None
            return failure
        finally:
            await answer.aclose(failed=failed)

    def _failure(self, problem: str) -> HTTPRequestError:
        return ProtocolFailed(self.call.method, str(self.call.shown), self.call.attempts, problem)

    def _check_part(self, response: httpx.Response) -> str:
        """Return what is wrong with a partial answer."""
        if not self.resuming:
            return "the server sent a part of the content without being asked to"
        if response.headers.get("etag") != self.etag:
            return "the content has changed while it was downloaded"
        unit, _, rest = response.headers.get("content-range", "").partition(" ")
        span_, _, total = rest.partition("/")
        first = span_.partition("-")[0]
        if unit.lower() != "bytes" or first != str(self.received):
            return f"the server sent another part of the content than bytes {self.received} and on"
        if self.total is not None and total not in ("*", str(self.total)):
            return f"the content has {total} bytes now, {self.total} before"
        self.resumed += 1
        return ""

    async def _start_over(self, response: httpx.Response) -> None:
        await self._forget()
        headers = response.headers
        etag = headers.get("etag", "")
        encoded = "content-encoding" in headers
        # A weak one names versions that mean the same, not ones that are the same byte for byte; and a range
        # of an encoded body is a range of the encoding.
        self.etag = etag if etag.startswith('"') and not encoded else None
        self.content_type = headers.get("content-type")
        length = headers.get("content-length", "")
        self.total = int(length) if length.isascii() and length.isdigit() and not encoded else None

    async def _forget(self) -> None:
        if self.received:
            await call_sync(self._truncate, abandon_after=GRACE_SECONDS)
        self.received = self.waiting = 0
        self.pieces = []
        self.etag = self.total = None
        self.digest = hashlib.new(self.algorithm, usedforsecurity=False) if self.algorithm else None

    def _truncate(self) -> None:
        self.file.stream.seek(0)
        self.file.stream.truncate()

    async def _receive(self, response: httpx.Response) -> HTTPRequestError | None:
        encoded = "content-encoding" in response.headers
        body = response.aiter_bytes() if encoded else response.aiter_raw()
        speed = _Speed(self.call, self.min_rate)
        failure: HTTPRequestError | None = None
        try:
            async for piece in body:
                self.pieces.append(piece)
                self.waiting += len(piece)
                if self.waiting >= self.chunk_size:
                    await self._write()
                await self._tell()
                failure = speed.add(len(piece))
                if failure is not None:
                    break
        except HTTPRequestError as exc:
            failure = exc
        await self._write()
        if failure is not None:
            return failure
        if self.total is not None and self.received != self.total:
            problem = f"{self.received} bytes came, of {self.total} that were declared"
            await self._forget()
            return self._failure(problem)
        return await self._check_content()

    async def _check_content(self) -> HTTPRequestError | None:
        actual = "" if self.digest is None else self.digest.hexdigest()
        if actual == self.expected:
            return None
        call = self.call
        if self.resumed:
            # Perhaps the parts do not belong together; the whole in one piece would.
            self.resumed = 0
            await self._forget()
            return self._failure(f"the {self.algorithm} of the resumed content is {actual}")
        raise ChecksumError(call.method, str(call.shown), call.attempts, self.algorithm, self.expected, actual)

    async def _write(self) -> None:
        if self.pieces:
            pieces, self.pieces = self.pieces, []
            await call_sync(self._write_pieces, pieces, abandon_after=GRACE_SECONDS)
            self.received += self.waiting
            _bytes(self.waiting)
            self.waiting = 0

    def _write_pieces(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            with naming(self.file.path):
                self.file.stream.write(piece)
            if self.digest is not None:
                self.digest.update(piece)

    async def _tell(self) -> None:
        if self.progress is not None:
            answer = self.progress(self.received + self.waiting, self.total)
            if inspect.isawaitable(answer):
                await answer


class _Speed:
    """Finds a server that sends just enough to never be silent for too long."""

    def __init__(self, call: Call, min_rate: float) -> None:
        self._call = call
        self._window = call.timeout
        self._least = 0.0 if call.timeout is None else min_rate * call.timeout
        self._began = anyio.current_time()
        self._bytes = 0

    def add(self, size: int) -> HTTPRequestError | None:
        """Count a piece; return the error if there were too few of them for too long."""
        self._bytes += size
        now = anyio.current_time()
        if self._window is None or now - self._began < self._window:
            return None
        seen, self._bytes, self._began = self._bytes, 0, now
        if seen >= self._least:
            return None
        call = self._call
        problem = f"only {seen} bytes came in {self._window:g} s"
        return TimedOut(call.method, str(call.shown), call.attempts, problem)
