"""Two connections for five tasks; a broken one is replaced."""

from __future__ import annotations

import anyio

from sentrio.async_core import ResourcePool


class Connection:
    closed = 0
    alive = True

    async def query(self, text: str) -> str:
        await anyio.sleep(0.01)
        return f"{text} answered"

    async def close(self) -> None:
        Connection.closed += 1


async def connect() -> Connection:
    await anyio.sleep(0.01)  # several are made at the same time
    return Connection()


async def main() -> None:
    pool = ResourcePool(
        max_resources=2, factory=connect, cleanup=Connection.close, check=lambda connection: connection.alive
    )

    async def ask(number: int) -> None:
        async with pool.acquire(timeout=5) as connection:
            await connection.query(f"question {number}")

    async with pool:
        async with anyio.create_task_group() as tg:
            for number in range(5):
                tg.start_soon(ask, number)
        print("made:", pool.statistics().created)

        async with pool.acquire() as connection:
            pool.discard(connection)
        print("closed:", Connection.closed)
        async with pool.acquire(), pool.acquire():
            print("made:", pool.statistics().created)
    print("closed:", Connection.closed)


if __name__ == "__main__":
    anyio.run(main)
