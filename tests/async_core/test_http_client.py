from __future__ import annotations

import base64
import gc
import gzip
import logging
import pickle
import subprocess
import sys
import typing
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.async_core._moments import cancelled_when, until
from tests.async_core._server import (
    Behaviour,
    Exchange,
    File,
    Server,
    answer,
    break_off,
    chunked,
    echo,
    hang_up,
    lie,
    serving,
    serving_elsewhere,
    stall,
    trickle,
)

from sentrio.async_core.circuit import CircuitBreaker, CircuitState
from sentrio.async_core.http import (
    AsyncHTTPClient,
    DownloadResult,
    HTTPStatistics,
    RetryPolicy,
    async_download,
    async_upload,
)
from sentrio.errors import (
    CircuitOpenError,
    HTTPRequestError,
    HTTPStatusError,
    HTTPTimeoutError,
    UnknownOptionError,
)
from sentrio.testing import Backend, cancel_everywhere

NO_RETRY = RetryPolicy(max_retries=0)
QUICK = RetryPolicy(backoff_factor=0.001)


def state_of(breaker: CircuitBreaker) -> CircuitState:
    return breaker.state


# --- Requests


async def test_sends_every_method_and_returns_httpx_responses() -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def record(exchange: Exchange) -> None:
        seen.append((exchange.method, exchange.target, await exchange.read()))
        await exchange.answer(200, b'{"a": 1}')

    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/x", record)
        assert (await client.get(url, params={"q": "1"})).json() == {"a": 1}
        await client.post(url, json={"b": 2})
        await client.put(url, content=b"c")
        await client.patch(url, data={"d": "4"})
        await client.delete(url)
        head = await client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        await client.request("options", url)
        assert server.connections == 1
    assert seen == [
        ("GET", "/x?q=1", b""),
        ("POST", "/x", b'{"b":2}'),
        ("PUT", "/x", b"c"),
        ("PATCH", "/x", b"d=4"),
        ("DELETE", "/x", b""),
        ("HEAD", "/x", b""),
        ("OPTIONS", "/x", b""),
    ]


async def test_error_statuses_are_returned() -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        response = await client.get(server.on("/missing", answer(404, b"no")))
        assert (response.status_code, response.text) == (404, "no")
        assert server.count() == 1
        with pytest.raises(httpx.HTTPStatusError):
            response.raise_for_status()


async def test_has_a_base_url_headers_cookies_and_credentials() -> None:
    async with serving() as server:
        server.on("/api/x", echo)
        async with AsyncHTTPClient(
            base_url=server.url("/api/"), headers={"X-A": "1"}, cookies={"c": "2"}, auth=("u", "p")
        ) as client:
            await client.get("x", headers={"X-B": "3"})
    headers = server.requests[0].headers
    assert (headers["x-a"], headers["x-b"], headers["cookie"]) == ("1", "3", "c=2")
    assert headers["authorization"].startswith("Basic ")


async def test_follows_redirects_when_told_to() -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        server.on("/end", answer(200, b"here"))
        url = server.on("/start", answer(302, Location="/end"))
        assert (await client.get(url)).status_code == 302
        response = await client.get(url, follow_redirects=True)
        assert response.text == "here"
        assert [hop.status_code for hop in response.history] == [302]
        loop = server.on("/loop", answer(302, Location="/loop"))
        with pytest.raises(HTTPRequestError, match="TooManyRedirects") as caught:
            await client.get(loop, follow_redirects=True)
        assert isinstance(caught.value, httpx.RequestError)


async def test_shares_one_pool_and_respects_its_size() -> None:
    running = peak = 0

    async def slow(exchange: Exchange) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await until(lambda: peak >= 3)
        await anyio.sleep(0.01)  # for a fourth one, if there were any
        running -= 1
        await exchange.answer(200)

    async with serving() as server, AsyncHTTPClient(max_connections=3) as client:
        url = server.on("/slow", slow)
        async with anyio.create_task_group() as tg:
            for _ in range(12):
                tg.start_soon(client.get, url)
        assert (peak, server.connections) == (3, 3)
        assert client.statistics().in_use == 0


async def test_waiting_for_a_connection_has_a_limit_and_blames_nobody() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    async with serving() as server, AsyncHTTPClient(QUICK, breaker, 0.1, 1) as client:
        url = server.on("/body", trickle(b"abc", gap=0.03))
        async with client.stream("GET", url, timeout=60):
            with pytest.raises(HTTPTimeoutError, match=r"all 1 connections of the client were in use") as caught:
                await client.get(server.url("/other"))
        assert isinstance(caught.value, httpx.PoolTimeout)
        assert state_of(breaker) is CircuitState.CLOSED
        assert server.count("/other") == 0
        assert (await client.get(server.url("/other"), timeout=60)).status_code == 404


