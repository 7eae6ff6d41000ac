"""A report that is replaced as a whole: an error halfway keeps the old one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio

from sentrio.async_core import (
    AsyncFileReader,
    AsyncFileWriter,
    async_read_file,
    async_write_file,
    walk_async,
)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.txt")
        await async_write_file(path, "yesterday's report\n")
        try:
            async with AsyncFileWriter(path) as writer:
                await writer.write("half of today's ")
                raise RuntimeError("the source went away")
        except RuntimeError as error:
            print(error, "- and there is still", repr(await async_read_file(path)))

        async with AsyncFileWriter(path) as writer:
            await writer.writelines(f"line {number}\n" for number in range(3))
        async for line in AsyncFileReader(path).stream_lines():
            print(line, end="")
        print([entry.name async for entry in walk_async(folder)])


if __name__ == "__main__":
    anyio.run(main)
