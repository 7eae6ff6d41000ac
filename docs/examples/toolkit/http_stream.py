"""A body read line by line; the block may be left at any point."""

import anyio
from loopback import serving

from sentrio.async_core import AsyncHTTPClient
from sentrio.errors import HTTPStatusError


def log(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    if path == "/missing":
        return 404, {}, b"this page is no log"
    return 200, {}, b"".join(b"line %d\n" % number for number in range(100_000))


async def main() -> None:
    async with serving(log) as server, AsyncHTTPClient() as client:
        async with client.stream("GET", f"{server}/log") as response:
            async for line in response.aiter_lines():
                print(line)
                if line == "line 2":
                    break  # the connection is given back, nothing is left behind

        try:
            async with client.stream("GET", f"{server}/missing") as response:
                print("never here")
        except HTTPStatusError as exc:
            print(exc.status)


anyio.run(main)
