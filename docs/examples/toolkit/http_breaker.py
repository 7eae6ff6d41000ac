"""A server that is down: after three failures in a row it is left alone for a while."""

import anyio
from loopback import serving

from sentrio.async_core import AsyncHTTPClient, CircuitBreaker, RetryPolicy
from sentrio.errors import CircuitOpenError

up = False


def server_that_falls(
    method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    return (200 if up else 500), {}, b""


async def main() -> None:
    global up
    breaker = CircuitBreaker(failure_threshold=3, recovery_timeout=0.2, success_threshold=2)
    once = RetryPolicy(max_retries=0)
    async with serving(server_that_falls) as server, AsyncHTTPClient(once, breaker) as client:
        for _ in range(3):
            await client.get(server)
        print(breaker.state.name)
        try:
            await client.get(server)
        except CircuitOpenError as exc:
            print(f"refused, to be tried again in {exc.retry_in:.1f} s")

        up = True
        await anyio.sleep(0.25)
        print(breaker.state.name)  # a probe may pass now
        await client.get(server)
        await client.get(server)
        print(breaker.state.name)


anyio.run(main)
