"""Many requests, some at a time, answers in the order of the URLs."""

import anyio
from loopback import serving

from sentrio.async_core import AsyncHTTPClient, RetryPolicy, async_batch_requests
from sentrio.errors import HTTPRequestError


def square(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, str(int(path[1:]) ** 2).encode()


async def main() -> None:
    once = RetryPolicy(max_retries=0)
    async with serving(square) as server, AsyncHTTPClient(once) as client:
        urls = [f"{server}/{number}" for number in range(8)]
        responses = await async_batch_requests(urls, max_concurrent=3, client=client)
        print([int(response.text) for response in responses])

        # With return_exceptions an error takes the place of the answer that there is not.
        urls.insert(2, "http://127.0.0.1:1/nobody-listens-here")
        outcomes = await async_batch_requests(urls, client=client, return_exceptions=True)
        for outcome in outcomes[:4]:
            if isinstance(outcome, HTTPRequestError):
                print("no answer:", outcome.method, outcome.url)
            elif not isinstance(outcome, Exception):
                print(outcome.text)


anyio.run(main)
