from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.async_core._server import (
    Exchange,
    Server,
    answer,
    echo,
    hang_up,
    serving,
    serving_elsewhere,
    stall,
)

from sentrio.async_core.circuit import CircuitBreaker, CircuitState
from sentrio.async_core.http import AsyncHTTPClient, RetryPolicy, async_upload
from sentrio.errors import HTTPRequestError, HTTPTimeoutError, SourceError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere

QUICK = RetryPolicy(backoff_factor=0.001)
CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / 'odd "name".bin'
    path.write_bytes(CONTENT)
    return path


async def pieces() -> AsyncIterator[bytes]:
    yield b"abc"
    yield b""
    yield b"def"


async def test_sends_files_bytes_and_streams(source: Path) -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/u", echo)
        for content in (source, str(source), CONTENT, bytearray(CONTENT), memoryview(CONTENT)):
            response = await async_upload(url, content, client)
            assert response.content == CONTENT
            headers = server.requests[-1].headers
            assert (headers["content-length"], "transfer-encoding" in headers) == (str(len(CONTENT)), False)
            assert server.requests[-1].method == "POST"
        assert (await async_upload(url, pieces(), client, method="put")).content == b"abcdef"
        assert server.requests[-1].headers["transfer-encoding"] == "chunked"
        assert server.requests[-1].method == "PUT"
        assert (await async_upload(url, b"", client)).content == b""
        assert (await async_upload(url, b"own client")).content == b"own client"
        assert (await async_upload(server.url("/none"), b"x", client)).status_code == 404


async def test_sends_a_form(source: Path) -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/u", echo)
        body = (await async_upload(url, source, client, field="data")).content
        kind = server.requests[0].headers["content-type"]
        boundary = kind.removeprefix("multipart/form-data; boundary=").encode()
        head, rest = body.split(b"\r\n\r\n", 1)
        assert head.splitlines() == [
            b"--" + boundary,
            b'Content-Disposition: form-data; name="data"; filename="odd %22name%22.bin"',
            b"Content-Type: application/octet-stream",
        ]
        assert rest == CONTENT + b"\r\n--" + boundary + b"--\r\n"
        body = (await async_upload(url, pieces(), client, field="data", filename="x")).content
        assert b'filename="x"' in body
        assert b"\r\n\r\nabcdef\r\n--" in body


async def test_reads_a_file_piece_by_piece(source: Path) -> None:
    sizes: list[int] = []

    async def take(exchange: Exchange) -> None:
        sizes.extend([len(piece) async for piece in exchange.chunks()])
        await exchange.answer(200)

    seen: list[tuple[int, int | None]] = []
    async with serving() as server, AsyncHTTPClient() as client:
        await async_upload(
            server.on("/u", take),
            source,
            client,
            chunk_size=100_000,
            progress=lambda sent, total: seen.append((sent, total)),
        )
    assert sum(sizes) == len(CONTENT)
    assert seen == [(min(n * 100_000, len(CONTENT)), len(CONTENT)) for n in range(1, 12)]


async def test_is_tried_again_if_method_and_source_allow(source: Path) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/u", answer(503), hang_up(), echo)
        assert (await async_upload(url, source, client, method="PUT")).content == CONTENT
        assert server.count("/u") == 3
        url = server.on("/post", answer(503))
        assert (await async_upload(url, source, client)).status_code == 503
        assert server.count("/post") == 1
        url = server.on("/once", answer(503))
        assert (await async_upload(url, pieces(), client, method="PUT")).status_code == 503
        assert server.count("/once") == 1


async def test_a_server_that_does_not_answer_or_read_is_given_up() -> None:
    async with serving() as server, AsyncHTTPClient(QUICK, timeout=0.3) as client:
        for behaviour in (stall(), stall(read=False)):
            with pytest.raises(HTTPTimeoutError, match=r"POST .*/s failed at attempt 1: .* longer than 0\.3 s"):
                await async_upload(server.on("/s", behaviour), b"x" * 30_000_000, client)
        assert client.statistics().in_use == 0


