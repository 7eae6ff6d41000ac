"""Timeouts, limits and retries: one line above a function."""

from __future__ import annotations

import anyio

from sentrio.async_core import async_timeout, with_retry, with_semaphore, with_timeout

two_at_a_time = anyio.CapacityLimiter(2)
tries = 0


@with_retry(max_retries=3, delay=0.01, backoff=2.0, exceptions=(ConnectionError,))
@with_semaphore(two_at_a_time)
@with_timeout(seconds=1.0)
async def fetch() -> str:
    global tries
    tries += 1
    if tries < 3:
        raise ConnectionError("not yet")
    return f"there after {tries} tries"


async def main() -> None:
    print(await fetch())

    try:
        async with async_timeout(0.01):
            await anyio.sleep(60)
    except TimeoutError as error:
        print(error)


if __name__ == "__main__":
    anyio.run(main)