async def test_no_time_at_all_is_not_blamed_on_connections_that_are_free() -> None:
    async with serving() as server, AsyncHTTPClient(RetryPolicy(total_timeout=1e-9), max_connections=2) as client:
        with pytest.raises(HTTPTimeoutError, match=r"failed at attempt 1: its total of 1e-09 s ran out"):
            await client.get(server.on("/", answer(200)))
        assert client.statistics().in_use == 0


async def test_is_used_in_a_with_block() -> None:
    client = AsyncHTTPClient()
    with pytest.raises(RuntimeError, match="async with AsyncHTTPClient"):
        await client.get("http://127.0.0.1/")
    for _ in range(2):  # it may be opened again
        async with client:
            with pytest.raises(RuntimeError, match="open already"):
                await client.__aenter__()


def test_goes_from_one_event_loop_to_the_next(backend: Backend) -> None:
    client = AsyncHTTPClient()

    async def main() -> str:
        async with serving() as server, client:
            return (await client.get(server.on("/", answer(200, b"fine")))).text

    name = "trio" if backend == "trio" else "asyncio"
    assert [anyio.run(main, backend=name) for _ in range(2)] == ["fine", "fine"]


# --- Retries (PEERS B3a, B3b)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_retries_as_shipped(status: int) -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/", answer(status, Retry_After="0"), answer(200, b"ok"))
        assert (await client.get(url)).text == "ok"
        assert server.count() == 2


async def test_returns_the_last_response_when_its_tries_are_used_up() -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        response = await client.get(server.on("/", answer(503, b"busy")))
        assert (response.status_code, response.text, server.count()) == (503, b"busy".decode(), 4)


async def test_waits_longer_and_longer_with_jitter_up_to_a_cap() -> None:
    policy = RetryPolicy(max_retries=4, backoff_factor=0.04, max_delay=0.1, jitter=0.5)
    async with serving() as server, AsyncHTTPClient(policy, circuit_breaker=False) as client:
        await client.get(server.on("/", answer(503)))
        gaps = server.gaps("/")
    lowest = [0.02, 0.04, 0.05, 0.05]  # half of 0.04, 0.08, and of the cap
    assert all(gap >= least for gap, least in zip(gaps, lowest, strict=True))
    assert sorted(gaps)[2] < 0.4


async def test_posts_are_sent_once_unless_the_policy_says_so() -> None:
    async with serving() as server:
        url = server.on("/", answer(503))
        async with AsyncHTTPClient(QUICK) as client:
            for method in ("POST", "PATCH"):
                assert (await client.request(method, url, content=b"x")).status_code == 503
        assert server.count() == 2
        insistent = RetryPolicy(backoff_factor=0.001, retry_methods=["post"])
        async with AsyncHTTPClient(insistent) as client:
            url = server.on("/again", answer(503), echo)
            assert (await client.post(url, content=b"x")).content == b"x"


async def test_bodies_that_can_be_sent_again_are() -> None:
    class Pieces:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

    async def once() -> AsyncIterator[bytes]:
        yield b"ab"

    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/a", answer(503), echo)
        assert (await client.put(url, content=Pieces())).content == b"ab"
        server.on("/a", answer(503), echo)
        assert (await client.put(url, files={"f": b"ab"})).status_code == 200
        url = server.on("/b", answer(503), echo)
        assert (await client.put(url, content=once())).status_code == 503  # it is used up
        assert server.count("/b") == 1


async def test_an_error_of_the_body_is_the_callers_own() -> None:
    breaker = CircuitBreaker(failure_threshold=1)

    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise OSError("the disk is gone")

    async with serving() as server, AsyncHTTPClient(QUICK, breaker) as client:
        with pytest.raises(OSError, match="the disk is gone"):
            await client.put(server.on("/", echo), content=broken())
        assert state_of(breaker) is CircuitState.CLOSED
        assert client.statistics().in_use == 0


@pytest.mark.parametrize(("with_date", "least"), [(False, 0.9), (True, 0.9)])
async def test_retry_after_wins(with_date: bool, least: float) -> None:
    async def busy(exchange: Exchange) -> None:
        # The server's clock is a day late, so the date means something only beside its own.
        now = datetime.now(UTC) - timedelta(days=1)
        headers = {"Retry-After": "1"}
        if with_date:
            headers = {
                "Date": format_datetime(now, usegmt=True),
                "Retry-After": format_datetime(now + timedelta(seconds=1), usegmt=True),
            }
        await exchange.start(503, {"Content-Length": "0", **headers})

    policy = RetryPolicy(backoff_factor=0.001, max_delay=0.01)
    async with serving() as server, AsyncHTTPClient(policy) as client:
        assert (await client.get(server.on("/", busy, answer(200)))).status_code == 200
        assert least <= server.gaps("/")[0] < 3


