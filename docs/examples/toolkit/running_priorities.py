"""What matters most goes first, and nobody waits for ever."""

from __future__ import annotations

import anyio

from sentrio.async_core import AsyncRunner, TaskPriority


async def job(name: str, seconds: float = 0.0) -> str:
    await anyio.sleep(seconds)
    print(name)
    return name


async def main() -> None:
    async with AsyncRunner(max_workers=1) as runner, anyio.create_task_group() as tg:
        tg.start_soon(runner.submit, job("already running", 0.3))
        await anyio.sleep(0.01)
        tg.start_soon(runner.submit, job("clean up"), TaskPriority.BACKGROUND)
        tg.start_soon(runner.submit, job("nightly report"))
        tg.start_soon(runner.submit, job("a customer waits"), TaskPriority.CRITICAL)

        try:
            await runner.submit(job("too late"), timeout=0.02)
        except TimeoutError as error:
            print(error)


if __name__ == "__main__":
    anyio.run(main)
