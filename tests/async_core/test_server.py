"""The server that the other tests trust, seen through a plain httpx client."""

from __future__ import annotations

import anyio
import httpx
import pytest
from tests.async_core._server import (
    File,
    answer,
    break_off,
    chunked,
    echo,
    hang_up,
    lie,
    serving,
    stall,
    trickle,
)


async def test_answers_counts_and_keeps_connections() -> None:
    async with serving() as server, httpx.AsyncClient() as client:
        url = server.on("/a", answer(503, Retry_After="2"), answer(200, b"fine"))
        first = await client.get(url)
        assert (first.status_code, first.headers["retry-after"]) == (503, "2")
        assert [(await client.get(url + "?q=1")).text for _ in range(2)] == ["fine", "fine"]
        assert (await client.get(server.url("/else"))).status_code == 404
        assert (server.count("/a"), server.count(), server.connections) == (3, 4, 1)
        assert (await client.head(url)).headers["content-length"] == "4"


async def test_reads_bodies() -> None:
    async def pieces() -> object:
        yield b"a" * 70_000
        yield b"b"

    async with serving() as server, httpx.AsyncClient() as client:
        url = server.on("/echo", echo)
        assert (await client.post(url, content=b"x" * 200_000)).content == b"x" * 200_000
        assert (await client.post(url, content=pieces())).content == b"a" * 70_000 + b"b"  # type: ignore[arg-type]
        assert server.connections == 1


async def test_misbehaves() -> None:
    async with serving() as server, httpx.AsyncClient(timeout=60) as client:
        hasty = httpx.Timeout(60, read=0.3)
        with pytest.raises(httpx.ReadTimeout):
            await client.get(server.on("/stall", stall()), timeout=hasty)
        with pytest.raises(httpx.ReadTimeout):
            await client.get(server.on("/half", break_off(b"abcd", 2, "stall")), timeout=hasty)
        with pytest.raises(httpx.ReadError):
            await client.get(server.on("/reset", break_off(b"abcd", 2, "reset")))
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.on("/close", break_off(b"abcd", 2, "close")))
        with pytest.raises(httpx.ReadError):
            await client.get(server.on("/gone", hang_up()))
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.on("/long", lie(b"abcd", 6)))
        assert (await client.get(server.on("/short", lie(b"abcd", 2)))).content == b"ab"
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.on("/chunks", chunked(b"ab", finish=False)))
        assert (await client.get(server.on("/whole", chunked(b"ab", b"c")))).content == b"abc"
        slow = await client.get(server.on("/trickle", trickle(b"abcdefgh", gap=0.05)))  # 0.4 s in all
        assert slow.content == b"abcdefgh"


async def test_serves_ranges() -> None:
    async with serving() as server, httpx.AsyncClient() as client:
        url = server.on("/f", File(b"0123456789", drops=[3]))
        with pytest.raises(httpx.ReadError):
            await client.get(url)
        part = await client.get(url, headers={"Range": "bytes=3-", "If-Range": '"v1"'})
        assert (part.status_code, part.content) == (206, b"3456789")
        assert part.headers["content-range"] == "bytes 3-9/10"
        other = await client.get(url, headers={"Range": "bytes=3-", "If-Range": '"v2"'})
        assert (other.status_code, other.content) == (200, b"0123456789")
        assert (await client.get(url, headers={"Range": "bytes=10-"})).status_code == 416


async def test_ends_with_its_block() -> None:
    async with serving() as server, anyio.create_task_group() as tg:

        async def asking() -> None:
            async with httpx.AsyncClient() as client:
                await client.get(server.on("/stall", stall()))

        tg.start_soon(asking)
        await anyio.wait_all_tasks_blocked()
        tg.cancel_scope.cancel()
    with pytest.raises(OSError, match=r"\w"):
        await anyio.connect_tcp(server.host, server.port)