async def test_does_not_wait_beyond_its_total() -> None:
    policy = RetryPolicy(total_timeout=5)
    async with serving() as server, AsyncHTTPClient(policy) as client:
        with anyio.fail_after(25):
            response = await client.get(server.on("/", answer(429, Retry_After="30")))
        assert (response.status_code, server.count()) == (429, 1)
    async with serving() as server, AsyncHTTPClient() as client:  # no total: but not a day either
        with anyio.fail_after(60):
            response = await client.get(server.on("/", answer(429, Retry_After="86400")))
        assert (response.status_code, server.count()) == (429, 1)


@pytest.mark.parametrize(
    "behaviour",
    [stall(), trickle(b"x" * 1000, gap=0.02), break_off(b"x" * 10, 5, "stall")],
    ids=["stall", "trickle", "stall in the body"],
)
async def test_its_total_bounds_everything(behaviour: Behaviour) -> None:
    policy = RetryPolicy(backoff_factor=0.01, total_timeout=0.9)
    async with serving() as server, AsyncHTTPClient(policy, timeout=0.5) as client:
        with anyio.fail_after(15):  # the trickle takes 20 s
            began = anyio.current_time()
            # On a busy machine the first try may take all the time there is.
            with pytest.raises(HTTPTimeoutError, match=r"attempt [12]: its total of 0\.9 s ran out"):
                await client.get(server.on("/", behaviour))
            assert anyio.current_time() - began > 0.89


async def test_its_timeout_bounds_a_whole_try() -> None:
    async with serving() as server, AsyncHTTPClient(NO_RETRY, timeout=0.2) as client:
        url = server.on("/", trickle(b"x" * 1000, gap=0.02))
        with pytest.raises(HTTPTimeoutError, match=r"attempt 1: .* took longer than 0\.2 s"):
            await client.get(url)
        with pytest.raises(HTTPTimeoutError, match=r"longer than 0\.05 s"):
            await client.get(url, timeout=0.05)
        with pytest.raises(HTTPTimeoutError):
            await client.post(server.on("/full", stall(read=False)), content=b"x" * 30_000_000)


# --- Misbehaving servers (issue point 5)

MISBEHAVIOUR: dict[str, tuple[Callable[[], Behaviour], str, type[Exception]]] = {
    "stalls": (stall, "took longer than", httpx.TimeoutException),
    "trickles": (lambda: trickle(b"x" * 1000, gap=0.02), "took longer than", httpx.TimeoutException),
    "stalls in the body": (lambda: break_off(b"ab", 1, "stall"), "took longer", httpx.TimeoutException),
    "resets": (lambda: hang_up("reset"), "ReadError: .*reset", httpx.NetworkError),
    "hangs up": (lambda: hang_up("close"), "RemoteProtocolError: .*disconnect", httpx.RemoteProtocolError),
    "resets in the body": (lambda: break_off(b"ab", 1, "reset"), "ReadError: .*reset", httpx.NetworkError),
    "breaks off": (lambda: break_off(b"ab", 1, "close"), "incomplete|without", httpx.RemoteProtocolError),
    "promises more": (lambda: lie(b"abc", 5), "received 3 bytes, expected 5", httpx.RemoteProtocolError),
    "forgets the end": (lambda: chunked(b"ab", finish=False), "incomplete", httpx.RemoteProtocolError),
    "talks nonsense": (lambda: nonsense, "RemoteProtocolError", httpx.RemoteProtocolError),
}


async def nonsense(exchange: Exchange) -> None:
    await exchange.stream.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    exchange.keep = False


@pytest.mark.parametrize("name", list(MISBEHAVIOUR))
async def test_every_misbehaviour_ends_in_time_with_an_error_that_says_so(name: str) -> None:
    behaviour, cause, native = MISBEHAVIOUR[name]
    policy = RetryPolicy(max_retries=1, backoff_factor=0.001)
    timeout = 0.5 if native is httpx.TimeoutException else 60
    async with serving() as server, AsyncHTTPClient(policy, timeout=timeout) as client:
        server.on("/data", behaviour())
        with anyio.fail_after(30):
            with pytest.raises(HTTPRequestError, match=cause) as caught:
                await client.get(server.url("/data?token=hunter2&page=3", userinfo="me:hunter2"))
        error = caught.value
        assert isinstance(error, native)
        shown = f"{server.url('/data')}?token=[...]&page=[...]"
        assert str(error).startswith(f"GET {shown} failed at attempt 2: ")
        assert (error.method, error.url, error.attempts) == ("GET", shown, 2)
        # On a busy machine a try may take all its time before it has come to the server.
        assert server.count() in ({0, 1, 2} if native is httpx.TimeoutException else {2})
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
        assert (type(again), str(again)) == (type(error), str(error))
        # And the client is as good as new.
        assert client.statistics().in_use == 0
        assert (await client.get(server.on("/well", answer(200, b"fine")), timeout=60)).text == "fine"


