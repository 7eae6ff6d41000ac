"""How long with_retry waits, in virtual time."""

from __future__ import annotations

import itertools

import anyio
import pytest

from sentrio.async_core.retry import with_retry
from sentrio.async_core.timeouts import async_timeout, with_timeout


async def test_waits_grow_and_there_is_none_after_the_last_try() -> None:
    times: list[float] = []

    @with_retry(max_retries=4, delay=1.0, backoff=3.0)
    async def fail() -> None:
        times.append(anyio.current_time())
        raise LookupError

    with pytest.raises(LookupError):
        await fail()
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits == pytest.approx([1.0, 3.0, 9.0, 27.0])
    assert anyio.current_time() == pytest.approx(times[-1])


async def test_jitter_keeps_within_its_share() -> None:
    times: list[float] = []

    @with_retry(max_retries=50, delay=10.0, backoff=1.0, jitter=0.5)
    async def fail() -> None:
        times.append(anyio.current_time())
        raise LookupError

    with pytest.raises(LookupError):
        await fail()
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(4.99 <= wait <= 15.01 for wait in waits)
    assert max(waits) - min(waits) > 2


async def test_a_timeout_ends_after_exactly_its_seconds() -> None:
    before = anyio.current_time()
    with pytest.raises(TimeoutError):
        async with async_timeout(3600):
            await anyio.sleep_forever()
    assert anyio.current_time() - before == pytest.approx(3600)
    with pytest.raises(TimeoutError):
        await with_timeout(30.0)(anyio.sleep)(60)
    assert anyio.current_time() - before == pytest.approx(3630)
