"""Results as they come, no faster than they are used."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import anyio.lowlevel

from sentrio.async_core import AsyncRunner

taken = 0


def line_numbers() -> Iterator[int]:
    global taken
    for number in range(1_000_000):
        taken += 1
        yield number


async def parse(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return number * number


async def main() -> None:
    async with AsyncRunner(max_workers=4) as runner:
        async with runner.stream(parse, line_numbers()) as results:
            async for square in results:
                if square > 2500:
                    break
    print("found one; at most a few lines too many were read:", taken < 70)


if __name__ == "__main__":
    anyio.run(main)