async def test_a_server_that_is_not_there() -> None:
    async with serving() as server:
        pass
    async with AsyncHTTPClient(QUICK) as client:
        with pytest.raises(HTTPRequestError, match=r"at attempt 4: ConnectError: .*onnect") as caught:
            await client.get(server.url("/"))
        assert isinstance(caught.value, httpx.NetworkError)
        assert isinstance(caught.value.__cause__, httpx.ConnectError)


async def test_takes_pythons_own_classes_in_a_policy() -> None:
    async with serving() as server:
        for kind, expected in ((TimeoutError, 4), (ConnectionError, 1), (httpx.ReadTimeout, 1)):
            policy = RetryPolicy(backoff_factor=0.001, retry_exceptions=(kind,))
            async with AsyncHTTPClient(policy, timeout=0.3) as client:
                path = f"/{kind.__name__}"
                with pytest.raises(HTTPTimeoutError) as caught:
                    await client.get(server.on(path, stall()))
                assert caught.value.attempts == expected


# --- Circuit breakers (PEERS B2c)


async def test_keeps_one_breaker_for_each_host() -> None:
    async with serving() as bad, serving() as good, AsyncHTTPClient(NO_RETRY, timeout=0.2) as client:
        bad.on("/", stall())
        good.on("/", answer(200))
        for _ in range(5):
            with pytest.raises(HTTPTimeoutError):
                await client.get(bad.url("/"))
        with pytest.raises(CircuitOpenError, match=rf"GET {bad.url('/')} failed at attempt 1: the circuit") as caught:
            await client.get(bad.url("/"))
        assert isinstance(caught.value, HTTPRequestError)
        assert pickle.loads(pickle.dumps(caught.value)).circuit == f"127.0.0.1:{bad.port}"  # noqa: S301
        assert bad.count() <= 5
        assert (await client.get(good.url("/"), timeout=60)).status_code == 200


@pytest.mark.parametrize(
    ("behaviour", "counts", "is_silent"),
    [
        (answer(500), True, False),
        (answer(503), True, False),
        (hang_up(), True, False),
        (stall(), True, True),
        (answer(404), False, False),
        (answer(429), False, False),
        (answer(200), False, False),
    ],
    ids=["500", "503", "hang up", "stall", "404", "429", "200"],
)
async def test_counts_what_says_something_about_the_server(
    behaviour: Behaviour, counts: bool, is_silent: bool
) -> None:
    breaker = CircuitBreaker(failure_threshold=2)
    timeout = 0.4 if is_silent else 60
    async with serving() as server, AsyncHTTPClient(NO_RETRY, breaker, timeout=timeout) as client:
        url = server.on("/", behaviour)
        for _ in range(2):
            with suppress(HTTPRequestError):
                await client.get(url)
        assert state_of(breaker) is (CircuitState.OPEN if counts else CircuitState.CLOSED)


async def test_a_cancelled_request_does_not_count() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    async with serving() as server, AsyncHTTPClient(NO_RETRY, breaker) as client:
        async with cancelled_when(lambda: until(server.count)):
            await client.get(server.on("/", stall()))
        assert state_of(breaker) is CircuitState.CLOSED
        assert client.statistics().in_use == 0


async def test_stops_trying_once_the_circuit_is_open() -> None:
    async with serving() as server, AsyncHTTPClient(QUICK, CircuitBreaker(failure_threshold=2)) as client:
        response = await client.get(server.on("/", answer(503, b"busy")))
        assert (response.status_code, response.text, server.count()) == (503, "busy", 2)
        with pytest.raises(CircuitOpenError):
            await client.get(server.url("/"))


async def test_what_it_met_counts_when_the_circuit_opens_while_it_waits() -> None:
    breaker = CircuitBreaker(failure_threshold=3)
    policy = RetryPolicy(backoff_factor=0.5)
    async with serving() as server, AsyncHTTPClient(policy, breaker) as client:
        url = server.on("/", answer(503, b"busy"))
        stalled = server.on("/gone", hang_up())
        outcomes: list[object] = []

        async def one(target: str) -> None:
            try:
                outcomes.append((await client.get(target)).status_code)
            except HTTPRequestError as exc:
                outcomes.append(type(exc).__name__)

        async with anyio.create_task_group() as tg:
            tg.start_soon(one, url)
            tg.start_soon(one, stalled)
            while breaker.statistics().failures < 2:
                await anyio.sleep(0.005)
            breaker.attempt().failed()
            assert state_of(breaker) is CircuitState.OPEN
        assert sorted(map(str, outcomes)) == ["503", "NetworkFailed"]
        assert server.count() == 2


