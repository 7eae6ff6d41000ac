from __future__ import annotations

import asyncio
import functools
import gc
import math
import weakref
from collections.abc import Awaitable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.async_core._moments import cancelled_when, until

from sentrio.async_core._slots import Ticket, innermost
from sentrio.async_core.background import async_background
from sentrio.async_core.scheduler import TaskPriority, TaskScheduler
from sentrio.errors import RunnerClosedError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere

CRITICAL, HIGH, NORMAL, LOW, BACKGROUND = TaskPriority


class Log(list[Any]):
    """What ran, in order, and how many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    async def note(self, value: Any) -> Any:
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            self.append(value)
            await anyio.lowlevel.checkpoint()
        finally:
            self.now -= 1
        return value


async def forever() -> None:
    await anyio.sleep_forever()


async def number(value: int) -> int:
    await anyio.lowlevel.checkpoint()
    return value


class Submitters:
    """Tasks that submit, and what each of them got."""

    def __init__(self, scheduler: TaskScheduler, tg: anyio.abc.TaskGroup) -> None:
        self.scheduler = scheduler
        self.tg = tg
        self.answers: dict[Any, Any] = {}

    async def submit(self, key: Any, coro: Coroutine[Any, Any, Any], *args: Any) -> None:
        """Start a task that submits, and wait until it has."""

        async def run() -> None:
            try:
                self.answers[key] = await self.scheduler.submit(coro, *args)
            except Exception as exc:
                self.answers[key] = exc

        self.tg.start_soon(run)
        await anyio.wait_all_tasks_blocked()


# --- results, order, limits ------------------------------------------------------------------------------


async def test_gives_the_result_or_the_error_of_the_task() -> None:
    own = LookupError("mine")

    async def fail() -> None:
        raise own

    async with TaskScheduler(max_concurrent=2) as scheduler:
        assert await scheduler.submit(number(7)) == 7
        with pytest.raises(LookupError) as caught:
            await scheduler.submit(fail())
        assert caught.value is own
        statistics = scheduler.statistics()
    assert (statistics.succeeded, statistics.failed, statistics.running) == (1, 1, 0)


async def test_the_urgent_first_and_in_order_within_a_priority() -> None:
    log = Log()
    gate = anyio.Event()
    async with TaskScheduler(max_concurrent=1) as scheduler, anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)
        await tasks.submit("gate", gate.wait())
        for n in range(30):
            await tasks.submit(("low", n), log.note(("low", n)), LOW)
        for n in range(10):
            await tasks.submit(("critical", n), log.note(("critical", n)), CRITICAL)
            await tasks.submit(("normal", n), log.note(("normal", n)))
        assert (scheduler.statistics().running, scheduler.statistics().waiting) == (1, 50)
        gate.set()
    assert log == [
        *(("critical", n) for n in range(10)),
        *(("normal", n) for n in range(10)),
        *(("low", n) for n in range(30)),
    ]


async def test_never_more_at_once_than_allowed() -> None:
    log = Log()
    async with TaskScheduler(max_concurrent=3) as scheduler, anyio.create_task_group() as tg:
        for n in range(20):
            tg.start_soon(scheduler.submit, log.note(n))
    assert (len(log), log.peak) == (20, 3)


async def test_a_submit_gives_the_control_away_even_if_its_task_does_not() -> None:
    async def at_once() -> None:
        pass

    others = 0

    async def count() -> None:
        nonlocal others
        while True:
            others += 1
            await anyio.lowlevel.checkpoint()

    async with TaskScheduler() as scheduler, anyio.create_task_group() as tg:
        tg.start_soon(count)
        for _ in range(20):
            await scheduler.submit(at_once())
        tg.cancel_scope.cancel()
    assert others >= 15


# --- lifetime --------------------------------------------------------------------------------------------


async def test_before_the_start_and_after_the_end_it_refuses_at_once() -> None:
    scheduler = TaskScheduler()
    with pytest.raises(RunnerClosedError, match=r"is not running: start\(\) it, or use it in `async with`"):
        await scheduler.submit(number(1))
    await scheduler.start()
    assert await scheduler.submit(number(1)) == 1
    await scheduler.shutdown()
    with pytest.raises(RunnerClosedError, match="was shut down"):
        await scheduler.submit(number(1))
    await scheduler.start()
    assert await scheduler.submit(number(2)) == 2


def test_may_be_used_again_in_another_event_loop(backend: Backend) -> None:
    scheduler = TaskScheduler(max_concurrent=1)

    async def main() -> list[int]:
        results: list[int] = []

        async def submit(value: int) -> None:
            results.append(await scheduler.submit(number(value)))

        async with scheduler, anyio.create_task_group() as tg:
            for value in range(3):
                tg.start_soon(submit, value)
        return sorted(results)

    name = "trio" if backend == "trio" else "asyncio"
    assert anyio.run(main, backend=name) == anyio.run(main, backend=name) == [0, 1, 2]


async def test_shutdown_runs_everything_to_its_end() -> None:
    gate = anyio.Event()
    scheduler = TaskScheduler(max_concurrent=2)
    await scheduler.start()
    async with anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)
        await tasks.submit("gate", gate.wait())
        await tasks.submit("gate too", gate.wait())
        for n in range(18):
            await tasks.submit(n, number(n))
        tg.start_soon(scheduler.shutdown)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RunnerClosedError):
            await scheduler.submit(number(99))
        assert not tasks.answers
        gate.set()
        await scheduler.shutdown()
        assert scheduler.statistics().running == scheduler.statistics().waiting == 0
    assert [tasks.answers[n] for n in range(18)] == list(range(18))


async def test_shutdown_without_waiting_answers_everybody() -> None:
    scheduler = TaskScheduler(max_concurrent=2)
    await scheduler.start()
    ended: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("running task")

    async with anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)
        for n in range(20):
            await tasks.submit(n, work())
        with anyio.fail_after(30):
            await scheduler.shutdown(wait=False)
    assert len(tasks.answers) == 20
    assert {type(answer) for answer in tasks.answers.values()} == {RunnerClosedError}
    assert "was shut down before test_shutdown_without_waiting" in str(tasks.answers[0])
    assert len(ended) == 2
    assert scheduler.statistics().cancelled == 20


async def test_an_error_in_the_block_cancels_the_tasks_and_comes_out_as_itself() -> None:
    scheduler = TaskScheduler(max_concurrent=1)
    async with anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)

        async def block() -> None:
            async with scheduler:
                await tasks.submit("runs", forever())
                await tasks.submit("waits", forever())
                raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            await block()
        assert scheduler.statistics().running == 0
    assert [type(answer) for answer in tasks.answers.values()] == [RunnerClosedError] * 2


async def test_a_task_can_not_wait_for_itself() -> None:
    async with TaskScheduler() as scheduler:

        async def stop() -> None:
            with pytest.raises(RuntimeError, match=r"shutdown\(wait=True\) waits for all tasks"):
                await scheduler.shutdown()
            await scheduler.shutdown(wait=False)
            await anyio.sleep_forever()

        with pytest.raises(RunnerClosedError, match="was shut down before"):
            await scheduler.submit(stop())


async def test_a_task_may_submit_while_the_scheduler_ends() -> None:
    scheduler = TaskScheduler()
    await scheduler.start()
    gate = anyio.Event()

    async def parent() -> int:
        await gate.wait()
        return await scheduler.submit(number(5))

    async with anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)
        await tasks.submit("parent", parent())
        tg.start_soon(scheduler.shutdown)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert tasks.answers == {"parent": 5}


# --- cancellation ----------------------------------------------------------------------------------------


async def test_cancelling_the_submitter_cancels_the_task_and_frees_the_slot() -> None:
    ended: list[str] = []
    begun = anyio.Event()

    async def work() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("work")

    async with TaskScheduler(max_concurrent=1) as scheduler:
        async with cancelled_when(begun.wait):
            await scheduler.submit(work())
        assert ended == ["work"]
        with anyio.fail_after(30):
            assert await scheduler.submit(number(1)) == 1


async def test_a_submitter_that_gives_up_leaves_the_queue() -> None:
    never: list[str] = []

    async def must_not_run() -> None:
        never.append("ran")

    gate = anyio.Event()
    async with TaskScheduler(max_concurrent=1) as scheduler, anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)
        await tasks.submit("gate", gate.wait())
        async with cancelled_when():
            await scheduler.submit(must_not_run())
        assert scheduler.statistics().waiting == 0
        gate.set()
    gc.collect()
    assert never == []


async def test_many_who_gave_up_are_forgotten() -> None:
    gate = anyio.Event()
    async with TaskScheduler(max_concurrent=1) as scheduler, anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)
        await tasks.submit("gate", gate.wait())
        await tasks.submit("last", number(1))
        async with anyio.create_task_group() as impatient:
            for n in range(500):
                impatient.start_soon(scheduler.submit, number(n))
            await anyio.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        assert scheduler.statistics().waiting == 1
        assert sum(map(len, scheduler._slots._queues.values())) < 100
        gate.set()
    assert tasks.answers["last"] == 1


async def test_a_slot_that_is_granted_to_somebody_who_leaves_goes_on() -> None:
    """The submitter is cancelled in the moment between the grant and its next step."""
    gate = anyio.Event()
    async with TaskScheduler(max_concurrent=1) as scheduler, anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)
        await tasks.submit("gate", gate.wait())
        scope = anyio.CancelScope()

        async def impatient() -> None:
            with scope:
                await scheduler.submit(number(1))

        tg.start_soon(impatient)
        await anyio.wait_all_tasks_blocked()
        await tasks.submit("next", number(2))

        async def release() -> None:
            gate.set()
            while scheduler.statistics().waiting > 1:
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        tg.start_soon(release)
    assert tasks.answers["next"] == 2


def test_a_task_that_raises_cancelled_error_answers_its_submitter() -> None:
    async def confused() -> None:
        raise asyncio.CancelledError

    async def main() -> int:
        async with TaskScheduler(max_concurrent=1) as scheduler:
            with pytest.raises(asyncio.CancelledError):
                await scheduler.submit(confused())
            return await scheduler.submit(number(3))

    assert asyncio.run(main()) == 3


def test_wait_for_and_task_cancel_reach_the_task() -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def work(name: str) -> None:
        begun.append(name)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(name)

    async def main() -> None:
        async with TaskScheduler(max_concurrent=1) as scheduler:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(scheduler.submit(work("waited for")), 0.5)
            task = asyncio.create_task(scheduler.submit(work("cancelled")))
            await until(lambda: len(begun) > 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await scheduler.submit(number(1)) == 1

    asyncio.run(main())
    assert ended == ["waited for", "cancelled"]


# --- timeouts --------------------------------------------------------------------------------------------


async def test_zero_is_a_timeout_too() -> None:
    async with TaskScheduler() as scheduler:
        with pytest.raises(TimeoutError, match="forever took longer than 0 s"):
            await scheduler.submit(forever(), timeout=0)
        assert scheduler.statistics().timed_out == 1


async def test_a_timeout_error_of_the_task_passes_unchanged() -> None:
    own = TimeoutError("the database says so")

    async def fail() -> None:
        raise own

    async with TaskScheduler() as scheduler:
        for timeout in (None, 5.0):
            with pytest.raises(TimeoutError) as caught:
                await scheduler.submit(fail(), timeout=timeout)
            assert caught.value is own
        assert (scheduler.statistics().failed, scheduler.statistics().timed_out) == (2, 0)


async def test_waiting_counts_and_the_error_says_so() -> None:
    gate = anyio.Event()
    async with TaskScheduler(max_concurrent=1) as scheduler, anyio.create_task_group() as tg:
        tasks = Submitters(scheduler, tg)
        await tasks.submit("gate", gate.wait())
        with pytest.raises(TimeoutError, match=r"number took longer than 0.01 s, all of them in the queue"):
            await scheduler.submit(number(1), timeout=0.01)
        gate.set()


# --- nesting ---------------------------------------------------------------------------------------------


async def test_tasks_that_submit_tasks_do_not_wait_for_each_other() -> None:
    async with TaskScheduler(max_concurrent=5) as scheduler:

        async def nested(depth: int) -> int:
            return depth and 1 + await scheduler.submit(nested(depth - 1))

        results: list[int] = []

        async def submit() -> None:
            results.append(await scheduler.submit(nested(6)))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tg:
                for _ in range(5):
                    tg.start_soon(submit)
        assert results == [6] * 5
        assert scheduler.statistics().running == 0
        assert scheduler._slots._free == 5


async def test_several_children_of_one_task_keep_to_the_limit() -> None:
    log = Log()
    async with TaskScheduler(max_concurrent=2) as scheduler:

        async def parent(name: int) -> None:
            async with anyio.create_task_group() as tg:
                for n in range(5):
                    tg.start_soon(scheduler.submit, log.note((name, n)))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tg:
                for name in range(4):
                    tg.start_soon(scheduler.submit, parent(name))
    assert (len(log), log.peak) == (20, 2)
    assert (scheduler._slots._free, scheduler.statistics().running) == (2, 0)


async def test_a_free_slot_is_used_by_a_second_child() -> None:
    log = Log()
    async with TaskScheduler(max_concurrent=3) as scheduler:

        async def parent() -> None:
            async with anyio.create_task_group() as tg:
                for n in range(6):
                    tg.start_soon(scheduler.submit, log.note(n))

        await scheduler.submit(parent())
    assert log.peak == 3  # its own and the two free ones


async def test_a_child_that_outlives_its_parent_keeps_the_slot() -> None:
    gate, log = anyio.Event(), Log()
    async with TaskScheduler(max_concurrent=1) as scheduler:

        async def child() -> None:
            await gate.wait()
            log.append("child")

        async def parent() -> Awaitable[None]:
            handle = async_background(scheduler.submit(child()))
            await anyio.wait_all_tasks_blocked()
            return handle

        handle = await scheduler.submit(parent())
        async with anyio.create_task_group() as tg:
            tg.start_soon(scheduler.submit, log.note("stranger"))
            await anyio.wait_all_tasks_blocked()
            assert log == []
            gate.set()
        await handle
    assert log == ["child", "stranger"]


async def test_a_task_started_by_an_ended_task_is_nobodys_child() -> None:
    async with TaskScheduler(max_concurrent=1) as scheduler:
        go = anyio.Event()

        async def later() -> int:
            await go.wait()
            return await scheduler.submit(number(4))

        async def parent() -> Awaitable[int]:
            await anyio.lowlevel.checkpoint()
            return async_background(later())

        handle = await scheduler.submit(parent())
        async with anyio.create_task_group() as tg:
            gate = anyio.Event()
            tg.start_soon(scheduler.submit, gate.wait())
            await anyio.wait_all_tasks_blocked()
            go.set()
            await anyio.wait_all_tasks_blocked()
            assert scheduler.statistics().waiting == 1
            gate.set()
        assert await handle == 4


async def test_tasks_that_start_tasks_without_an_end_do_not_keep_them_all() -> None:
    tickets: list[weakref.ref[Ticket]] = []
    generations = 200
    done = anyio.Event()

    async with TaskScheduler(max_concurrent=2) as scheduler:

        async def generation(number: int) -> None:
            ticket = innermost.get()
            assert ticket is not None
            tickets.append(weakref.ref(ticket))
            if number == generations:
                done.set()
                return
            handles.append(async_background(scheduler.submit(generation(number + 1))))
            await anyio.sleep(0.001 * (number % 2))  # some overlap with the next generation, some do not

        handles: list[Awaitable[None]] = []
        await scheduler.submit(generation(0))
        await done.wait()
        while handles:
            await handles.pop()
        await anyio.sleep(0.01)
        gc.collect()
        assert sum(ticket() is not None for ticket in tickets) < generations / 4


async def test_nested_through_another_scheduler() -> None:
    async with TaskScheduler(max_concurrent=1) as outer, TaskScheduler(max_concurrent=1) as inner:

        async def back_and_forth(depth: int) -> int:
            if not depth:
                return 0
            return 1 + await (inner if depth % 2 else outer).submit(back_and_forth(depth - 1))

        with anyio.fail_after(30):
            assert await outer.submit(back_and_forth(7)) == 7


async def test_cancelling_a_parent_with_waiting_children_leaves_nothing() -> None:
    async with TaskScheduler(max_concurrent=1) as scheduler:

        async def parent() -> None:
            async with anyio.create_task_group() as tg:
                for _ in range(5):
                    tg.start_soon(scheduler.submit, forever())

        async with cancelled_when():
            await scheduler.submit(parent())
        statistics = scheduler.statistics()
        assert (statistics.running, statistics.waiting, scheduler._slots._free) == (0, 0, 1)
        assert await scheduler.submit(number(1)) == 1


# --- what it refuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, -1, math.nan])
def test_refuses_a_limit_out_of_range(bad: Any) -> None:
    with pytest.raises(ValueError, match=rf"max_concurrent must be at least 1, got {bad}"):
        TaskScheduler(max_concurrent=bad)


@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_refuses_ageing_out_of_range(bad: float) -> None:
    with pytest.raises(ValueError, match=r"aging_seconds must be at least 0 seconds or None"):
        TaskScheduler(aging_seconds=bad)


def test_refuses_options_that_it_does_not_know() -> None:
    with pytest.raises(UnknownOptionError, match=r"'max_concurent'; did you mean 'max_concurrent'\?"):
        TaskScheduler(max_concurent=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="whole number"):
        TaskScheduler(2.5)  # type: ignore[arg-type]


async def test_what_is_refused_closes_the_coroutine() -> None:
    async with TaskScheduler() as scheduler:
        with pytest.raises(ValueError, match="timeout must be at least 0 seconds or None, got -1"):
            await scheduler.submit(number(1), timeout=-1)
        with pytest.raises(ValueError, match=r"priority must be a TaskPriority \(CRITICAL, .*\), got 9"):
            await scheduler.submit(number(1), priority=9)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"call the function: submit\(number\(\)\)"):
            await scheduler.submit(number)  # type: ignore[arg-type]
        assert await scheduler.submit(number(1), 0) == 1  # type: ignore[arg-type]


async def test_a_coroutine_that_somebody_else_awaits_is_left_alone() -> None:
    async with TaskScheduler() as scheduler, anyio.create_task_group() as tg:
        coro = number(5)
        results: list[int] = []

        async def first() -> None:
            results.append(await coro)

        tg.start_soon(first)
        await anyio.lowlevel.checkpoint()
        with pytest.raises(RuntimeError, match="awaited"):
            await scheduler.submit(coro)
    assert results == [5]


# --- telemetry -------------------------------------------------------------------------------------------


async def test_telemetry_counts_and_changes_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    async with TaskScheduler() as scheduler:
        assert await scheduler.submit(number(1), HIGH) == 1
        with pytest.raises(TimeoutError):
            await scheduler.submit(forever(), timeout=0)
    data: Any = reader.get_metrics_data()
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert {(p.attributes["outcome"], p.attributes["priority"], p.value) for p in points} == {
        ("succeeded", "high", 1),
        ("timed_out", "normal", 1),
    }

    def broken() -> Any:
        raise TypeError("the exporter is broken")

    monkeypatch.setattr(metrics, "get_meter_provider", broken)
    async with TaskScheduler() as scheduler:
        assert await scheduler.submit(number(2)) == 2


async def test_telemetry_traces_tasks_with_their_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    async with TaskScheduler(1) as scheduler:

        async def parent() -> int:
            return await scheduler.submit(number(1))

        assert await scheduler.submit(parent()) == 1
    child, outer = exporter.get_finished_spans()
    assert child.parent is not None
    assert outer.context is not None
    assert child.parent.span_id == outer.context.span_id
    assert (child.name, dict(child.attributes or {})) == ("sentrio.scheduler.task", {"task": "number"})


# --- cancelled at every point ----------------------------------------------------------------------------


def test_cancelled_anywhere_submit_leaves_nothing(backend: Backend) -> None:
    schedulers: list[TaskScheduler] = []

    async def operation() -> None:
        scheduler = TaskScheduler(max_concurrent=2)
        schedulers[:] = [scheduler]

        async def parent(value: int) -> int:
            return await scheduler.submit(number(value), timeout=5)

        async with scheduler, anyio.create_task_group() as tg:
            for n in range(4):
                tg.start_soon(functools.partial(scheduler.submit, parent(n), priority=HIGH))

    def check() -> None:
        statistics = schedulers[0].statistics()
        assert (statistics.running, statistics.waiting, schedulers[0]._slots._free) == (0, 0, 2)

    assert cancel_everywhere(operation, backend=backend, check=check).tries >= 10
