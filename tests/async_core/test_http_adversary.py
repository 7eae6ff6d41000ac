"""Every kind of call against every kind of bad server (issue point 5).

However the server behaves, a call ends within its total deadline: with an answer that is the caller's to judge,
or with an error that names URL (without credentials), attempt and cause. A file that was there has its old
content, or the whole new one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import httpx
import pytest
from tests.async_core._server import (
    Behaviour,
    Exchange,
    answer,
    break_off,
    chunked,
    hang_up,
    lie,
    serving,
    stall,
    trickle,
)

from sentrio.async_core.http import (
    AsyncHTTPClient,
    RetryPolicy,
    async_batch_requests,
    async_download,
    async_upload,
)
from sentrio.errors import HTTPRequestError, HTTPStatusError, HTTPTimeoutError

OLD = b"old content"
TOTAL = 0.2


async def _request(client: AsyncHTTPClient, url: str, path: Path) -> int:
    return (await client.get(url)).status_code


async def _stream(client: AsyncHTTPClient, url: str, path: Path) -> int:
    async with client.stream("GET", url) as response:
        async for _ in response.aiter_bytes():
            pass
    return response.status_code


async def _download(client: AsyncHTTPClient, url: str, path: Path) -> int:
    await async_download(url, path, client)
    return 200


async def _upload(client: AsyncHTTPClient, url: str, path: Path) -> int:
    source = path.with_name("source")
    source.write_bytes(b"x" * 100_000)
    return (await async_upload(url, source, client, method="PUT")).status_code


async def _batch(client: AsyncHTTPClient, url: str, path: Path) -> int:
    first, second = await async_batch_requests([url, url], client=client, return_exceptions=True)
    for outcome in (first, second):
        if isinstance(outcome, BaseException):
            raise outcome
    assert isinstance(second, httpx.Response)
    return second.status_code


Use = Callable[[AsyncHTTPClient, str, Path], Awaitable[int]]
USES: dict[str, Use] = {
    "request": _request,
    "stream": _stream,
    "download": _download,
    "upload": _upload,
    "batch": _batch,
}


@attrs.frozen
class Fault:
    make: Callable[[], Behaviour]
    cause: str = ""  #: what the error says
    status: int | None = None  #: what is answered, again and again
    endless: bool = False  #: only a deadline ends it


async def nonsense(exchange: Exchange) -> None:
    await exchange.stream.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    exchange.keep = False


FAULTS: dict[str, Fault] = {
    "stalls": Fault(stall, endless=True),
    "reads nothing": Fault(lambda: stall(read=False), endless=True),
    "trickles": Fault(lambda: trickle(b"x" * 1000, gap=0.01), endless=True),
    "stalls in the body": Fault(lambda: break_off(b"ab", 1, "stall"), endless=True),
    "resets": Fault(hang_up, "reset"),
    "resets in the body": Fault(lambda: break_off(b"ab", 1, "reset"), "reset"),
    "closes in the body": Fault(lambda: break_off(b"ab", 1, "close"), "incomplete|without"),
    "declares more": Fault(lambda: lie(b"abc", 5), "received 3 bytes, expected 5"),
    "forgets the end": Fault(lambda: chunked(b"ab", finish=False), "incomplete"),
    "is no web server": Fault(lambda: nonsense, "RemoteProtocolError"),
    "429": Fault(lambda: answer(429, b"slow down"), status=429),
    "429 for an hour": Fault(lambda: answer(429, Retry_After="3600"), status=429),
    "500": Fault(lambda: answer(500, b"oops"), status=500),
    "503": Fault(lambda: answer(503, Retry_After="0"), status=503),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("use", USES)
async def test_every_call_ends_within_its_total(use: str, fault: str, tmp_path: Path) -> None:
    bad = FAULTS[fault]
    path = tmp_path / "file"
    path.write_bytes(OLD)
    # Far above what the tries take, where something else than the deadline has to end them.
    total = TOTAL if bad.endless else 60
    policy = RetryPolicy(max_retries=1, backoff_factor=0.001, total_timeout=total)
    async with serving() as server, AsyncHTTPClient(policy) as client:
        server.on("/f", bad.make())
        outcome: Any
        with anyio.fail_after(20):
            try:
                outcome = await USES[use](client, server.url("/f?sig=hunter2", userinfo="me:hunter2"), path)
            except HTTPRequestError as exc:
                outcome = exc
        _judge(outcome, bad, use, f"{server.url('/f')}?sig=[...]")
        assert client.statistics().in_use == 0
        # Whatever it met, it serves the next one.
        client.retry_policy = RetryPolicy()  # without the short total
        assert (await client.get(server.on("/well", answer(200, b"fine")), timeout=30)).text == "fine"
    assert path.read_bytes() == OLD
    assert {entry.name for entry in tmp_path.iterdir()} <= {"file", "source"}


def _judge(outcome: Any, bad: Fault, use: str, shown: str) -> None:
    if bad.status is not None and use not in ("stream", "download"):
        assert outcome == bad.status  # a response is the caller's to judge
        return
    assert isinstance(outcome, HTTPRequestError)
    assert "hunter2" not in str(outcome)
    assert re.match(rf"(GET|PUT) {re.escape(shown)} failed at attempt [12]: \w", str(outcome))
    if bad.endless:
        assert isinstance(outcome, HTTPTimeoutError)
        assert f"its total of {TOTAL:g} s ran out" in str(outcome)
    elif bad.status is not None:
        assert isinstance(outcome, HTTPStatusError)
        assert outcome.status == bad.status
    else:
        assert re.search(bad.cause, str(outcome))


@pytest.mark.parametrize("use", USES)
async def test_a_server_that_says_too_much_is_not_believed(use: str, tmp_path: Path) -> None:
    """What comes after the declared length belongs to no answer, and to no next one either."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    policy = RetryPolicy(max_retries=1, backoff_factor=0.001, total_timeout=30)
    async with serving() as server, AsyncHTTPClient(policy) as client:
        url = server.on("/f", lie(b"0123456789", 4))
        assert await USES[use](client, url, path) == 200
        assert path.read_bytes() == (b"0123" if use == "download" else OLD)
        assert (await client.get(server.on("/well", answer(200, b"fine")))).text == "fine"
