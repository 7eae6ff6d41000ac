"""A file sent piece by piece, with its progress, as a body and as a form."""

import tempfile
from pathlib import Path

import anyio
from loopback import serving

from sentrio.async_core import AsyncHTTPClient, async_upload


def receive(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    kind = headers.get("content-type", "no type").partition(";")[0]
    return 200, {}, f"{method}: {len(body)} bytes, {kind}".encode()


async def main() -> None:
    path = Path(tempfile.mkdtemp()) / "report.csv"
    path.write_bytes(b"x" * 1_000_000)

    def progress(sent: int, total: int | None) -> None:
        print(f"{sent} of {total}")

    async with serving(receive) as server, AsyncHTTPClient() as client:
        # PUT is idempotent, so the retry policy covers it; POST, the default, is sent once.
        response = await async_upload(server, path, client, method="PUT", chunk_size=400_000, progress=progress)
        print(response.text)
        response = await async_upload(server, b"id,amount\n", client, field="file", filename="orders.csv")
        print(response.text)


anyio.run(main)
