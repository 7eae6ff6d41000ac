from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import types
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import sentrio.async_core.runner
from sentrio.async_core._isolated import isolated
from sentrio.async_core.background import async_background
from sentrio.async_core.runner import AsyncRunner, TaskPriority, TaskScheduler
from sentrio.errors import OptionValueError, RunnerClosedError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


class Gauge:
    """Work that counts how much of it runs at once."""

    def __init__(self) -> None:
        self.now = self.peak = self.begun = self.ended = 0

    async def work(self, value: int = 0, seconds: float = 0.0) -> int:
        self.now += 1
        self.begun += 1
        self.peak = max(self.peak, self.now)
        try:
            await anyio.sleep(seconds)
        finally:
            self.now -= 1
            self.ended += 1
        return value


async def fail(error: BaseException) -> None:
    await anyio.sleep(0.001)
    raise error


# --- the runner ------------------------------------------------------------------------------------------


def test_the_names_of_the_reference_are_there() -> None:
    names = (
        "ResourcePool",
        "TaskPriority",
        "TaskScheduler",
        "async_background",
        "async_run",
        "async_timeout",
    )
    assert all(hasattr(sentrio.async_core.runner, name) for name in names)
    assert all(hasattr(sentrio.async_core, name) for name in (*names, "AsyncRunner"))


async def test_submit_gives_the_result() -> None:
    async with AsyncRunner(max_workers=10) as runner:
        assert await runner.submit(Gauge().work(3), priority=TaskPriority.HIGH) == 3
        assert runner.statistics().succeeded == 1


async def test_outside_of_its_block_it_refuses_at_once() -> None:
    runner = AsyncRunner()
    for _ in range(2):
        with pytest.raises(RunnerClosedError, match="async runner"):
            await runner.submit(Gauge().work())
        with pytest.raises(RunnerClosedError, match="async runner"):
            await runner.gather([Gauge().work(), Gauge().work()])
        with pytest.raises(RunnerClosedError, match="async runner"):
            async with runner.stream(Gauge().work, [1]):
                pass
        async with runner:
            pass


async def test_started_and_shut_down_by_hand() -> None:
    runner = AsyncRunner(2)
    await runner.start()
    assert await runner.gather([Gauge().work(1), Gauge().work(2)]) == [1, 2]
    await runner.shutdown()
    with pytest.raises(RunnerClosedError, match="was shut down"):
        await runner.submit(Gauge().work())


async def test_an_error_in_the_block_comes_out_as_itself() -> None:
    own = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        async with AsyncRunner():
            raise own
    assert caught.value is own


async def test_leaving_the_block_waits_for_tasks_of_others() -> None:
    gauge = Gauge()
    async with anyio.create_task_group() as tg:
        async with AsyncRunner(1) as runner:
            for _ in range(3):
                tg.start_soon(runner.submit, gauge.work(0, 0.001))
            await anyio.wait_all_tasks_blocked()
        assert gauge.ended == 3


def test_the_environment_sets_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTRIO_ASYNC_WORKERS", raising=False)
    assert AsyncRunner().max_workers == 10
    monkeypatch.setenv("SENTRIO_ASYNC_WORKERS", "3")
    assert AsyncRunner().max_workers == 3
    assert AsyncRunner(max_workers=7).max_workers == 7
    for bad in ("0", "-2", "ten", "1.5"):
        monkeypatch.setenv("SENTRIO_ASYNC_WORKERS", bad)
        with pytest.raises(OptionValueError, match=rf"SENTRIO_ASYNC_WORKERS .* at least 1, got '{bad}'"):
            AsyncRunner()


@pytest.mark.parametrize("bad", [0, -1, math.nan])
def test_refuses_a_number_of_workers_out_of_range(bad: Any) -> None:
    with pytest.raises(ValueError, match=rf"max_workers must be at least 1, got {bad}"):
        AsyncRunner(max_workers=bad)


def test_refuses_options_that_it_does_not_know() -> None:
    with pytest.raises(UnknownOptionError, match=r"AsyncRunner: unknown option 'workers'"):
        AsyncRunner(workers=3)  # type: ignore[call-arg]


# --- gather ----------------------------------------------------------------------------------------------


async def test_gather_keeps_order_and_limit() -> None:
    gauge = Gauge()
    async with AsyncRunner(max_workers=10) as runner:
        values = await runner.gather([gauge.work(n, 0.002 * (n % 3)) for n in range(200)])
    assert values == list(range(200))
    assert gauge.peak == 10


