"""A download that breaks off goes on where it stopped; the file is there as a whole or not at all."""

import hashlib
import tempfile
from pathlib import Path

import anyio
from loopback import serving

from sentrio.async_core import AsyncHTTPClient, RetryPolicy, async_download
from sentrio.errors import ChecksumError, HTTPStatusError

CONTENT = b"id,amount\n" + b"7,19.90\n" * 50_000
ranges: list[str | None] = []


def files(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    if path != "/orders.csv":
        return 404, {}, b"there is no such file"
    ranges.append(headers.get("range"))
    if len(ranges) == 1:  # announce everything, send a part
        return 200, {"ETag": '"monday"', "Content-Length": str(len(CONTENT))}, CONTENT[:150_000]
    start = int(headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
    part = {"ETag": '"monday"', "Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
    return (206 if start else 200), part, CONTENT[start:]


async def main() -> None:
    policy = RetryPolicy(backoff_factor=0.01)
    checksum = "sha256:" + hashlib.sha256(CONTENT).hexdigest()

    async with serving(files) as server, AsyncHTTPClient(policy) as client:
        result = await async_download(f"{server}/orders.csv", target, client, checksum=checksum)
        print(result.size, result.attempts, result.resumed)
        print(ranges)

        # Whatever goes wrong, the file stays as it is.
        for url, expected in ((f"{server}/missing.csv", None), (f"{server}/orders.csv", "md5:" + "0" * 32)):
            try:
                await async_download(url, target, client, checksum=expected)
            except HTTPStatusError as exc:
                print("not saved:", exc.status)
            except ChecksumError as exc:
                print("not saved:", exc.algorithm)


folder = Path(tempfile.mkdtemp())
target = folder / "orders.csv"
target.write_text("the version of last week")
anyio.run(main)
print(target.read_bytes() == CONTENT, [path.name for path in folder.iterdir()])
