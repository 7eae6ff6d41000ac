from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
from tests.async_core._moments import cancelled_when, until
from tests.async_core._server import Exchange, Server, answer, echo, serving, serving_elsewhere, stall

from sentrio.async_core.http import AsyncHTTPClient, RetryPolicy, async_batch_requests
from sentrio.errors import HTTPRequestError, HTTPTimeoutError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere

QUICK = RetryPolicy(max_retries=1, backoff_factor=0.001)


async def name(exchange: Exchange) -> None:
    await exchange.read()
    number = int(exchange.target.rpartition("=")[2])
    await anyio.sleep(0.002 * (number % 3))
    await exchange.answer(200, str(number).encode())


async def test_answers_in_the_order_of_the_urls() -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/n", name)
        urls = [f"{url}?n={number}" for number in range(50)]
        answers = await async_batch_requests(urls, client=client)
        assert [int(response.text) for response in answers] == list(range(50))
        mixed: list[httpx.URL | str] = [urls[3], httpx.URL(urls[3])]
        answers = await async_batch_requests(iter(mixed))
        assert [response.text for response in answers] == ["3", "3"]
        assert await async_batch_requests([]) == []


async def test_keeps_to_its_limit_and_the_clients() -> None:
    running = peak = expected = 0

    async def slow(exchange: Exchange) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await until(lambda: peak >= expected)
        await anyio.sleep(0.01)  # for one more, if there were any
        running -= 1
        await exchange.answer(200)

    async with serving() as server:
        urls = [server.on("/s", slow)] * 12
        for limit, pool, expected in ((4, 100, 4), (50, 6, 6)):
            peak = 0
            async with AsyncHTTPClient(max_connections=pool) as client:
                await async_batch_requests(urls, max_concurrent=limit, client=client)
            assert peak == expected


async def test_sends_the_same_options_to_all() -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/e", echo)
        answers = await async_batch_requests([url] * 3, "POST", client=client, json={"a": 1}, headers={"X": "y"})
        assert [response.text for response in answers] == ['{"a":1}'] * 3
        assert {request.headers["x"] for request in server.requests} == {"y"}


async def test_the_first_error_ends_the_others_and_comes_out_as_itself() -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        urls = [server.on(f"/stall{n}", stall()) for n in range(4)]
        with anyio.fail_after(30), pytest.raises(ValueError, match="a URL needs"):
            await async_batch_requests([*urls, "nonsense"], client=client)
        assert client.statistics().in_use == 0
        closed = server.url("/").replace(str(server.port), "1")
        with anyio.fail_after(30), pytest.raises(HTTPRequestError, match="ConnectError"):
            await async_batch_requests([*urls, closed], client=client)


async def test_errors_are_values_on_request() -> None:
    async with serving() as server, AsyncHTTPClient(QUICK, timeout=1.5) as client:
        urls = [
            server.on("/ok", answer(200, b"ok")),
            server.on("/stall", stall()),
            server.on("/missing", answer(404)),
            "nonsense",
        ]
        ok, late, missing, wrong = await async_batch_requests(urls, return_exceptions=True, client=client)
        assert isinstance(ok, httpx.Response)
        assert isinstance(missing, httpx.Response)
        assert (ok.text, missing.status_code) == ("ok", 404)
        assert isinstance(late, HTTPTimeoutError)
        assert isinstance(wrong, ValueError)


async def test_cancelled_it_ends_all() -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        async with cancelled_when(lambda: until(lambda: server.count() == 10)) as scope:
            await async_batch_requests([server.on("/s", stall())] * 20, return_exceptions=True, client=client)
        assert scope.cancelled_caught
        assert client.statistics().in_use == 0


@pytest.mark.parametrize("bad", [0, -1])
async def test_refuses_values_out_of_range(bad: int) -> None:
    with pytest.raises(ValueError, match=f"max_concurrent must be at least 1, got {bad}"):
        await async_batch_requests([], max_concurrent=bad)


@pytest.mark.parametrize(
    ("urls", "options"),
    [("http://127.0.0.1/", {}), ([], {"max_concurrency": 3}), ([], {"max_concurrent": 2.5})],
)
async def test_refuses_what_it_can_not_use(urls: Any, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as caught:
        await async_batch_requests(urls, **options)
    assert isinstance(caught.value, UnknownOptionError) is ("max_concurrency" in options)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Server]:
    with serving_elsewhere() as server:
        yield server


def test_cancelled_anywhere_it_leaves_nothing(backend: Backend, elsewhere: Server) -> None:
    async def operation() -> None:
        async with AsyncHTTPClient(QUICK) as client:
            await async_batch_requests([elsewhere.on("/e", echo)] * 4, max_concurrent=2, client=client)

    assert cancel_everywhere(operation, backend=backend).points > 8
