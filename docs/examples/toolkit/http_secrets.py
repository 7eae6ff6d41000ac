"""An application that logs everything: httpx logs each URL, and no secret is in it."""

import logging
import re
import sys

import anyio
from loopback import serving

from sentrio.async_core import AsyncHTTPClient


class WithoutPort(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return re.sub(r":\d{4,5}/", ":PORT/", f"{record.name}: {record.getMessage()}")


def fine(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, b"fine"


async def main() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(WithoutPort())
    logging.getLogger("httpx").addHandler(handler)
    logging.getLogger("httpx").setLevel(logging.INFO)

    async with serving(fine) as server, AsyncHTTPClient() as client:
        url = server.replace("//", "//reader:hunter2@") + "/orders?token=hunter2&page=3"
        response = await client.get(url)
        # The URL prints itself without secrets; its parts are all there.
        print(str(response.url).partition("/orders")[2], response.url.params["page"])


anyio.run(main)
