"""The waits of the HTTP client, in virtual time. The transport is a function: sockets keep real time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import httpx
import pytest

from sentrio.async_core.circuit import CircuitBreaker, CircuitState
from sentrio.async_core.http import AsyncHTTPClient, RetryPolicy, async_batch_requests
from sentrio.errors import CircuitOpenError, HTTPTimeoutError

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Transport:
    """Answers with the n-th of some functions, the last one again and again, and notes when it was asked."""

    def __init__(self, *handlers: Handler) -> None:
        self.handlers = handlers
        self.times: list[float] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.times.append(anyio.current_time())
        return await self.handlers[min(len(self.times), len(self.handlers)) - 1](request)

    def client(
        self,
        policy: RetryPolicy | None = None,
        breaker: CircuitBreaker | bool | None = False,
        timeout: float | None = 30.0,
    ) -> AsyncHTTPClient:
        return AsyncHTTPClient(policy, breaker, timeout, transport=httpx.MockTransport(self))

    def gaps(self) -> list[float]:
        return [round(later - first, 3) for first, later in zip(self.times, self.times[1:], strict=False)]


def status(code: int, **headers: str) -> Handler:
    async def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return handle


async def silent(_: httpx.Request) -> httpx.Response:
    await anyio.sleep_forever()
    raise AssertionError


async def test_waits_twice_as_long_each_time_up_to_the_cap() -> None:
    transport = Transport(status(503))
    policy = RetryPolicy(max_retries=9, jitter=0)
    async with transport.client(policy) as client:
        assert (await client.get("http://h/")).status_code == 503
    assert transport.gaps() == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_chance_spreads_the_waits() -> None:
    gaps = []
    for _ in range(30):
        transport = Transport(status(503))
        async with transport.client(RetryPolicy(max_retries=1, jitter=0.5)) as client:
            await client.get("http://h/")
        gaps += transport.gaps()
    assert 0.5 <= min(gaps) < 0.8
    assert 1.2 < max(gaps) <= 1.5


@pytest.mark.parametrize(
    "text", ["soon", "-1", "1.5", "³", "Sun, 99 Nov 2026 00:00:00 GMT", f"1 Jan {10**20} 00:00:00 GMT"]
)
async def test_nonsense_in_retry_after_does_not_count(text: str) -> None:
    async def busy(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, headers=[(b"Retry-After", text.encode())])

    transport = Transport(busy, status(200))
    async with transport.client(RetryPolicy(jitter=0)) as client:
        assert (await client.get("http://h/")).status_code == 200
    assert transport.gaps() == [1]


async def test_retry_after_wins_over_the_backoff_and_its_cap() -> None:
    later = format_datetime(datetime(2026, 1, 1, 0, 5, tzinfo=UTC), usegmt=True)
    now = format_datetime(datetime(2026, 1, 1, 0, 0, tzinfo=UTC), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    transport = Transport(
        status(429, Retry_After="120"),
        status(503, Retry_After=later, Date=now),
        status(503, Retry_After=past),
        status(200),
    )
    async with transport.client() as client:
        assert (await client.get("http://h/")).status_code == 200
    assert transport.gaps() == [120, 300, 0]


@pytest.mark.parametrize(
    ("asked", "total", "tries"), [("600", None, 2), ("601", None, 1), ("601", 1000.0, 2), ("601", 600.0, 1)]
)
async def test_patience_has_an_end(asked: str, total: float | None, tries: int) -> None:
    transport = Transport(status(429, Retry_After=asked), status(200))
    async with transport.client(RetryPolicy(total_timeout=total)) as client:
        response = await client.get("http://h/")
    assert len(transport.times) == tries
    assert response.status_code == (200 if tries == 2 else 429)


async def test_a_silent_server_takes_tries_times_timeout_plus_waits() -> None:
    transport = Transport(silent)
    async with transport.client(RetryPolicy(jitter=0)) as client:
        began = anyio.current_time()
        with pytest.raises(HTTPTimeoutError, match="attempt 4: waiting for the answer took longer than 30 s"):
            await client.get("http://h/")
        assert anyio.current_time() - began == pytest.approx(4 * 30 + 1 + 2 + 4)


@pytest.mark.parametrize("total", [5.0, 30.5, 100.0])
async def test_the_total_cuts_through_tries_and_waits(total: float) -> None:
    transport = Transport(silent)
    async with transport.client(RetryPolicy(total_timeout=total, jitter=0)) as client:
        began = anyio.current_time()
        with pytest.raises(HTTPTimeoutError):
            await client.get("http://h/")
        assert anyio.current_time() - began <= total + 1e-6


async def test_no_timeout_is_no_limit() -> None:
    async def after_a_day(_: httpx.Request) -> httpx.Response:
        await anyio.sleep(86_400)
        return httpx.Response(200)

    transport = Transport(after_a_day)
    async with transport.client(timeout=None) as client:
        assert (await client.get("http://h/")).status_code == 200


async def test_the_breaker_of_a_host_recovers() -> None:
    transport = Transport(*[status(500)] * 5, status(200))
    async with transport.client(RetryPolicy(max_retries=0), breaker=None) as client:
        for _ in range(5):
            await client.get("http://h/")
        with pytest.raises(CircuitOpenError, match=r"GET http://h/ failed at attempt 1: .* try again in 60 s"):
            await client.get("http://h/")
        await anyio.sleep(60.1)
        assert (await client.get("http://h/")).status_code == 200
        assert client._breakers["h"].state is CircuitState.HALF_OPEN
        await client.get("http://h/")
        assert client._breakers["h"].statistics().state is CircuitState.CLOSED


async def test_a_timeout_opens_the_breaker_and_an_outer_one_does_not() -> None:
    breaker = CircuitBreaker(failure_threshold=2)
    transport = Transport(silent)
    async with transport.client(RetryPolicy(max_retries=0), breaker) as client:
        for _ in range(10):
            with anyio.move_on_after(1):
                await client.get("http://h/")
        assert breaker.statistics().state is CircuitState.CLOSED
        for _ in range(2):
            with pytest.raises(HTTPTimeoutError):
                await client.get("http://h/")
        assert breaker.statistics().state is CircuitState.OPEN


async def test_a_batch_keeps_its_width_full() -> None:
    async def second(_: httpx.Request) -> httpx.Response:
        await anyio.sleep(1)
        return httpx.Response(200)

    transport = Transport(second)
    async with transport.client() as client:
        began = anyio.current_time()
        await async_batch_requests([f"http://h{n}/" for n in range(100)], max_concurrent=10, client=client)
        assert anyio.current_time() - began == pytest.approx(10)