async def test_gather_of_nothing() -> None:
    async with AsyncRunner() as runner:
        assert await runner.gather([]) == []


async def test_gather_and_submit_share_the_limit() -> None:
    gauge = Gauge()
    async with AsyncRunner(max_workers=3) as runner, anyio.create_task_group() as tg:
        for _ in range(5):
            tg.start_soon(runner.submit, gauge.work(0, 0.005))
            tg.start_soon(runner.gather, [gauge.work(0, 0.005) for _ in range(5)])
    assert (gauge.ended, gauge.peak) == (30, 3)


async def test_an_error_cancels_the_others_and_waits_for_them() -> None:
    own = LookupError("mine")
    gauge = Gauge()
    async with AsyncRunner(max_workers=6) as runner:
        slow, never_begun = [gauge.work(0, 60) for _ in range(5)], [gauge.work() for _ in range(50)]
        with pytest.raises(LookupError) as caught:
            await runner.gather([*slow, fail(own), *never_begun])
        assert caught.value is own
        assert gauge.begun == gauge.ended == 5
        assert runner.statistics().running == 0


async def test_errors_of_those_that_were_cancelled_are_noted() -> None:
    async def stubborn() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("while it was cancelled")

    async with AsyncRunner() as runner:
        with pytest.raises(LookupError) as caught:
            await runner.gather([stubborn(), fail(LookupError())])
    assert caught.value.__notes__ == ["while it was cancelled, another task raised OSError"]


async def test_errors_as_values() -> None:
    errors = [LookupError("one"), OSError("two")]
    async with AsyncRunner(2) as runner:
        results = await runner.gather([fail(errors[0]), Gauge().work(1), fail(errors[1])], return_exceptions=True)
    assert results == [errors[0], 1, errors[1]]


def test_a_coroutine_that_raises_cancelled_error_is_an_outcome() -> None:
    async def main() -> None:
        async with AsyncRunner(2) as runner:
            results = await runner.gather([fail(asyncio.CancelledError()), Gauge().work(1)], return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError)
            assert results[1] == 1
            gauge = Gauge()
            with pytest.raises(asyncio.CancelledError):
                await runner.gather([fail(asyncio.CancelledError()), gauge.work(0, 60)])
            assert gauge.ended == 1

    asyncio.run(main())


async def test_cancelling_gather_cancels_all() -> None:
    gauge = Gauge()
    async with AsyncRunner(3) as runner:

        async def gather() -> None:
            await runner.gather([gauge.work(0, 60) for _ in range(10)], return_exceptions=True)

        async with anyio.create_task_group() as tg:
            tg.start_soon(gather)
            with anyio.fail_after(30):
                while gauge.begun < 3:
                    await anyio.sleep(0.001)
            tg.cancel_scope.cancel()
        assert gauge.begun == gauge.ended == 3
        assert runner.statistics().running == 0


async def test_gather_refuses_what_is_no_coroutine_and_closes_the_others() -> None:
    async with AsyncRunner() as runner:
        with pytest.raises(TypeError, match="gather needs a coroutine object, got 3"):
            await runner.gather([Gauge().work(), 3, Gauge().work()])  # type: ignore[arg-type]


async def test_gather_closes_what_an_iterable_has_made_before_it_raises() -> None:
    made = [Gauge().work(n) for n in range(3)]

    def coros() -> Iterator[Coroutine[Any, Any, int]]:
        yield from made[:2]
        raise ZeroDivisionError

    async with AsyncRunner() as runner:
        with pytest.raises(ZeroDivisionError):
            await runner.gather(coros())
        with pytest.raises(TypeError, match="put the one that you have into a list"):
            await runner.gather(made[2])  # type: ignore[call-overload]
    assert {inspect.getcoroutinestate(coro) for coro in made} == {inspect.CORO_CLOSED}


async def test_gather_refuses_what_can_run_only_once() -> None:
    async with AsyncRunner() as runner:
        twice = Gauge().work()
        with pytest.raises(RuntimeError, match="the same coroutine object twice"):
            await runner.gather([twice, Gauge().work(), twice])
        shared = Gauge().work(7, 0.01)
        both = await runner.gather([runner.gather([shared]), runner.gather([shared])], return_exceptions=True)
        assert [7] in both
        assert {type(outcome) for outcome in both} == {list, RuntimeError}
        done = Gauge().work()
        await done
        with pytest.raises(RuntimeError, match="was awaited already"):
            await runner.gather([Gauge().work(), done])


