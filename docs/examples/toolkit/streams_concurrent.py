"""Twenty slow look-ups, ten at a time, in order; then two sources as they arrive."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio

from sentrio.async_core import AsyncStream, async_merge


async def look_up(number: int) -> str:
    await anyio.sleep(0.1)
    return f"row {number}"


async def sensor(name: str, *moments: float) -> AsyncIterator[str]:
    waited = 0.0
    for moment in moments:
        await anyio.sleep(moment - waited)
        waited = moment
        yield f"{name} at {moment}"


async def main() -> None:
    begun = time.monotonic()
    rows = await AsyncStream(range(20)).map(look_up, max_concurrency=10).collect()
    print(rows[0], "to", rows[-1], "in less than a second:", time.monotonic() - begun < 1)

    async with async_merge(sensor("hall", 0.1, 0.5), sensor("roof", 0.3)) as readings:
        async for reading in readings:
            print(reading)


if __name__ == "__main__":
    anyio.run(main)
