"""A small HTTP server on loopback, so that the examples need no network."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

#: What a handler gets: method, path, headers, body; and returns: status, headers, body.
Handler = Callable[[str, str, dict[str, str], bytes], tuple[int, dict[str, str], bytes]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str]:
    """Serve until the block ends; the value is the server's URL, without a slash at its end."""

    async def serve(stream: SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            async with stream:
                buffer = BufferedByteReceiveStream(stream)
                while True:
                    await answer(stream, buffer, handler)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tg,
    ):
        tg.start_soon(listener.serve, serve)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # no database here
        yield f"http://127.0.0.1:{port}"
        tg.cancel_scope.cancel()


async def answer(stream: SocketStream, buffer: BufferedByteReceiveStream, handler: Handler) -> None:
    """Answer one request."""
    first, *lines = (await buffer.receive_until(b"\r\n\r\n", 65536)).decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await buffer.receive_exactly(int(headers.get("content-length", 0)))
    status, more, content = handler(method, path, headers, body)
    # A handler may announce another length than it sends: the connection breaks off then.
    announced = {"Content-Length": str(len(content)), **more}
    head = f"HTTP/1.1 {status} Answer\r\n" + "".join(f"{name}: {value}\r\n" for name, value in announced.items())
    await stream.send(head.encode() + b"\r\n" + content)
    if announced["Content-Length"] != str(len(content)):
        raise anyio.EndOfStream
