"""Squares of the odd numbers, three at a time; then a pipeline that is used twice."""

from __future__ import annotations

import anyio

from sentrio.async_core import AsyncPipeline, AsyncStream, async_batch, async_map


async def main() -> None:
    stream = AsyncStream(range(10)).filter(lambda n: n % 2).map(lambda n: n * n).batch(3)
    async for batch in stream:
        print(batch)

    pipeline = AsyncPipeline()
    pipeline.add_stage(async_map(str.strip))
    pipeline.add_stage(async_batch(2))
    print(await pipeline.process([" a", "b ", " c "]))
    print(await pipeline.process(["d"]))


if __name__ == "__main__":
    anyio.run(main)
