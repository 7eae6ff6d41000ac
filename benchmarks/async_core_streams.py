"""Streams and queues beside hand-written ones, interleaved in one process; prints a table.

Usage: ``python benchmarks/async_core_streams.py [--items 200000] [--rounds 5] [--backend asyncio|trio]``

Time is that of the processor, which other work on the machine disturbs less than that of the clock, and the
best of all rounds; "by hand" is the share of the hand-written chain, or of the backend's own queue, above it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from sentrio.async_core.streams import (
    AsyncPipeline,
    AsyncQueue,
    AsyncStream,
    async_batch,
    async_filter,
    async_map,
)

Case = Callable[[int], Awaitable[object]]


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def hand_map(source: AsyncIterable[int]) -> AsyncIterator[int]:
    async for item in source:
        yield item * 2


async def hand_map_awaiting(source: AsyncIterable[int]) -> AsyncIterator[int]:
    async for item in source:
        yield await double(item)


async def hand_filter(source: AsyncIterable[int]) -> AsyncIterator[int]:
    async for item in source:
        if item % 3:
            yield item


async def hand_batch(source: AsyncIterable[int]) -> AsyncIterator[list[int]]:
    batch = []
    async for item in source:
        batch.append(item)
        if len(batch) == 100:
            yield batch
            batch = []
    if batch:
        yield batch


async def double(number: int) -> int:
    return number * 2


async def read(source: AsyncIterable[Any]) -> None:
    async for _ in source:
        pass


def stream(source: Iterable[int] | AsyncIterable[int]) -> AsyncStream[list[int]]:
    return AsyncStream(source).map(lambda x: x * 2).filter(lambda x: x % 3).batch(100)


def stream_awaiting(source: Iterable[int]) -> AsyncStream[list[int]]:
    return AsyncStream(source).map(double).filter(lambda x: x % 3).batch(100)


def pipeline() -> AsyncPipeline:
    chain = AsyncPipeline()
    chain.add_stage(async_map(lambda x: x * 2))
    chain.add_stage(async_filter(lambda x: x % 3))
    return chain.add_stage(async_batch(100))


async def queue_pairs(queue: Any, count: int) -> None:
    for number in range(count):
        await queue.put(number)
        await queue.get()


async def queue_stream(count: int) -> None:
    queue = AsyncQueue[int]()
    for number in range(count):
        await queue.put(number)
    queue.close()
    await read(queue.stream())


async def between_tasks(count: int) -> None:
    queue = AsyncQueue[int](1000)

    async def produce() -> None:
        async with queue:
            for number in range(count):
                await queue.put(number)

    async with anyio.create_task_group() as tg:
        tg.start_soon(produce)
        await read(queue)


async def memory_stream(count: int) -> None:
    send, receive = anyio.create_memory_object_stream[int](1000)

    async def produce() -> None:
        async with send:
            for number in range(count // 10):  # an item costs ten times as much
                await send.send(number)

    async with anyio.create_task_group() as tg:
        tg.start_soon(produce)
        async with receive:
            await read(receive)


def cases(backend: str) -> dict[str, tuple[Case, float, str]]:
    """Return what is measured, which share of the items it handles, and what it is compared with."""
    by_hand, awaiting = "hand-written async generators", "hand-written, awaiting map"
    memory_queue = "anyio memory stream between tasks"
    chosen: dict[str, tuple[Case, float, str]] = {
        by_hand: (lambda n: read(hand_batch(hand_filter(hand_map(numbers(n))))), 1, by_hand),
        "AsyncStream(list)": (lambda n: read(stream(range(n))), 1, by_hand),
        "AsyncStream(async generator)": (lambda n: read(stream(numbers(n))), 1, by_hand),
        "AsyncPipeline(list)": (lambda n: pipeline().process(range(n)), 1, by_hand),
        awaiting: (lambda n: read(hand_batch(hand_filter(hand_map_awaiting(numbers(n))))), 1, awaiting),
        "AsyncStream, awaiting map": (lambda n: read(stream_awaiting(range(n))), 1, awaiting),
        memory_queue: (memory_stream, 0.1, memory_queue),
        "AsyncQueue between tasks": (between_tasks, 1, memory_queue),
        "AsyncQueue.stream()": (queue_stream, 1, memory_queue),
    }
    own_queue = "asyncio.Queue put+get" if backend == "asyncio" else "AsyncQueue put+get"
    if backend == "asyncio":
        chosen[own_queue] = (lambda n: queue_pairs(asyncio.Queue(), n), 1, own_queue)
    chosen["AsyncQueue put+get"] = (lambda n: queue_pairs(AsyncQueue(), n), 1, own_queue)
    return chosen


async def longest_stall(case: Case, count: int) -> float:
    """Return the longest time (of this thread's processor) that another task had to wait."""
    worst = 0.0
    done = anyio.Event()

    async def other() -> None:
        nonlocal worst
        before = time.thread_time()
        while not done.is_set():
            await checkpoint()
            now = time.thread_time()
            worst, before = max(worst, now - before), now

    async with anyio.create_task_group() as tg:
        tg.start_soon(other)
        await checkpoint()
        await case(count)
        done.set()
    return worst


async def main(items: int, rounds: int, backend: str) -> None:
    measured = cases(backend)
    seconds = dict.fromkeys(measured, float("inf"))
    for _ in range(rounds):
        for name, (case, share, _other) in measured.items():
            begun = time.process_time()
            await case(items)
            seconds[name] = min(seconds[name], (time.process_time() - begun) / share)
    print(f"{backend}, {items:,} items, best of {rounds} rounds")
    print(f"{'':<36}{'M items/s':>10}{'us/item':>9}{'by hand':>9}{'stall ms':>10}")
    for name, (case, _share, other) in measured.items():
        best = seconds[name]
        stall = await longest_stall(case, items // 2)
        figures = (
            f"{items / best / 1e6:>10.2f}{best / items * 1e6:>9.2f}{best / seconds[other]:>8.2f}x{stall * 1e3:>10.1f}"
        )
        print(f"{name:<36}{figures}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    chosen = parser.parse_args()
    anyio.run(main, chosen.items, chosen.rounds, chosen.backend, backend=chosen.backend)
