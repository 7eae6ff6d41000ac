"""A real HTTP server on loopback that misbehaves on demand, on every backend.

async with serving() as server:
    server.on("/a", answer(503), answer(200, b"fine"))  # the last one repeats
    url = server.url("/a")
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import pairwise
from typing import Any

import anyio
import attrs
from anyio.abc import ByteStream, SocketAttribute
from anyio.from_thread import start_blocking_portal
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

Behaviour = Callable[["Exchange"], Awaitable[None]]

REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 302: "Found", 304: "Not Modified"}


@attrs.define(eq=False)
class Exchange:
    """One request and the way to answer it."""

    method: str
    target: str
    headers: dict[str, str]
    number: int  #: counts the requests for this path, from 1
    stream: ByteStream
    buffer: BufferedByteReceiveStream
    body: bytes = b""
    at: float = 0.0  #: time of the loop at which the request had arrived
    keep: bool = True
    _read: bool = False

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        if self._read:
            return
        self._read = True
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await self.buffer.receive_until(b"\r\n", 100), 16):
                yield await self.buffer.receive_exactly(size)
                await self.buffer.receive_exactly(2)
            await self.buffer.receive_exactly(2)
            return
        left = int(self.headers.get("content-length", 0))
        while left:
            piece = await self.buffer.receive(min(left, 65536))
            left -= len(piece)
            yield piece

    async def read(self) -> bytes:
        async for piece in self.chunks():
            self.body += piece
        return self.body

    async def start(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.stream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Length", str(len(body)))
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}"]
        lines += [f"{name}: {value}" for name, value in named.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        await self.stream.send(head if self.method == "HEAD" else head + body)

    async def reset(self) -> None:
        """Send RST instead of FIN, as a crashed peer or a firewall does."""
        self.keep = False
        try:
            raw = self.stream.extra(SocketAttribute.raw_socket)  # noqa: S610  # no database here
        except AttributeError:
            return  # uvloop takes the socket away once the client has closed its side
        # The option belongs to the connection, so a duplicate of the descriptor may set it; uvloop's own
        # socket objects refuse.
        with socket.socket(fileno=os.dup(raw.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.stream.aclose()


@attrs.define(eq=False)
class Server:
    """What was asked of it, and what it answers."""

    host: str
    port: int
    requests: list[Exchange] = attrs.field(factory=list)
    connections: int = 0
    open: int = 0
    routes: dict[str, tuple[Behaviour, ...]] = attrs.field(factory=dict)
    scheme: str = "http"
    _counts: defaultdict[str, int] = attrs.field(factory=lambda: defaultdict(int))

    def url(self, target: str = "/", *, userinfo: str = "") -> str:
        return f"{self.scheme}://{userinfo + '@' if userinfo else ''}{self.host}:{self.port}{target}"

    def on(self, path: str, *behaviours: Behaviour) -> str:
        """The n-th request for ``path`` gets the n-th behaviour, all later ones the last. Returns the URL."""
        self.routes[path] = behaviours
        self._counts[path] = 0
        return self.url(path)

    def count(self, path: str | None = None) -> int:
        return sum(path is None or request.path == path for request in self.requests)

    def gaps(self, path: str) -> list[float]:
        """Seconds between the requests for ``path``."""
        times = [request.at for request in self.requests if request.path == path]
        return [later - earlier for earlier, later in pairwise(times)]

    async def _connection(self, stream: ByteStream) -> None:
        self.connections += 1
        self.open += 1
        gone = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead)
        try:
            async with stream:
                with suppress(*gone):
                    buffer = BufferedByteReceiveStream(stream)
                    while await self._exchange(stream, buffer):
                        pass
        except OSError:
            pass  # closing a connection that the client has reset
        finally:
            self.open -= 1

    async def _exchange(self, stream: ByteStream, buffer: BufferedByteReceiveStream) -> bool:
        head = (await buffer.receive_until(b"\r\n\r\n", 65536)).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        path = target.partition("?")[0]
        self._counts[path] += 1
        exchange = Exchange(method, target, headers, self._counts[path], stream, buffer)
        exchange.at = anyio.current_time()
        self.requests.append(exchange)
        behaviours = self.routes.get(path, (answer(404, b"nothing here"),))
        await behaviours[min(exchange.number, len(behaviours)) - 1](exchange)
        await exchange.read()
        return exchange.keep and headers.get("connection") != "close"


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncGenerator[Server]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as plain:
        port = plain.extra(SocketAttribute.local_port)  # noqa: S610  # no database here
        server = Server("127.0.0.1", port, scheme="https" if tls else "http")
        # A client that is cancelled does not say goodbye.
        listener = TLSListener(plain, tls, standard_compatible=False) if tls else plain
        async with anyio.create_task_group() as tg:
            tg.start_soon(listener.serve, server._connection)
            yield server
            tg.cancel_scope.cancel()


@contextmanager
def serving_elsewhere(tls: ssl.SSLContext | None = None) -> Generator[Server]:
    """Serve in a thread of its own, out of the way of tests that count tasks or cancel at every point.

    (asyncio loses a connection that is accepted in the moment of a cancellation.)
    """
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(serving(tls)) as server:
        yield server


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Behaviour:
    """Read the request and answer properly; ``Retry_After="2"`` is a header."""

    async def behave(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(status, body, **headers)

    return behave


def echo(exchange: Exchange) -> Awaitable[None]:
    """Answer with the body of the request."""

    async def behave() -> None:
        await exchange.answer(200, await exchange.read())

    return behave()


def stall(*, read: bool = True) -> Behaviour:
    """Never answer; with ``read=False`` never take the body either."""

    async def behave(exchange: Exchange) -> None:
        if read:
            await exchange.read()
        await anyio.sleep_forever()

    return behave


def trickle(body: bytes, *, gap: float, size: int = 1) -> Behaviour:
    """Send the body bit by bit."""

    async def behave(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, {"Content-Length": str(len(body))})
        for start in range(0, len(body), size):
            await exchange.stream.send(body[start : start + size])
            await anyio.sleep(gap)

    return behave


def break_off(body: bytes, after: int, how: str, *, status: int = 200, **headers: str) -> Behaviour:
    """Announce the whole body, send ``after`` bytes of it, then ``"reset"``, ``"close"`` or ``"stall"``."""

    async def behave(exchange: Exchange) -> None:
        await exchange.read()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await exchange.start(status, {"Content-Length": str(len(body)), **named})
        if after:
            await exchange.stream.send(body[:after])
        await _leave(exchange, how)

    return behave


def hang_up(how: str = "reset") -> Behaviour:
    """End the connection without an answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.read()
        await _leave(exchange, how)

    return behave


