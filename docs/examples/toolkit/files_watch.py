"""Somebody writes a file slowly; the watcher tells of it once it is complete."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio

from sentrio.async_core import AsyncDirectoryWatcher, async_copy_file, async_mkdir, walk_async


async def write_slowly(path: Path) -> None:
    with path.open("w") as file:
        for number in range(4):
            file.write(f"{number}\n")
            file.flush()
            await anyio.sleep(0.1)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        inbox = Path(folder, "inbox")
        await async_mkdir(inbox)
        watcher = AsyncDirectoryWatcher(inbox, patterns=["*.csv"], stable_seconds=0.5)
        async with watcher.watch() as changes, anyio.create_task_group() as tasks:
            tasks.start_soon(write_slowly, inbox / "orders.csv")
            change = await anext(changes)
            print(change.kind, change.path.name, change.path.stat().st_size, "bytes")

        copied = await async_copy_file(inbox / "orders.csv", Path(folder, "copy.csv"))
        print(copied, "bytes copied")
        print(sorted([path.name async for path in walk_async(folder, "*.csv")]))


if __name__ == "__main__":
    anyio.run(main)