async def test_gather_is_ended_by_a_shutdown() -> None:
    async with AsyncRunner(2) as runner, anyio.create_task_group() as tg:

        async def gather() -> None:
            with pytest.raises(RunnerClosedError, match=r"was shut down before gather\(\) had ended"):
                await runner.gather([Gauge().work(0, 60) for _ in range(5)])

        tg.start_soon(gather)
        await anyio.wait_all_tasks_blocked()
        await runner.shutdown(wait=False)


def test_gather_is_ended_by_a_shutdown_before_it_has_begun() -> None:
    async def main() -> None:
        runner = AsyncRunner(2)
        await runner.start()
        gathered = await asyncio.gather(
            runner.gather([Gauge().work() for _ in range(5)]),
            runner.shutdown(wait=False),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in gathered] == [RunnerClosedError, type(None)]

    asyncio.run(main())


def test_closing_gather_closes_what_it_runs() -> None:
    """As the end of an interpreter does to a coroutine in the middle."""
    log: list[str] = []

    @types.coroutine
    def suspend() -> Generator[str, None, None]:
        yield "suspended"

    async def work() -> None:
        try:
            await suspend()
        finally:
            log.append(f"closed with {variable.get()}")

    context = contextvars.copy_context()
    context.run(variable.set, 5)
    running = isolated(work(), context)
    assert running.send(None) == "suspended"
    running.close()
    assert log == ["closed with 5"]


async def test_a_shutdown_that_waits_waits_for_gather() -> None:
    gauge = Gauge()
    runner = AsyncRunner(2)
    await runner.start()
    async with anyio.create_task_group() as tg:
        for _ in range(2):  # two calls that take turns, and so enter again and again
            tg.start_soon(runner.gather, [gauge.work(0, 0.001) for _ in range(10)])
        while not gauge.begun:
            await anyio.lowlevel.checkpoint()
        await runner.shutdown()
        assert gauge.ended == 20
        with pytest.raises(RunnerClosedError):
            await runner.gather([gauge.work()])


async def test_each_coroutine_has_its_own_context() -> None:
    async def change(value: int) -> tuple[int, int]:
        before = variable.get()
        variable.set(value)
        await anyio.lowlevel.checkpoint()
        return before, variable.get()

    variable.set(-1)
    async with AsyncRunner(2) as runner:
        results = await runner.gather([change(n) for n in range(10)])
    assert results == [(-1, n) for n in range(10)]
    assert variable.get() == -1


async def test_scopes_groups_and_timeouts_work_inside() -> None:
    async def work() -> bool:
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.sleep, 0.001)
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    async with AsyncRunner(2) as runner:
        assert await runner.gather([work() for _ in range(5)]) == [True] * 5


async def test_coroutines_that_never_wait_do_not_hold_the_loop() -> None:
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def busy() -> None:
        sum(range(20_000))

    async with AsyncRunner(1) as runner, anyio.create_task_group() as tg:
        tg.start_soon(watch)
        await runner.gather([busy() for _ in range(1000)])
        tg.cancel_scope.cancel()
    # A turn every five milliseconds, of at least two hundred that the work takes.
    assert turns >= 15


async def test_gather_lets_the_urgent_pass() -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)
        await anyio.sleep(0.001)

    async with AsyncRunner(1) as runner, anyio.create_task_group() as tg:
        tg.start_soon(runner.gather, [note("many") for _ in range(20)])
        while not order:
            await anyio.lowlevel.checkpoint()
        tg.start_soon(runner.submit, note("urgent"), TaskPriority.CRITICAL)
    assert order.index("urgent") < 5


async def test_gather_inside_tasks_does_not_deadlock() -> None:
    gauge = Gauge()
    async with AsyncRunner(2) as runner:

        async def parent(depth: int) -> int:
            if not depth:
                return await gauge.work(1, 0.001)
            return sum(await runner.gather([parent(depth - 1) for _ in range(3)]))

        with anyio.fail_after(30):
            results = await runner.gather([parent(2) for _ in range(3)])
    assert (results, gauge.ended) == ([9, 9, 9], 27)
    assert gauge.peak == 2


async def test_gather_inside_an_ending_runner_still_works() -> None:
    runner = AsyncRunner(1)
    go = anyio.Event()

    async def parent() -> list[int]:
        await go.wait()
        return await runner.gather([Gauge().work(1)])

    await runner.start()
    async with anyio.create_task_group() as tg:
        handle = async_background(runner.submit(parent()))
        await anyio.wait_all_tasks_blocked()
        tg.start_soon(runner.shutdown)
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert await handle == [1]