async def _leave(exchange: Exchange, how: str) -> None:
    exchange.keep = False
    if how == "reset":
        await anyio.sleep(0.03)  # a reset overtakes what is still on its way
        await exchange.reset()
    elif how == "stall":
        await anyio.sleep_forever()


def lie(body: bytes, declared: int) -> Behaviour:
    """Declare a length that is not the body's, send the body, and close."""

    async def behave(exchange: Exchange) -> None:
        await exchange.read()
        exchange.keep = False
        await exchange.answer(200, body, Content_Length=str(declared))

    return behave


def chunked(*pieces: bytes, finish: bool = True) -> Behaviour:
    """Send a body without a declared length; without ``finish`` its end is missing."""

    async def behave(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, {"Transfer-Encoding": "chunked"})
        for piece in pieces:
            await exchange.stream.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        if finish:
            await exchange.stream.send(b"0\r\n\r\n")
        exchange.keep = finish

    return behave


@attrs.define(eq=False)
class File:
    """A file that is served with ranges, and whose transfer breaks off where it is told to."""

    content: bytes
    etag: str | None = '"v1"'
    ranges: bool = True
    drops: list[int] = attrs.field(factory=list)  #: the n-th transfer ends after so many bytes of body
    how: str = "reset"
    headers: dict[str, str] = attrs.field(factory=dict)
    shift: int = 0  #: a range that is answered so many bytes off
    total: int | None = None  #: total that a range claims
    on_request: Callable[[File, Exchange], Any] | None = None

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        if self.on_request is not None:
            self.on_request(self, exchange)
        headers = {"ETag": self.etag} if self.etag else {}
        headers |= self.headers
        content, status = self.content, 200
        wanted = exchange.headers.get("range")
        if wanted and self.ranges and exchange.headers.get("if-range", self.etag) == self.etag:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            total = len(content) if self.total is None else self.total
            if start >= len(content):
                await exchange.answer(416, b"", Content_Range=f"bytes */{total}")
                return
            status, content = 206, content[start + self.shift :]
            first = start + self.shift
            headers["Content-Range"] = f"bytes {first}-{len(self.content) - 1}/{total}"
        headers["Content-Length"] = str(len(content))
        await exchange.start(status, headers)
        if self.drops:
            await exchange.stream.send(content[: self.drops.pop(0)])
            await _leave(exchange, self.how)
        else:
            await exchange.stream.send(content)
