"""Many requests to a server in a bad mood, cancelled at random: nothing leaks, and all goes on."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from tests.async_core._server import (
    Behaviour,
    Exchange,
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

from sentrio.async_core.circuit import CircuitState
from sentrio.async_core.http import AsyncHTTPClient, RetryPolicy, async_download, async_upload
from sentrio.errors import HTTPRequestError, HTTPTimeoutError

CONTENT = bytes(range(256)) * 100
OLD = b"old"


@pytest.mark.chaos
async def test_a_bad_mood_leaves_no_trace(tmp_path: Path, large_counts: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    moods: list[Behaviour] = [
        answer(200, CONTENT),
        answer(503, Retry_After="0"),
        answer(500),
        answer(404),
        stall(),
        stall(read=False),
        hang_up(),
        hang_up("close"),
        trickle(CONTENT, gap=0.001, size=1000),
        break_off(CONTENT, 9000, "reset"),
        break_off(CONTENT, 9000, "stall"),
        lie(b"abc", 5),
        chunked(b"abc", finish=False),
        File(CONTENT, how="close"),
    ]

    async def moody(exchange: Exchange) -> None:
        await chance.choice(moods)(exchange)

    async def one(number: int) -> None:
        path = tmp_path / f"f{number}"
        kind = number % 5
        with anyio.move_on_after(chance.choice([0, 0.001, 0.01, 0.05, 1])), suppress(HTTPRequestError):
            if kind == 0:
                await client.get(url)
            elif kind == 1:
                await client.put(url, content=CONTENT)
            elif kind == 2:
                async with client.stream("GET", url) as response:
                    async for _ in response.aiter_bytes():
                        if chance.random() < 0.3:
                            break
            elif kind == 3:
                path.write_bytes(OLD)
                await async_download(url, path, client)
            else:
                await async_upload(url, CONTENT, client, method="PUT")
        assert not path.exists() or path.read_bytes() in (OLD, CONTENT)

    policy = RetryPolicy(max_retries=2, backoff_factor=0.001, total_timeout=1)
    async with serving() as server, AsyncHTTPClient(policy, False, 0.1, 5) as client:
        url = server.on("/moody", moody)
        async with anyio.create_task_group() as tg:
            for number in range(100 * large_counts):
                tg.start_soon(one, number)
        assert client.statistics().in_use == 0
        # A connection that the pool believes to be in use for ever would be missing here.
        fine = server.on("/fine", echo)

        async def until_it_is_answered() -> None:
            answered = False
            while not answered:  # the policy's total is too short for a busy machine
                with suppress(HTTPTimeoutError):
                    await client.get(fine, timeout=5)
                    answered = True

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tg:
                for _ in range(20):
                    tg.start_soon(until_it_is_answered)
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")]


async def test_a_breaker_under_cancellation_keeps_its_counts(large_counts: int) -> None:
    async with serving() as server, AsyncHTTPClient(RetryPolicy(max_retries=0), timeout=5) as client:
        url = server.on("/", trickle(b"abc", gap=0.002))

        async def one(delay: float) -> None:
            with anyio.move_on_after(delay):
                await client.get(url)

        for _ in range(2 * large_counts):
            async with anyio.create_task_group() as tg:
                for number in range(20):
                    tg.start_soon(one, number * 0.001)
        (seen,) = client.statistics().circuits.values()
        assert (seen.state, seen.failures, seen.probes) == (CircuitState.CLOSED, 0, 0)