async def test_half_open_sends_one_probe() -> None:
    breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=0)
    async with serving() as server, AsyncHTTPClient(NO_RETRY, breaker) as client:
        await client.get(server.on("/bad", answer(500)))
        url = server.on("/slow", trickle(b"abc", gap=0.02))
        outcomes: list[str] = []

        async def one() -> None:
            try:
                outcomes.append((await client.get(url)).text)
            except CircuitOpenError:
                outcomes.append("refused")

        async with anyio.create_task_group() as tg:
            for _ in range(50):
                tg.start_soon(one)
        assert sorted(outcomes) == ["abc"] + ["refused"] * 49
        assert server.count("/slow") == 1


async def test_without_a_breaker_nothing_is_refused() -> None:
    async with serving() as server, AsyncHTTPClient(NO_RETRY, False) as client:
        url = server.on("/", answer(500))
        for _ in range(20):
            assert (await client.get(url)).status_code == 500


async def test_drops_breakers_of_hosts_that_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentrio.async_core._http_client._BREAKERS_KEPT", 3)
    transport = httpx.MockTransport(lambda request: httpx.Response(500 if request.url.host == "ill" else 200))
    async with AsyncHTTPClient(NO_RETRY, transport=transport) as client:
        await client.get("http://ill/")
        for number in range(20):
            await client.get(f"http://host{number}/")
        assert "ill" in client._breakers
        assert len(client._breakers) <= 3


# --- Streams (PEERS B3c)


async def test_streams_a_body() -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/", chunked(b"ab", b"cd\nef"))
        async with client.stream("GET", url) as response:
            assert response.status_code == 200
            assert b"".join([piece async for piece in response.aiter_bytes()]) == b"abcd\nef"
        async with client.stream("GET", url) as response:
            assert [line async for line in response.aiter_lines()] == ["abcd", "ef"]
        async with client.stream("GET", url) as response:
            assert await response.aread() == b"abcd\nef"
        assert server.connections == 1
        assert client.statistics().in_use == 0


@pytest.mark.parametrize("status", [404, 500])
async def test_a_stream_of_an_error_page_is_an_error(status: int) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/", answer(status, b"sorry"))
        with pytest.raises(HTTPStatusError, match=f"the server answered {status}") as caught:
            async with client.stream("GET", url):
                pytest.fail("opened")
        assert isinstance(caught.value, httpx.HTTPStatusError)
        assert caught.value.response.status_code == caught.value.status == status
        assert server.count() == (4 if status == 500 else 1)
        assert caught.value.attempts == server.count()
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own bytes
        assert (str(again), again.status) == (str(caught.value), status)


async def test_opening_a_stream_is_retried() -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/", answer(503), hang_up(), answer(200, b"ok"))
        async with client.stream("GET", url) as response:
            assert await response.aread() == b"ok"
        assert server.count() == 3


async def read_stream(client: AsyncHTTPClient, url: str, into: bytearray) -> None:
    async with client.stream("GET", url) as response:
        async for piece in response.aiter_bytes():
            into += piece


@pytest.mark.parametrize("host", ["xn--a", "a" * 64])
async def test_a_host_that_is_no_name_is_our_error_where_a_server_redirects_to_it(host: str) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK, follow_redirects=True) as client:
        url = server.on("/", answer(302, Location=f"http://{host}/?sig=hunter2"))
        with pytest.raises(HTTPRequestError, match=r"GET http://127.* failed at attempt \d: ") as caught:
            await client.get(url)
        assert "hunter2" not in str(caught.value)
        assert client.statistics().in_use == 0
        with pytest.raises(ValueError, match="no usable URL .*: Invalid IDNA hostname"):
            await client.get("http://xn--a/")


@pytest.mark.parametrize("use", ["request", "stream"])
async def test_a_body_that_can_not_be_decoded_is_our_error_and_leaves_no_iterator(use: str) -> None:
    async def get(client: AsyncHTTPClient, url: str) -> None:
        await (client.get(url) if use == "request" else read_stream(client, url, bytearray()))

    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/", File(b"this is no gzip" * 9, headers={"Content-Encoding": "gzip"}))
        with pytest.raises(HTTPRequestError, match=r"GET http.* failed at attempt 1: DecodingError") as caught:
            await get(client, url)
        assert isinstance(caught.value.__cause__, httpx.DecodingError)
        assert client.statistics().in_use == 0
        del caught
        gc.collect()  # trio complains about generators that were left