# --- stream ----------------------------------------------------------------------------------------------


async def count(to: int, closed: list[str] | None = None) -> AsyncIterator[int]:
    try:
        for n in range(to):
            await anyio.lowlevel.checkpoint()
            yield n
    finally:
        if closed is not None:
            closed.append("source")


async def test_stream_over_sync_and_async_items_within_the_limit() -> None:
    gauge = Gauge()
    async with AsyncRunner(3) as runner:
        for items in (range(30), count(30), list(range(30))):
            async with runner.stream(lambda n: gauge.work(n, 0.001), items) as results:
                assert sorted([value async for value in results]) == list(range(30))
    assert gauge.peak == 3


async def test_stream_gives_results_as_they_come() -> None:
    gates = [anyio.Event() for _ in range(3)]

    async def wait(number: int) -> int:
        await gates[number].wait()
        return number

    async with AsyncRunner(3) as runner, runner.stream(wait, range(3)) as results:
        for number in (1, 2, 0):
            gates[number].set()
            assert await anext(results) == number


async def test_stream_takes_a_plain_function() -> None:
    async with AsyncRunner(2) as runner, runner.stream(str, range(3)) as results:
        assert sorted([text async for text in results]) == ["0", "1", "2"]


async def test_stream_takes_no_more_than_is_taken_from_it() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    async with AsyncRunner(4) as runner, runner.stream(Gauge().work, items()) as results:
        await anyio.wait_all_tasks_blocked()
        assert len(taken) == 4
        assert runner.statistics().running == 0  # what waits for the consumer holds no slot
        await anext(results)
        await anyio.wait_all_tasks_blocked()
        assert len(taken) == 5


async def test_the_consumer_may_submit() -> None:
    async with AsyncRunner(1) as runner:
        with anyio.fail_after(30):
            async with runner.stream(Gauge().work, range(5)) as results:
                assert sum([await runner.submit(Gauge().work(value)) async for value in results]) == 10


async def test_leaving_a_stream_early_cancels_the_rest_and_closes_the_source() -> None:
    gauge = Gauge()
    closed: list[str] = []
    async with AsyncRunner(3) as runner:
        async with runner.stream(lambda n: gauge.work(n, 60 * (n % 2)), count(100, closed)) as results:
            async for _ in results:
                break
        assert closed == ["source"]
        assert gauge.begun == gauge.ended < 10
        assert runner.statistics().running == 0


async def test_an_error_of_the_function_reaches_the_consumer_as_itself() -> None:
    own = LookupError("mine")
    closed: list[str] = []

    async def work(n: int) -> int:
        if n == 3:
            raise own
        return n

    async def consume(seen: list[int]) -> None:
        async with AsyncRunner(1) as runner, runner.stream(work, count(10, closed)) as results:
            async for value in results:
                seen += [value]

    seen: list[int] = []
    with pytest.raises(LookupError) as caught:
        await consume(seen)
    assert caught.value is own
    assert (seen, closed) == ([0, 1, 2], ["source"])


async def test_an_error_of_the_source_reaches_the_consumer() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("cannot read on")

    async def consume() -> None:
        async with AsyncRunner(2) as runner, runner.stream(Gauge().work, broken()) as results:
            async for _ in results:
                pass

    with pytest.raises(OSError, match="cannot read on"):
        await consume()


async def test_an_error_that_the_consumer_leaves_too_early_to_see_is_raised_all_the_same() -> None:
    failed = anyio.Event()

    async def work(number: int) -> None:
        failed.set()
        raise LookupError

    async def leave_early() -> None:
        async with AsyncRunner(2) as runner, runner.stream(work, [1]):
            await failed.wait()
            await anyio.wait_all_tasks_blocked()

    with pytest.raises(LookupError):
        await leave_early()


async def test_an_error_of_the_consumer_comes_out_as_itself() -> None:
    own = LookupError("mine")

    async def consume() -> None:
        async with AsyncRunner(2) as runner, runner.stream(Gauge().work, range(10)) as results:
            async for _ in results:
                raise own

    with pytest.raises(LookupError) as caught:
        await consume()
    assert caught.value is own


