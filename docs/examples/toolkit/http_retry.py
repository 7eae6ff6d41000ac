"""A server that is busy at first: the client waits as it is told to, and tries again."""

import anyio
from loopback import serving

from sentrio.async_core import AsyncHTTPClient, RetryPolicy

requests: list[str] = []


def busy(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    requests.append(f"{method} {path}")
    if len(requests) < 3:
        return 503, {"Retry-After": "0"}, b""
    return 200, {"Content-Type": "application/json"}, b'{"rows": 1200}'


async def main() -> None:
    policy = RetryPolicy(max_retries=5, backoff_factor=0.1, total_timeout=20)
    async with serving(busy) as server, AsyncHTTPClient(policy, timeout=5) as client:
        response = await client.get(f"{server}/tables/orders")
        print(response.status_code, response.json()["rows"])
        print(requests)

        # A POST is not sent twice: the first one may have arrived.
        requests.clear()
        response = await client.post(f"{server}/orders", json={"id": 7})
        print(response.status_code, requests)


anyio.run(main)