@pytest.mark.parametrize("how", ["reset", "close", "stall"])
async def test_a_stream_that_breaks_off_says_so(how: str) -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    async with serving() as server, AsyncHTTPClient(QUICK, breaker, 0.5 if how == "stall" else 60) as client:
        server.on("/", break_off(b"abcdef", 3, how))
        received = bytearray()
        with pytest.raises(HTTPRequestError, match=r"GET http.*/\?token=\[\.\.\.\] failed at attempt 1: "):
            await read_stream(client, server.url("/?token=hunter2"), received)
        # Who resets a connection may be faster than what he has sent, and who waits may have waited for the first byte.
        assert received == b"abc" or (how != "close" and not received)
        assert state_of(breaker) is CircuitState.OPEN
        assert client.statistics().in_use == 0


async def fail_in_stream(client: AsyncHTTPClient, url: str, name: str) -> None:
    async with client.stream("GET", url) as response:
        async for _ in getattr(response, name)():
            raise KeyError("its own")


@pytest.mark.parametrize("name", ["aiter_bytes", "aiter_text", "aiter_lines", "aiter_raw"])
async def test_a_stream_may_be_left_at_any_point(name: str) -> None:
    # On trio this would warn of seven generators if they were left to the garbage collector.
    async with serving() as server, AsyncHTTPClient(max_connections=1) as client:
        url = server.on("/", trickle(b"line\n" * 2000, gap=0.001, size=100))
        for _ in range(3):
            async with client.stream("GET", url) as response:
                async for _ in getattr(response, name)():
                    break
        with pytest.raises(KeyError):
            await fail_in_stream(client, url, name)
        async with client.stream("GET", url):
            pass
        assert (await client.get(server.on("/well", answer(200, b"fine")))).text == "fine"


# --- Construction


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"timeout": -1}, "timeout must be .*, got -1"),
        ({"timeout": float("nan")}, "timeout must be .*, got nan"),
        ({"max_connections": 0}, "max_connections must be at least 1, got 0"),
        ({"max_connections": -3}, "max_connections must be at least 1, got -3"),
    ],
)
def test_refuses_values_out_of_range(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        AsyncHTTPClient(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": "30"},
        {"timeout": httpx.Timeout(3)},
        {"max_connections": 2.5},
        {"retry_policy": 3},
        {"circuit_breaker": True},
        {"circuit_breaker": 5},
    ],
)
def test_refuses_values_of_a_wrong_type(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        AsyncHTTPClient(**options)


async def test_names_the_nearest_option() -> None:
    with pytest.raises(UnknownOptionError, match="did you mean 'timeout'"):
        AsyncHTTPClient(timout=3)  # type: ignore[call-arg]
    async with AsyncHTTPClient() as client:
        with pytest.raises(UnknownOptionError, match="did you mean 'headers'"):
            await client.get("http://127.0.0.1/", heders={})  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="timeout must be"):
            await client.get("http://127.0.0.1/", timeout=-1)


def test_reads_the_environment_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (AsyncHTTPClient().timeout, AsyncHTTPClient().max_connections) == (30.0, 100)
    monkeypatch.setenv("SENTRIO_ASYNC_TIMEOUT", "2.5")
    monkeypatch.setenv("SENTRIO_ASYNC_POOL_SIZE", "7")
    monkeypatch.setenv("SENTRIO_ASYNC_RETRY_MAX", "9")
    client = AsyncHTTPClient()
    assert (client.timeout, client.max_connections, client.retry_policy.max_retries) == (2.5, 7, 9)
    assert (AsyncHTTPClient(timeout=None).timeout, AsyncHTTPClient(timeout=4).timeout) == (None, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENTRIO_ASYNC_TIMEOUT", "soon"),
        ("SENTRIO_ASYNC_TIMEOUT", "nan"),
        ("SENTRIO_ASYNC_TIMEOUT", "0"),
        ("SENTRIO_ASYNC_POOL_SIZE", "0"),
        ("SENTRIO_ASYNC_POOL_SIZE", "2.5"),
        ("SENTRIO_ASYNC_RETRY_MAX", "-1"),
    ],
)
def test_nonsense_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} must be .*, got '{value}'"):
        AsyncHTTPClient()


@pytest.mark.parametrize("cls", [AsyncHTTPClient, HTTPStatistics, DownloadResult])
def test_annotations_resolve_from_outside(cls: type) -> None:
    typing.get_type_hints(cls)


