from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from sentrio.async_core.streams import AsyncStream, async_merge


async def timed(*moments: float) -> AsyncIterator[float]:
    """Yield each moment when it has come."""
    begun = anyio.current_time()
    for moment in moments:
        await anyio.sleep_until(begun + moment)
        yield moment


async def test_a_batch_waits_for_its_first_item_and_then_for_the_timeout() -> None:
    begun = anyio.current_time()
    seen = []
    async for batch in AsyncStream(timed(100, 101, 104, 200, 201, 202, 300)).batch(3, timeout=5):
        seen.append((anyio.current_time() - begun, batch))  # noqa: PERF401  # the time counts
    assert seen == [(104, [100, 101, 104]), (202, [200, 201, 202]), (300, [300])]

    begun = anyio.current_time()
    seen = []
    async for batch in AsyncStream(timed(1, 2, 50, 60)).batch(10, timeout=5):
        seen.append((anyio.current_time() - begun, batch))  # the time counts
    assert seen == [(6, [1, 2]), (55, [50]), (60, [60])]


async def test_a_slow_reader_finds_what_has_come_meanwhile() -> None:
    seen = []
    async for batch in AsyncStream(timed(*range(10))).batch(4, timeout=1.5):
        seen.append(batch)
        await anyio.sleep(6)
    assert [item for batch in seen for item in batch] == list(range(10))
    assert max(map(len, seen)) == 4


async def test_calls_run_side_by_side() -> None:
    async def work(number: int) -> int:
        await anyio.sleep(10)
        return number

    begun = anyio.current_time()
    assert await AsyncStream(range(100)).map(work, max_concurrency=25).collect() == list(range(100))
    assert anyio.current_time() - begun == 40


async def test_merged_items_come_in_the_order_of_time() -> None:
    merged = async_merge(timed(1, 4, 6), timed(2, 3, 7), timed(5))
    assert await merged.collect() == [1, 2, 3, 4, 5, 6, 7]
