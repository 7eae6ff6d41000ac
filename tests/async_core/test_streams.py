from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from sentrio.async_core.streams import (
    AsyncPipeline,
    AsyncQueue,
    AsyncStream,
    async_batch,
    async_filter,
    async_map,
    async_merge,
    async_window,
)
from sentrio.testing import Backend, cancel_everywhere


class Probe:
    """A source that knows how far it was read, and whether it was closed."""

    def __init__(self, count: int | None = None, fail_at: int | None = None) -> None:
        self.count = count
        self.fail_at = fail_at
        self.given = 0
        self.closed = 0

    def sync(self) -> Iterator[int]:
        try:
            for number in itertools.count() if self.count is None else range(self.count):
                if number == self.fail_at:
                    raise LookupError(number)
                self.given = number + 1
                yield number
        finally:
            self.closed += 1

    async def async_(self) -> AsyncIterator[int]:
        try:
            for number in itertools.count() if self.count is None else range(self.count):
                if number == self.fail_at:
                    raise LookupError(number)
                self.given = number + 1
                yield number
                await checkpoint()
        finally:
            self.closed += 1
            with anyio.CancelScope(shield=True):
                await checkpoint()

    def of(self, kind: str) -> Any:
        return self.sync() if kind == "sync" else self.async_()


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def double(number: int) -> int:
    await checkpoint()
    return 2 * number


def add(total: int, number: int) -> int:
    return total + number


async def own_stage(source: Any) -> AsyncIterator[Any]:
    async with AsyncStream(source) as items:
        async for item in items:
            yield item


async def read_into(got: list[Any], stream: AsyncStream[Any]) -> None:
    async for item in stream:
        got.append(item)  # noqa: PERF401  # what came before an error counts