async def test_says_what_it_is_doing() -> None:
    client = AsyncHTTPClient(NO_RETRY, max_connections=1)
    assert client.statistics() == HTTPStatistics(connections=1, in_use=0, waiting=0, circuits={})
    async with serving() as server, client, anyio.create_task_group() as tg:
        await client.get(server.on("/bad", answer(500)))
        for _ in range(3):
            tg.start_soon(client.get, server.on("/stall", stall()))
        while client.statistics().waiting < 2:
            await anyio.sleep(0.005)
        seen = client.statistics()
        assert (seen.in_use, seen.waiting) == (1, 2)
        assert {host: circuit.failures for host, circuit in seen.circuits.items()} == {f"127.0.0.1:{server.port}": 1}
        tg.cancel_scope.cancel()
    assert client.statistics().in_use == 0


class BrokenTelemetry:
    """A provider whose tracer and meter raise whatever is asked of them (PEERS B1i)."""

    def __getattr__(self, name: str) -> Any:
        raise TypeError(f"broken {name}")


async def test_broken_telemetry_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", BrokenTelemetry)
    monkeypatch.setattr(metrics, "get_meter_provider", BrokenTelemetry)
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        assert (await client.get(server.on("/", answer(503), answer(200, b"ok")))).text == "ok"
        async with client.stream("GET", server.url("/")) as response:
            assert await response.aread() == b"ok"
        assert (await async_download(server.url("/"), tmp_path / "f", client)).size == 2
        assert (await async_upload(server.url("/"), b"x", client)).status_code == 200


async def test_counts_tries_and_times_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        await client.get(server.on("/", answer(503), answer(200)))
    data = reader.get_metrics_data()
    assert data is not None
    seen: dict[str, Any] = {
        metric.name: metric.data.data_points[0] for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    provider.shutdown()
    assert (seen["sentrio.http.tries"].value, seen["sentrio.http.retries"].value) == (2, 1)
    assert seen["http.client.request.duration"].count == 1
    assert dict(seen["http.client.request.duration"].attributes) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
    }


async def test_a_refusal_while_half_open_ends_the_tries() -> None:
    """A probe that hangs must not keep a call waiting for its turn again and again."""
    breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=0)
    async with serving() as server, AsyncHTTPClient(QUICK, breaker, timeout=None) as client:
        url = server.on("/", answer(503, b"busy"), stall())
        async with anyio.create_task_group() as tg:
            probe = breaker.attempt()
            probe.failed()
            hanging = breaker.attempt()
            with anyio.fail_after(30), pytest.raises(CircuitOpenError, match="half open"):
                await client.get(url)
            hanging.dropped()
            tg.start_soon(client.get, server.on("/stall", stall()))
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(30), pytest.raises(CircuitOpenError, match="half open"):
                await client.get(url)
            tg.cancel_scope.cancel()


def test_httpx_is_loaded_when_it_is_needed() -> None:
    program = """
import sys, sentrio, sentrio.async_core
assert "httpx" not in sys.modules
from sentrio.async_core import AsyncHTTPClient, async_download, CircuitBreaker
assert "httpx" in sys.modules
import sentrio.async_core.http as http
assert all(hasattr(http, name) for name in http.__all__)
assert http.AsyncHTTPClient is AsyncHTTPClient and http.CircuitBreaker is CircuitBreaker
assert set(sentrio.async_core.__all__) <= set(dir(sentrio.async_core))
try:
    sentrio.async_core.nonsense
except AttributeError as exc:
    assert "nonsense" in str(exc)
"""
    subprocess.run([sys.executable, "-c", program], timeout=100, check=True)


# --- Cancellation


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Server]:
    with serving_elsewhere() as server:
        yield server


@pytest.mark.parametrize("case", ["get", "retry", "post", "stream", "error", "open", "queue"])
def test_cancelled_anywhere_it_leaves_nothing(backend: Backend, elsewhere: Server, case: str) -> None:
    opened: list[AsyncHTTPClient] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"a" * 1000
        yield b"b" * 1000

    async def operation() -> None:
        async with AsyncHTTPClient(QUICK, max_connections=2) as client:
            opened[:] = [client]
            await CASES[case](client, elsewhere, body)

    def check() -> None:
        assert opened[0].slots.value == opened[0].slots.max_value
        for breaker in opened[0]._breakers.values():
            assert breaker.statistics().probes == 0

    report = cancel_everywhere(operation, backend=backend, check=check)
    assert report.points >= (1 if case == "open" else 5)


Body = Callable[[], AsyncIterator[bytes]]


async def _get(client: AsyncHTTPClient, server: Server, _: Body) -> None:
    await client.get(server.on("/", answer(200, b"x" * 1000)))


