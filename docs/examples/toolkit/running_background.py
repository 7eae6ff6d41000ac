"""Started here, stopped there: what a notebook or an old framework may need."""

from __future__ import annotations

import anyio
from anyio.abc import TaskStatus

from sentrio.async_core import BackgroundTask, async_background


async def serve(port: int, *, task_status: TaskStatus[str]) -> None:
    try:
        task_status.started(f"listening on {port}")
        await anyio.sleep_forever()
    finally:
        print("no longer listening")


class Service:
    async def start(self) -> None:
        self._task = await BackgroundTask.start(serve, 8080)
        print(self._task.start_value)

    async def stop(self) -> None:
        await self._task.aclose()  # also raises what ended the task early


async def add(a: int, b: int) -> int:
    return a + b


async def main() -> None:
    service = Service()
    await service.start()
    await service.stop()

    await Service().start()  # nobody keeps this one: it ends all the same
    await anyio.sleep(0.01)

    handle = async_background(add(1, 2))
    print(await handle)


if __name__ == "__main__":
    anyio.run(main)
