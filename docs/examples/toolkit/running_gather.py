"""Ten pages, three at a time."""

from __future__ import annotations

import anyio

from sentrio.async_core import AsyncRunner

running = most = 0


async def fetch(page: int) -> str:
    global running, most
    running += 1
    most = max(most, running)
    await anyio.sleep(0.01)
    running -= 1
    if page == 13:
        raise LookupError("there is no page 13")
    return f"page {page}"


async def main() -> None:
    async with AsyncRunner(max_workers=3) as runner:
        pages = await runner.gather([fetch(n) for n in range(10)])
        print(pages[0], "to", pages[-1], "with", most, "at a time")

        try:
            await runner.gather([fetch(n) for n in range(10, 20)])
        except LookupError as error:
            print("the others were cancelled:", error)

        results = await runner.gather([fetch(n) for n in range(12, 15)], return_exceptions=True)
        print(results)


if __name__ == "__main__":
    anyio.run(main)