async def test_a_second_error_is_noted_on_the_first() -> None:
    failed = anyio.Event()

    async def work(number: int) -> None:
        failed.set()
        raise OSError

    async def consume() -> None:
        async with AsyncRunner(2) as runner, runner.stream(work, [1]):
            await failed.wait()
            await anyio.wait_all_tasks_blocked()
            raise LookupError("mine")

    with pytest.raises(LookupError) as caught:
        await consume()
    assert caught.value.__notes__ == ["besides, a task of the stream raised OSError"]


async def test_a_generator_of_items_is_closed() -> None:
    closed: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append("items")

    async with AsyncRunner(1) as runner, runner.stream(Gauge().work, items()) as results:
        await anext(results)
    assert closed == ["items"]


def test_a_function_that_raises_cancelled_error_ends_the_stream() -> None:
    async def main() -> None:
        async with AsyncRunner(2) as runner:
            async with runner.stream(lambda n: fail(asyncio.CancelledError()), [1, 2]) as results:
                with pytest.raises(asyncio.CancelledError):
                    await anext(results)
            assert await runner.submit(Gauge().work(1)) == 1

    asyncio.run(main())


async def test_a_function_that_raises_stop_async_iteration_does_not_end_the_stream_in_silence() -> None:
    async def take(runner: AsyncRunner) -> list[None]:
        async with runner.stream(lambda n: fail(StopAsyncIteration()), [1, 2]) as results:
            return [result async for result in results]

    async with AsyncRunner(2) as runner:
        with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
            await take(runner)


async def test_stream_starts_no_more_tasks_than_there_are_items() -> None:
    counts = []

    async def count(item: int) -> int:
        counts.append(len(anyio.get_running_tasks()))
        return item

    async with AsyncRunner(1_000_000) as runner, runner.stream(count, range(3)) as results:
        assert sorted([item async for item in results]) == [0, 1, 2]
    assert max(counts) < 20


async def test_stream_refuses_what_can_not_be_iterated() -> None:
    async with AsyncRunner() as runner:
        with pytest.raises(TypeError, match="items must be iterable, sync or async, got 3"):
            async with runner.stream(Gauge().work, 3):  # type: ignore[call-overload]
                pass


async def test_stream_is_ended_by_a_shutdown() -> None:
    async def consume(runner: AsyncRunner) -> None:
        async with runner.stream(lambda n: Gauge().work(n, 60), range(10)) as results:
            await runner.shutdown(wait=False)
            async for _ in results:
                pass

    runner = AsyncRunner(2)
    await runner.start()
    with pytest.raises(RunnerClosedError, match="was shut down"):
        await consume(runner)


# --- cancelled at every point ----------------------------------------------------------------------------


def test_cancelled_anywhere_gather_leaves_nothing(backend: Backend) -> None:
    async def operation() -> None:
        async with AsyncRunner(2) as runner:
            await runner.gather([Gauge().work(n) for n in range(5)])

    assert cancel_everywhere(operation, backend=backend).tries >= 6


def test_cancelled_anywhere_stream_leaves_nothing(backend: Backend) -> None:
    closed: list[str] = []

    async def operation() -> None:
        closed.clear()
        async with AsyncRunner(2) as runner, runner.stream(Gauge().work, count(5, closed)) as results:
            async for _ in results:
                await anyio.lowlevel.checkpoint()

    assert cancel_everywhere(operation, backend=backend).tries >= 10


def test_a_scheduler_can_be_used_by_itself() -> None:
    assert issubclass(TaskPriority, int)
    assert AsyncRunner(3).scheduler.max_concurrent == TaskScheduler(3).max_concurrent == 3


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})])
async def test_work_that_cancels_its_own_task_loses_no_result(anyio_backend: object) -> None:
    """Many pieces of work share a task of the runner's; whoever cancels it means his own piece."""

    async def cancel_the_task_itself(*_: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def number(value: int) -> int:
        return value

    async with AsyncRunner(max_workers=1) as runner:
        results = await runner.gather([cancel_the_task_itself(), number(1), number(2)], return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [1, 2]
        with pytest.raises(asyncio.CancelledError):
            await runner.gather([number(1), cancel_the_task_itself(), number(2)])
        async with runner.stream(cancel_the_task_itself, [1, 2]) as items:
            with pytest.raises(asyncio.CancelledError):
                await anext(items)


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})])
async def test_a_native_cancellation_of_the_caller_ends_all_work(anyio_backend: object) -> None:
    ended = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(1)

    async with AsyncRunner(max_workers=2) as runner:
        task = asyncio.ensure_future(runner.gather([work(), work(), work()], return_exceptions=True))
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended == [1, 1]