async def settled(condition: Callable[[], bool]) -> None:
    """Give what is closed in the background the time to end."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.001)


async def test_the_documented_example() -> None:
    stream = AsyncStream([1, 2, 3, 4, 5])
    assert await stream.map(lambda x: x * 2).filter(lambda x: x > 5).collect() == [6, 8, 10]
    pipeline = AsyncPipeline()
    pipeline.add_stage(async_map(lambda x: x * 2))
    pipeline.add_stage(async_filter(lambda x: x > 50))
    assert await pipeline.process(range(24, 28)) == [52, 54]


@KINDS
async def test_every_operator(kind: str) -> None:
    def stream(count: int = 7) -> AsyncStream[int]:
        return AsyncStream(range(count) if kind == "sync" else numbers(count))

    assert await stream().collect() == [0, 1, 2, 3, 4, 5, 6]
    assert await stream().map(double).filter(lambda x: x % 3).collect() == [2, 4, 8, 10]
    assert await stream().batch(3).collect() == [[0, 1, 2], [3, 4, 5], [6]]
    assert await stream().batch(3).map(len).collect() == [3, 3, 1]
    assert await stream(0).batch(3).collect() == []
    assert await stream().window(3).collect() == [[n, n + 1, n + 2] for n in range(5)]
    assert await stream().window(2, 3).collect() == [[0, 1], [3, 4]]
    assert await stream().window(3, step=2).collect() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert await stream(2).window(3).collect() == []
    assert await stream().take(2).collect() == [0, 1]
    assert await stream().take(0).collect() == []
    assert await stream().take(99).count() == 7
    assert await stream().skip(5).collect() == [5, 6]
    assert await stream().skip(2).take(3).batch(2).collect() == [[2, 3], [4]]
    assert await stream().count() == 7
    assert await stream().reduce(lambda a, b: a + b, 100) == 121
    assert await stream(0).reduce(lambda a, b: a + b, 100) == 100
    assert sorted(await stream().merge(numbers(2), [7]).collect()) == [0, 0, 1, 1, 2, 3, 4, 5, 6, 7]

    async def add(a: int, b: int) -> int:
        return a + await double(b)

    assert await stream().reduce(add, 0) == 42

    async def odd(number: int) -> bool:
        await checkpoint()
        return number % 2 == 1

    assert await stream().filter(odd).map(double).batch(2).map(double_all).collect() == [[4, 12], [20]]
    seen: list[int] = []
    await stream().for_each(seen.append)
    assert seen == list(range(7))
    assert [item async for item in stream()] == list(range(7))
    async with stream().map(str) as texts:
        assert [text async for text in texts] == list("0123456")


async def double_all(batch: list[int]) -> list[int]:
    return [await double(number) for number in batch]


async def test_functions_take_a_source_or_make_a_stage() -> None:
    assert await async_map(double, range(3)).collect() == [0, 2, 4]
    assert await async_filter(bool, numbers(3)).collect() == [1, 2]
    assert await async_batch(2, range(3)).collect() == [[0, 1], [2]]
    assert await async_window(2, 1, range(3)).collect() == [[0, 1], [1, 2]]
    assert await async_window(2, source=range(3)).collect() == [[0, 1], [1, 2]]
    assert await async_map(double, max_concurrency=3)(numbers(3)).collect() == [0, 2, 4]
    assert await async_batch(2, timeout=60)(numbers(3)).collect() == [[0, 1], [2]]
    assert await async_merge().collect() == []


async def test_pipelines_take_stages_of_ones_own() -> None:
    async def twice(source: Any) -> AsyncIterator[Any]:
        async for item in source:
            yield item
            yield item

    first, second = AsyncPipeline(twice), AsyncPipeline(async_window(2, 2), async_map(sum))
    assert await first.compose(second).process([1, 2]) == [2, 4]
    assert await second.compose(first).process(numbers(4)) == [1, 1, 5, 5]
    assert (len(first.stages), len(second.stages)) == (1, 2)
    assert [item async for item in first.stream("ab")] == ["a", "a", "b", "b"]


async def test_a_lambda_may_return_a_coroutine() -> None:
    assert await AsyncStream(range(3)).map(lambda x: double(x)).collect() == [0, 2, 4]  # noqa: PLW0108


@KINDS
async def test_nothing_is_read_that_nobody_wants(kind: str) -> None:
    cases: list[tuple[Callable[[AsyncStream[Any]], AsyncStream[Any]], int]] = [
        (lambda s: s.map(lambda x: x), 1),
        (lambda s: s.filter(lambda x: x == 3), 4),
        (lambda s: s.batch(5), 5),
        (lambda s: s.take(1), 1),
    ]
    for make, expected in cases:
        probe = Probe()
        async with make(AsyncStream(probe.of(kind))) as items:
            await anext(items)
            assert probe.given == expected
        assert probe.closed == 1

    probe = Probe()
    assert await AsyncStream(probe.of(kind)).take(3).batch(2).collect() == [[0, 1], [2]]
    assert (probe.given, probe.closed) == (3, 1)
    probe = Probe()
    assert await AsyncStream(probe.of(kind)).take(0).collect() == []
    assert probe.given == 0


MAKERS: dict[str, Callable[[Any], AsyncStream[Any]]] = {
    "plain": AsyncStream,
    "map": lambda s: AsyncStream(s).map(double),
    "filter": lambda s: AsyncStream(s).filter(lambda x: True),
    "awaiting filter": lambda s: AsyncStream(s).filter(double).map(double),
    "batch": lambda s: AsyncStream(s).batch(2),
    "window": lambda s: AsyncStream(s).window(2),
    "take": lambda s: AsyncStream(s).take(5),
    "nested": lambda s: AsyncStream(AsyncStream(AsyncStream(s).map(double)).__aiter__()).skip(1),
    "ordered": lambda s: AsyncStream(s).map(double, max_concurrency=3),
    "unordered": lambda s: AsyncStream(s).map(double, max_concurrency=3, ordered=False),
    "timed": lambda s: AsyncStream(s).batch(2, timeout=60),
    "merge": lambda s: async_merge(s, Probe(9).async_(), [1, 2]),
    "pipeline": lambda s: AsyncPipeline(async_map(double), own_stage, async_batch(2)).stream(s),
    "chain": lambda s: async_merge(AsyncStream(s).map(double, max_concurrency=2), numbers(9)).batch(3, 60),
}
OPERATORS = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


@OPERATORS
@KINDS
async def test_leaving_a_bare_loop_closes_the_source(kind: str, make: Callable[[Any], Any]) -> None:
    tasks = len(anyio.get_running_tasks())
    probe = Probe()
    async for _ in make(probe.of(kind)):
        break
    await settled(lambda: probe.closed == 1 and len(anyio.get_running_tasks()) == tasks)


@OPERATORS
@KINDS
async def test_leaving_a_block_closes_the_source_at_once(kind: str, make: Callable[[Any], Any]) -> None:
    tasks = len(anyio.get_running_tasks())
    probe = Probe()
    async with make(probe.of(kind)) as items:
        await anext(items)
    assert probe.closed == 1
    assert len(anyio.get_running_tasks()) == tasks
    with pytest.raises(StopAsyncIteration):
        await anext(items)


@OPERATORS
@KINDS
async def test_an_error_in_the_source_comes_out_as_itself(kind: str, make: Callable[[Any], Any]) -> None:
    tasks = len(anyio.get_running_tasks())
    probe = Probe(fail_at=3)
    got: list[Any] = []
    with pytest.raises(LookupError):
        await read_into(got, make(probe.of(kind)).map(lambda x: x))
    assert probe.closed == 1
    assert got
    assert len(anyio.get_running_tasks()) == tasks


@OPERATORS
@KINDS
def test_nothing_is_left_when_it_is_cancelled(kind: str, make: Callable[[Any], Any], backend: Backend) -> None:
    probes: list[Probe] = []

    async def bare() -> None:
        tasks = len(anyio.get_running_tasks())
        probe = Probe(4)
        probes.append(probe)
        try:
            async for _ in make(probe.of(kind)):
                await checkpoint()
        finally:
            # Cancelled in the body, a bare loop is closed in the background.
            with anyio.CancelScope(shield=True):
                await settled(lambda: len(anyio.get_running_tasks()) == tasks)

    async def bare_without_a_body() -> None:
        probes.append(Probe(4))
        async for _ in make(probes[-1].of(kind)):
            pass

    async def block() -> None:
        probes.append(Probe())
        async with make(probes[-1].of(kind)) as items:
            await anext(items)

    def check() -> None:
        assert all(probe.closed == bool(probe.given) for probe in probes)
        probes.clear()

    assert cancel_everywhere(bare, backend=backend, check=check).points
    for operation in (bare_without_a_body, block):
        cancel_everywhere(operation, backend=backend, check=check)


READERS: dict[str, Callable[[AsyncStream[int]], Awaitable[object]]] = {
    "collect": lambda s: s.collect(),
    "count": lambda s: s.count(),
    "reduce": lambda s: s.reduce(add, 0),
    "for_each": lambda s: s.for_each(double),
    "process": lambda s: AsyncPipeline(async_map(double, max_concurrency=2)).process(s),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
@KINDS
def test_nothing_is_left_when_its_reader_is_cancelled(
    kind: str, read: Callable[[Any], Awaitable[object]], backend: Backend
) -> None:
    probes: list[Probe] = []

    async def operation() -> None:
        probes.append(Probe(4))
        await read(AsyncStream(probes[-1].of(kind)).map(double))

    def check() -> None:
        assert all(probe.closed == bool(probe.given) for probe in probes)
        probes.clear()

    assert cancel_everywhere(operation, backend=backend, check=check).points > 3


@OPERATORS
def test_a_loop_that_was_left_ends_with_the_event_loop(
    make: Callable[[Any], Any], backend: Backend, recwarn: pytest.WarningsRecorder
) -> None:
    gc.collect()  # what other tests have left must not be this one's
    recwarn.clear()
    probe = Probe()

    async def main() -> None:
        items = aiter(make(probe.async_()))
        await anext(items)
        kept.append(items)

    kept: list[Any] = []
    anyio.run(main, backend="trio" if backend == "trio" else "asyncio")
    kept.clear()
    gc.collect()
    assert probe.closed == 1
    assert not recwarn.list


class TestConcurrentMap:
    async def test_bounds_calls_and_keeps_order(self) -> None:
        running = peak = 0

        async def work(number: int) -> int:
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            for _ in range(5 - number % 5):
                await checkpoint()
            running -= 1
            return number

        results = await AsyncStream(numbers(30)).map(work, max_concurrency=4).collect()
        assert results == list(range(30))
        assert peak == 4
        unordered = await AsyncStream(range(30)).map(work, max_concurrency=4, ordered=False).collect()
        assert sorted(unordered) == list(range(30))
        assert unordered != list(range(30))

    async def test_does_not_run_ahead_of_its_reader(self) -> None:
        probe = Probe()
        async with AsyncStream(probe.sync()).map(double, max_concurrency=3) as items:
            for expected in range(0, 20, 2):
                assert await anext(items) == expected
                await anyio.wait_all_tasks_blocked()
                assert probe.given <= expected // 2 + 4

    @pytest.mark.parametrize("ordered", [True, False])
    async def test_the_first_error_cancels_the_others(self, ordered: bool) -> None:
        cancelled = 0

        async def work(number: int) -> int:
            nonlocal cancelled
            if number == 3:
                await anyio.wait_all_tasks_blocked()
                raise LookupError(number)
            if number < 3:
                return number
            try:
                await anyio.sleep_forever()
            finally:
                cancelled += 1
            return number

        got: list[Any] = []
        with pytest.raises(LookupError):
            await read_into(got, AsyncStream(range(9)).map(work, max_concurrency=6, ordered=ordered))
        assert sorted(got) == [0, 1, 2]
        assert cancelled == 5

    async def test_an_error_of_the_source_waits_for_the_items_before_it(self) -> None:
        got: list[Any] = []
        with pytest.raises(LookupError):
            await read_into(got, AsyncStream(Probe(fail_at=4).sync()).map(double, max_concurrency=9))
        assert got == [0, 2, 4, 6]

    async def test_plain_functions_will_do(self) -> None:
        assert await AsyncStream("ab").map(str.upper, max_concurrency=2).collect() == ["A", "B"]


class TestMerge:
    async def test_gives_items_as_they_arrive(self) -> None:
        fast, slow = AsyncQueue[int](), AsyncQueue[int]()
        async with async_merge(fast, slow) as items:
            for number in range(3):
                await fast.put(number)
                assert await anext(items) == number
            await slow.put(10)
            assert await anext(items) == 10
            fast.close()
            await slow.put(11)
            assert await anext(items) == 11
            slow.close()
            with pytest.raises(StopAsyncIteration):
                await anext(items)

    async def test_an_error_closes_the_others_and_keeps_what_had_arrived(self) -> None:
        idle, busy = Probe(), Probe(3)

        async def waiting() -> AsyncIterator[int]:
            try:
                yield 0
                await anyio.sleep_forever()
            finally:
                idle.closed += 1

        async def failing() -> AsyncIterator[int]:
            await anyio.wait_all_tasks_blocked()
            yield 99
            raise LookupError

        got: list[Any] = []
        with pytest.raises(LookupError):
            await read_into(got, async_merge(waiting(), busy.async_(), failing()))
        assert sorted(got) == [0, 0, 1, 2, 99]
        assert idle.closed == busy.closed == 1

    async def test_no_source_runs_far_ahead(self) -> None:
        probes = [Probe(), Probe()]
        async with async_merge(*(probe.async_() for probe in probes)) as items:
            await anext(items)
            await anyio.wait_all_tasks_blocked()
            assert all(probe.given <= 17 for probe in probes)
            seen = [await anext(items) for _ in range(200)]
        assert len(seen) == 200
        assert all(probe.closed == 1 for probe in probes)


@given(st.lists(st.integers()), st.integers(1, 5), st.integers(1, 5), st.integers(0, 9))
def test_stages_agree_with_lists(items: list[int], size: int, step: int, count: int) -> None:
    async def main() -> None:
        for source in (lambda: items, lambda: agen(items), lambda: iter(items)):
            windows = [items[n : n + size] for n in range(0, max(len(items) - size + 1, 0), step)]
            assert await AsyncStream(source()).window(size, step).collect() == windows
            batches = [items[n : n + size] for n in range(0, len(items), size)]
            assert await AsyncStream(source()).batch(size).collect() == batches
            assert await AsyncStream(source()).batch(size, 60).collect() == batches
            kept = [x for x in items[count:] if x % 2][:step]
            stream = AsyncStream(source()).skip(count).filter(lambda x: x % 2)
            assert await stream.take(step).collect() == kept
            mapped = AsyncStream(source()).map(double, max_concurrency=size)
            assert await mapped.collect() == [2 * item for item in items]

    async def agen(items: list[int]) -> AsyncIterator[int]:
        for item in items:
            yield item

    anyio.run(main)


@pytest.mark.parametrize("make", ["list", "async", "filter", "queue", "collect"])
async def test_a_busy_stream_gives_the_loop_its_turn(make: str) -> None:
    count = 100_000
    queue = AsyncQueue[int]()
    if make == "queue":
        for number in range(count):
            queue.put_nowait(number)
        queue.close()
    source: Any = {"async": numbers(count), "queue": queue}.get(make, range(count))
    stream = AsyncStream[int](source).map(lambda x: x + 1)
    if make == "filter":
        stream = stream.filter(lambda x: x < 0)

    stalls: list[float] = []
    done = anyio.Event()

    async def other() -> None:
        # Time of this thread's processor: other processes must not count.
        before = time.thread_time()
        while not done.is_set():
            await checkpoint()
            now = time.thread_time()
            stalls.append(now - before)
            before = now

    async with anyio.create_task_group() as tg:
        tg.start_soon(other)
        await checkpoint()
        if make == "collect":
            await stream.collect()
        else:
            async for _ in stream:
                pass
        done.set()
    assert len(stalls) > 2
    assert sorted(stalls)[len(stalls) // 2] < 0.01


async def test_slow_functions_give_the_loop_its_turn_too() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as tg:
        tg.start_soon(other)
        await AsyncStream(range(1000)).take(30).map(lambda _: time.sleep(0.005)).collect()
        tg.cancel_scope.cancel()
    assert turns >= 15


async def test_a_list_may_be_read_again_and_a_generator_only_once() -> None:
    stream = AsyncStream([1, 2]).map(double)
    assert await stream.collect() == await stream.collect() == [2, 4]
    for source in (iter([1, 2]), numbers(2), Probe(2).sync()):
        once = AsyncStream[int](source)
        assert await once.map(double).count() == 2
        with pytest.raises(RuntimeError, match="can be read only once"):
            await once.collect()


async def test_two_tasks_can_not_share_an_iteration() -> None:
    queue = AsyncQueue[int]()
    items = aiter(queue.stream())
    async with anyio.create_task_group() as tg:
        tg.start_soon(anext, items)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="another task is waiting"):
            await anext(items)
        with pytest.raises(RuntimeError, match="another task is waiting"):
            await items.aclose()
        await queue.put(1)


async def test_errors_of_functions_come_out_and_close_the_source() -> None:
    async def stop(item: int) -> int:
        raise StopAsyncIteration

    for func, error in ((lambda x: 1 // x, ZeroDivisionError), (stop, RuntimeError)):
        probe = Probe()
        with pytest.raises(error):
            await AsyncStream(probe.async_()).map(func).collect()
        assert probe.closed == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda s: s,
        lambda s: s.merge([]),
        lambda s: s.map(str, max_concurrency=2),
        lambda s: s.batch(1, timeout=10),
    ],
    ids=["plain", "merge", "map", "batch"],
)
@pytest.mark.parametrize("waits", [True, False])
async def test_an_error_while_closing_a_source_is_raised_at_the_end_of_the_block(
    make: Callable[[Any], Any], waits: bool
) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            if waits:
                await anyio.sleep_forever()
            for number in range(1000):
                yield number
        finally:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with make(AsyncStream(numbers())) as items:
            await anext(items)
    with pytest.raises(ZeroDivisionError):
        await make(AsyncStream(numbers())).take(1).collect()


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_concurrent_function_that_raises_stop_async_iteration_does_not_end_the_stream_in_silence(
    ordered: bool,
) -> None:
    async def stop(item: int) -> int:
        if item == 3:
            raise StopAsyncIteration
        return item

    with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
        await AsyncStream(range(9)).map(stop, max_concurrency=2, ordered=ordered).collect()


@pytest.mark.parametrize("kind", ["map", "unordered map", "merge"])
def test_cancelled_error_without_a_cancellation_is_an_error_and_loses_no_items_in_silence(kind: str) -> None:
    async def fail(item: int) -> int:
        if item == 3:
            raise asyncio.CancelledError  # as when it awaits a task that somebody has cancelled
        return item

    async def main() -> None:
        numbers = AsyncStream(range(9))
        if kind == "merge":
            stream = numbers.map(fail).merge([1, 2])
        else:
            stream = numbers.map(fail, max_concurrency=2, ordered=kind == "map")
        with pytest.raises(asyncio.CancelledError):
            await stream.collect()
        assert await numbers.count() == 9  # nobody is cancelled

    asyncio.run(main())


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda s: s.map(str, max_concurrency=0), "max_concurrency must be at least 1, got 0"),
        (lambda s: s.batch(0), "size must be at least 1, got 0"),
        (lambda s: s.batch(1, timeout=-1), "timeout .* got -1"),
        (lambda s: s.batch(1, timeout=float("nan")), "timeout .* got nan"),
        (lambda s: s.window(0), "size must be at least 1, got 0"),
        (lambda s: s.window(1, 0), "step must be at least 1, got 0"),
        (lambda s: s.take(-1), "count must be at least 0, got -1"),
        (lambda s: s.skip(-1), "count must be at least 0, got -1"),
        (lambda s: async_batch(0), "size must be at least 1, got 0"),
        (lambda s: async_window(1, step=0), "step must be at least 1, got 0"),
        (lambda s: async_map(str, max_concurrency=0), "max_concurrency must be at least 1"),
    ],
    ids=itertools.count(),
)
def test_refuses_values_out_of_range(call: Callable[[AsyncStream[int]], object], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        call(AsyncStream([1]))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: AsyncStream(7), "needs an iterable or an async iterable, got 7"),  # type: ignore[arg-type]
        (lambda: async_merge([1], 7), "needs an iterable or an async iterable, got 7"),  # type: ignore[arg-type]
        (lambda: AsyncStream([1]).map(7), "func must be a function, got 7"),  # type: ignore[call-overload]
        (lambda: AsyncStream([1]).filter(None), "predicate must be a function"),  # type: ignore[arg-type]
        (lambda: AsyncPipeline(7), "stage must be a function, got 7"),  # type: ignore[arg-type]
        (lambda: async_filter(7), "predicate must be a function, got 7"),  # type: ignore[call-overload]
    ],
    ids=itertools.count(),
)
def test_refuses_what_is_no_stream_or_function(call: Callable[[], object], error: str) -> None:
    with pytest.raises(TypeError, match=error):
        call()


async def test_a_turn_of_the_loop_loses_no_wake_up() -> None:
    """The loop gets its turn between two items: what arrives in that moment must be seen."""
    queue = AsyncQueue[int](1)

    async def produce() -> None:
        async with queue:
            for number in range(150):
                await queue.put(number)

    def slow(item: Any) -> Any:
        time.sleep(0.001)  # a few of them are longer than a stream goes on without a turn
        return item

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tg:
            tg.start_soon(produce)
            assert await queue.stream().map(slow).count() == 150
        assert await async_merge(numbers(150)).map(slow).count() == 150
        assert await AsyncStream(numbers(150)).map(double, max_concurrency=2).map(slow).count() == 150
        assert await AsyncStream(numbers(150)).batch(2, timeout=60).map(slow).count() == 75