async def _retry(client: AsyncHTTPClient, server: Server, _: Body) -> None:
    await client.get(server.on("/", answer(503), break_off(b"abc", 1, "close"), answer(200)))


async def _post(client: AsyncHTTPClient, server: Server, body: Body) -> None:
    await client.post(server.on("/", echo), content=body())


async def _stream(client: AsyncHTTPClient, server: Server, _: Body) -> None:
    async with client.stream("GET", server.on("/", chunked(b"a", b"b", b"c"))) as response:
        async for _piece in response.aiter_bytes():
            await anyio.lowlevel.checkpoint()
            break


async def _error(client: AsyncHTTPClient, server: Server, _: Body) -> None:
    with pytest.raises(HTTPStatusError):
        await read_stream(client, server.on("/", answer(404, b"x" * 1000)), bytearray())


async def _open(client: AsyncHTTPClient, server: Server, _: Body) -> None:
    await anyio.lowlevel.checkpoint()


async def _queue(client: AsyncHTTPClient, server: Server, _: Body) -> None:
    url = server.on("/", answer(200))
    async with anyio.create_task_group() as tg:
        for _number in range(5):
            tg.start_soon(client.get, url)


CASES = {
    "get": _get,
    "retry": _retry,
    "post": _post,
    "stream": _stream,
    "error": _error,
    "open": _open,
    "queue": _queue,
}


async def test_logs_its_retries(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sentrio")
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        await client.get(server.on("/", answer(503), answer(200)))
        expected = f"GET {server.url('/')} failed at attempt 1: status 503; the next one in"
    assert expected in caplog.text


async def test_credentials_in_a_url_are_sent_and_go_where_they_should() -> None:
    async with serving() as server:
        server.on("/x", answer(200))
        async with AsyncHTTPClient(base_url=server.url("/", userinfo="base:1")) as client:
            await client.get("x")
            await client.get("x", auth=("option", "2"))
            response = await client.get(server.url("/x", userinfo="me%40home:3"))
            assert response.url.userinfo == b""
        async with AsyncHTTPClient(auth=("client", "4")) as client:
            await client.get(server.url("/x", userinfo="me:3"))
            await client.get(server.url("/x", userinfo="me:3"), auth=None)
    given = [request.headers["authorization"].removeprefix("Basic ") for request in server.requests]
    assert [base64.b64decode(text) for text in given] == [
        b"base:1",
        b"option:2",
        b"me@home:3",
        b"client:4",
        b"me:3",
    ]


@pytest.mark.parametrize(
    ("packed", "problem", "tries"),
    [
        (gzip.compress(b"many rows " * 999)[:-9], "the compressed content breaks off", 2),
        (gzip.compress(b"many rows " * 999)[:20], "the compressed content breaks off", 2),
        (zlib.compress(b"many rows " * 999)[:-9], "the compressed content breaks off", 2),
        (gzip.compress(b"rows") * 2, "has several parts, of which only the first can be read", 1),
    ],
    ids=["half", "next to nothing", "deflate", "twice"],
)
async def test_a_compressed_content_is_whole_or_an_error(packed: bytes, problem: str, tries: int) -> None:
    kind = "deflate" if packed.startswith(b"x") else "gzip"
    async with serving() as server, AsyncHTTPClient(RetryPolicy(max_retries=1, backoff_factor=0.001)) as client:
        url = server.on("/f", File(packed, headers={"Content-Encoding": kind}))
        with pytest.raises(HTTPRequestError, match=rf"GET http://.*/f failed at attempt {tries}: .*{problem}"):
            await client.get(url)
        assert server.count() == tries
        with pytest.raises(HTTPRequestError, match=problem):
            await read_stream(client, url, bytearray())
        async with client.stream("GET", url) as response:  # what travels, and nobody decodes
            assert b"".join([piece async for piece in response.aiter_raw()]) == packed
        assert client.statistics().in_use == 0


async def test_a_compressed_content_that_is_whole_is_well() -> None:
    content = b"many rows " * 999
    async with serving() as server, AsyncHTTPClient(NO_RETRY) as client:
        for kind, packed in (("gzip", gzip.compress(content)), ("deflate", zlib.compress(content))):
            url = server.on(f"/{kind}", File(packed, headers={"Content-Encoding": kind}))
            assert (await client.get(url)).content == content
            received = bytearray()
            await read_stream(client, url, received)
            assert received == content
        assert (await client.get(server.on("/none", answer(200, b"", Content_Encoding="gzip")))).content == b""
        assert (await client.head(server.on("/head", answer(200, b"", Content_Encoding="gzip")))).content == b""
