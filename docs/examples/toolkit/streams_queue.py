"""Two workers share a queue with room for two; closing it ends their loops."""

from __future__ import annotations

import anyio

from sentrio.async_core import AsyncQueue


async def work(queue: AsyncQueue[int], done: list[int]) -> None:
    async for number in queue:
        await anyio.sleep(0.001)
        done.append(number)


async def main() -> None:
    queue: AsyncQueue[int] = AsyncQueue(maxsize=2)
    done: list[int] = []
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(work, queue, done)
        async with queue:
            for number in range(6):
                await queue.put(number)
    print(sorted(done), queue.statistics())


if __name__ == "__main__":
    anyio.run(main)