async def test_a_server_that_hangs_up_in_the_middle_is_named(source: Path) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.buffer.receive(1000)
        await exchange.reset()

    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        with pytest.raises(
            HTTPRequestError,
            match=r"POST http.*/u\?k=\[\.\.\.\] failed at attempt 1: (Read|Write|RemoteProtocol)Error",
        ):
            await async_upload(server.on("/u", cut) + "?k=hunter2", CONTENT * 20, client)
        assert client.statistics().in_use == 0


@pytest.mark.parametrize("change", [b"", CONTENT + b"more"])
async def test_a_file_that_changes_its_size_is_an_error_of_the_source(source: Path, change: bytes) -> None:
    def progress(sent: int, total: int | None) -> None:
        if sent == 200_000:
            source.write_bytes(change)

    breaker = CircuitBreaker(failure_threshold=1)
    async with serving() as server, AsyncHTTPClient(QUICK, breaker) as client:
        with pytest.raises(SourceError, match="had 1024000 bytes when its upload began, and has changed"):
            await async_upload(server.on("/u", echo), source, client, chunk_size=200_000, progress=progress)
        assert breaker.state is CircuitState.CLOSED


async def test_errors_of_source_and_progress_are_their_own(source: Path) -> None:
    closed = False

    async def broken() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            yield b"abc"
            raise KeyError("source")
        finally:
            closed = True

    def progress(sent: int, total: int | None) -> None:
        raise KeyError("progress")

    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/u", echo)
        with pytest.raises(KeyError, match="source"):
            await async_upload(url, broken(), client)
        assert closed
        with pytest.raises(KeyError, match="progress"):
            await async_upload(url, source, client, progress=progress)
        with pytest.raises(FileNotFoundError):
            await async_upload(url, source.parent / "missing", client)


async def test_closes_a_generator_that_the_server_does_not_read_to_its_end() -> None:
    closed = False

    async def endless() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed = True

    async def enough(exchange: Exchange) -> None:
        exchange.keep = False
        await exchange.stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await exchange.stream.aclose()

    async with serving() as server, AsyncHTTPClient(QUICK, timeout=5) as client:
        with suppress(httpx.NetworkError, httpx.RemoteProtocolError):  # it may have seen the answer, or not
            await async_upload(server.on("/u", enough), endless(), client)
        assert closed


@pytest.mark.parametrize(
    ("source", "options", "problem"),
    [
        (3, {}, "source must be a path, bytes, or an async iterable of bytes, got 3"),
        ([b"x"], {}, "source must be"),
        (b"x", {"content": b"y"}, "takes no content"),
        (b"x", {"json": {}}, "takes no json"),
        (b"x", {"heders": {}}, "did you mean 'headers'"),
    ],
)
async def test_refuses_what_it_can_not_use(source: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem) as caught:
        await async_upload("http://127.0.0.1:1/", source, **options)
    assert isinstance(caught.value, UnknownOptionError) is ("heders" in options)


async def test_refuses_values_out_of_range() -> None:
    with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
        await async_upload("http://127.0.0.1:1/", b"", chunk_size=0)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Server]:
    with serving_elsewhere() as server:
        yield server


@pytest.mark.parametrize("case", ["file", "stream", "again"])
def test_cancelled_anywhere_it_leaves_nothing(backend: Backend, elsewhere: Server, tmp_path: Path, case: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(CONTENT[:30_000])

    async def operation() -> None:
        async with AsyncHTTPClient(QUICK) as client:
            if case == "stream":
                await async_upload(elsewhere.on("/u", echo), pieces(), client)
            else:
                behaviours = (answer(503), echo) if case == "again" else (echo,)
                url = elsewhere.on("/u", *behaviours)
                await async_upload(url, path, client, method="PUT", chunk_size=20_000)

    report = cancel_everywhere(operation, backend=backend, allow_abandoned=True)
    assert report.points > 8
