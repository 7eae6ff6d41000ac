"""Requests per second of AsyncHTTPClient beside a bare httpx.AsyncClient, in one process, by turns.

    python benchmarks/async_core_http.py [--rounds 7] [--requests 400]

The server is a process of its own on loopback that answers every request with the same 200 bytes. Both
clients have the same pool; a round measures one and then the other, and the next round begins with the other
one. The ratio is the median of the ratios of the rounds. CPU is the client's, per request.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx

from sentrio.async_core.http import AsyncHTTPClient

SERVER = """
import asyncio

HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 200\\r\\n\\r\\n"
ANSWER = HEAD + b"x" * 200

class Answering(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(ANSWER * data.count(b"\\r\\n\\r\\n"))

async def main():
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

Get = Callable[[str], Awaitable[Any]]


async def measure(get: Get, url: str, requests: int, width: int) -> tuple[float, float]:
    """Return requests per second and CPU seconds per request."""
    left = requests

    async def work() -> None:
        nonlocal left
        while left:
            left -= 1
            response = await get(url)
            assert response.status_code == 200

    began, cpu = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as tg:
        for _ in range(width):
            tg.start_soon(work)
    return requests / (time.perf_counter() - began), (time.process_time() - cpu) / requests


async def compare(url: str, rounds: int, requests: int, width: int) -> list[list[tuple[float, float]]]:
    """Return the measurements of both clients, bare httpx first."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    results: list[list[tuple[float, float]]] = [[], []]
    async with httpx.AsyncClient(limits=limits) as bare, AsyncHTTPClient() as ours:
        clients: list[Get] = [bare.get, ours.get]
        for get in clients:  # connections and caches
            await measure(get, url, 2 * width, width)
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                results[which].append(await measure(clients[which], url, requests, width))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/item?id=1"
            print(
                f"{'backend':8} {'wide':>5} {'httpx/s':>9} {'sentrio/s':>10} {'ratio':>6} "
                f"{'httpx ms':>9} {'sentrio ms':>11} {'CPU ratio':>10}"
            )
            for backend, loop in (("asyncio", {}), ("uvloop", {"use_uvloop": True}), ("trio", {})):
                for width in (1, 10, 50):
                    name = "trio" if backend == "trio" else "asyncio"
                    bare, ours = anyio.run(
                        compare,
                        url,
                        options.rounds,
                        options.requests,
                        width,
                        backend=name,
                        backend_options=loop,
                    )
                    row(backend, width, bare, ours)
        finally:
            server.terminate()


def row(backend: str, width: int, bare: list[tuple[float, float]], ours: list[tuple[float, float]]) -> None:
    median = statistics.median
    rates = [median(rate for rate, _ in measured) for measured in (bare, ours)]
    cpu = [1000 * median(seconds for _, seconds in measured) for measured in (bare, ours)]
    ratio = median(mine[0] / theirs[0] for mine, theirs in zip(ours, bare, strict=True))
    share = median(theirs[1] / mine[1] for mine, theirs in zip(ours, bare, strict=True))
    print(
        f"{backend:8} {width:5} {rates[0]:9.0f} {rates[1]:10.0f} {ratio:6.2f} "
        f"{cpu[0]:9.3f} {cpu[1]:11.3f} {share:10.2f}"
    )


if __name__ == "__main__":
    main()
