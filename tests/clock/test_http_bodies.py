"""Bodies that come and go slowly, in virtual time. Files take part, and so do threads: the clock waits for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import httpx
import pytest
from trio.testing import MockClock

from sentrio.async_core.http import AsyncHTTPClient, RetryPolicy, async_download, async_upload
from sentrio.errors import HTTPTimeoutError


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0.05)}


async def pieces(count: int, size: int, gap: float) -> AsyncIterator[bytes]:
    for _ in range(count):
        await anyio.sleep(gap)
        yield b"x" * size


def serving(body: Callable[[], AsyncIterator[bytes]], length: int, **given: object) -> AsyncHTTPClient:
    """Return a client of a server whose body comes as it is told to."""

    async def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Length": str(length)}, content=body())

    return AsyncHTTPClient(
        given.pop("policy", RetryPolicy(max_retries=0)),  # type: ignore[arg-type]
        transport=httpx.MockTransport(handle),
        **given,  # type: ignore[arg-type]
    )


async def test_a_slow_server_is_given_up_and_a_steady_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "f"
    async with serving(lambda: pieces(8, 500_000, 5), 4_000_000, timeout=20) as client:  # takes two timeouts
        await async_download("http://h/steady", path, client)
    assert path.stat().st_size == 4_000_000
    async with serving(lambda: pieces(8, 5, 5), 40, timeout=20) as client:
        with pytest.raises(HTTPTimeoutError, match=r"only \d+ bytes came in 20 s"):
            await async_download("http://h/slow", path, client)
        assert path.stat().st_size == 4_000_000
        await async_download("http://h/slow", path, client, min_bytes_per_second=0)
    assert path.read_bytes() == b"x" * 40
    assert list(tmp_path.iterdir()) == [path]


async def test_each_piece_of_a_stream_has_the_timeout_and_the_reader_has_time() -> None:
    async with serving(lambda: pieces(10, 1, 25), 10, timeout=30) as client, client.stream("GET", "http://h/") as got:
        count = 0
        async for piece in got.aiter_bytes():
            if not count:
                await anyio.sleep(100)  # the reader is slow, not the server
            count += len(piece)
    assert count == 10
    async with serving(lambda: pieces(10, 1, 31), 10, timeout=30) as client, client.stream("GET", "http://h/") as got:
        with pytest.raises(HTTPTimeoutError, match=r"longer than 30 s"):
            await got.aread()
    policy = RetryPolicy(total_timeout=90)
    async with serving(lambda: pieces(10, 1, 25), 10, timeout=30, policy=policy) as client:
        with pytest.raises(HTTPTimeoutError, match=r"its total of 90 s ran out"):
            async with client.stream("GET", "http://h/") as got:
                await got.aread()


async def test_the_timeout_of_an_upload_is_for_each_piece() -> None:
    """The last one has it for the answer, too."""

    async def echo(request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        return httpx.Response(200, content=content)

    transport = httpx.MockTransport(echo)
    async with AsyncHTTPClient(timeout=30, transport=transport) as client:
        response = await async_upload("http://h/u", pieces(8, 10, 5), client)
        assert response.content == b"x" * 80
        with pytest.raises(HTTPTimeoutError, match=r"longer than 30 s"):
            await async_upload("http://h/u", pieces(2, 10, 31), client)
    async with AsyncHTTPClient(RetryPolicy(total_timeout=20), transport=transport) as client:
        with pytest.raises(HTTPTimeoutError, match=r"its total of 20 s ran out"):
            await async_upload("http://h/u", pieces(8, 10, 5), client)
