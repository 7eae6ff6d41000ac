"""A pool and a runner, driven at random, against models: no result is lost, and none comes twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from typing import Any, Literal

import anyio
import anyio.from_thread
import attrs
import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sentrio import Checkpoint, CheckpointResult
from sentrio.checkpoint.pool import CheckpointPool
from sentrio.checkpoint.runner import AsyncCheckpointRunner
from sentrio.errors import OptionValueError, PoolClosedError, RunnerClosedError
from sentrio.testing import HandTrigger

FRAME = pl.DataFrame({"a": [1]})
WORKERS = 2


@attrs.define(eq=False)
class Job:
    """A run that lasts until the machine lets it end, and what must become of it."""

    name: str
    crashes: bool = False
    slow_callback: bool = False
    state: Literal["waiting", "running", "calling back", "ended"] = "waiting"
    outcome: str = ""
    future: Future[Any] | None = None
    gate: anyio.Event | None = None
    after: anyio.Event | None = None

    async def act(self, result: CheckpointResult) -> None:
        assert self.gate is not None
        await self.gate.wait()

    def checkpoint(self) -> Checkpoint:
        self.gate, self.after = anyio.Event(), anyio.Event()
        # With stages that do not fit, a run raises as soon as it has its slot.
        strategy: Any = {"pipeline": {"stages": [[0], [1]]}} if self.crashes else "concurrent"
        return Checkpoint(self.name, FRAME, ["not_null"], actions=[self.act], execution_strategy=strategy)


class Machine(RuleBasedStateMachine):
    backend = "asyncio"

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(anyio.from_thread.start_blocking_portal(self.backend))
        self.jobs: list[Job] = []
        self.seen: list[str] = []

    def teardown(self) -> None:
        self.portal.call(self.let_all_end)
        self.portal.call(self.end)
        self.settle()
        for job in self.jobs:
            assert job.future is None or job.future.done(), f"{job.name} was never answered"
        self.stack.close()

    async def end(self) -> None:
        raise NotImplementedError

    async def let_all_end(self) -> None:
        for job in self.jobs:
            for event in (job.gate, job.after):
                if event is not None:
                    event.set()

    def settle(self) -> None:
        self.portal.call(anyio.wait_all_tasks_blocked)

    async def on_result(self, result: CheckpointResult) -> None:
        self.seen.append(result.checkpoint_name)
        job = next(job for job in self.jobs if job.name == result.checkpoint_name)
        if job.slow_callback:
            assert job.after is not None
            await job.after.wait()

    def those(self, *states: str) -> list[Job]:
        return [job for job in self.jobs if job.state in states]

    def fill(self) -> None:
        """Give free slots to who waits longest."""
        for job in self.those("waiting"):
            if len(self.those("running")) < WORKERS:
                job.state = "running"
                if job.crashes:
                    job.state, job.outcome = "ended", "raised"

    def answered(self, job: Job) -> str:
        assert job.future is not None
        if not job.future.done():
            return ""
        try:
            return str(job.future.result().status)
        except CancelledError:
            return "cancelled by its caller"
        except (PoolClosedError, RunnerClosedError):
            return "closed"
        except OptionValueError:
            return "raised"

    @invariant()
    def every_answer_is_the_models(self) -> None:
        self.settle()
        for job in self.jobs:
            assert self.answered(job) == job.outcome, job
        assert all(count == 1 for count in Counter(self.seen).values())


class PoolAgainstAModel(Machine):
    """Slots go to who came first; whoever has submitted gets one answer."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = CheckpointPool(WORKERS, result_callback=self.on_result)
        self.is_open = False
        self.stopping: Future[Any] | None = None
        self.called_back: list[str] = []

    async def end(self) -> None:
        with anyio.fail_after(20):
            await self.pool.stop(drain=False)

    @precondition(lambda self: self.stopping is None)
    @rule()
    def start(self) -> None:
        self.portal.call(self.pool.start)
        self.is_open = True

    @precondition(lambda self: len(self.jobs) < 12)
    @rule(crashes=st.booleans(), slow_callback=st.booleans())
    def submit(self, crashes: bool, slow_callback: bool) -> None:
        job = Job(f"job {len(self.jobs)}", crashes, slow_callback)
        self.jobs.append(job)
        checkpoint = self.portal.call(job.checkpoint)
        job.future = self.portal.start_task_soon(self.pool.submit, checkpoint)
        self.settle()
        if self.is_open:
            self.fill()
        else:
            job.state, job.outcome = "ended", "closed"

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def let_end(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.those("running")))
        assert job.gate is not None
        self.portal.call(job.gate.set)
        self.called_back.append(job.name)
        if job.slow_callback:
            job.state = "calling back"  # without its slot
        else:
            job.state, job.outcome = "ended", "success"
        self.fill()

    @precondition(lambda self: self.those("calling back"))
    @rule(data=st.data())
    def let_callback_end(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.those("calling back")))
        assert job.after is not None
        self.portal.call(job.after.set)
        job.state, job.outcome = "ended", "success"

    @precondition(lambda self: self.those("waiting", "running"))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.those("waiting", "running")))
        assert job.future is not None
        job.future.cancel()
        job.state, job.outcome = "ended", "cancelled by its caller"
        self.settle()
        self.fill()

    @precondition(lambda self: self.is_open and self.stopping is None)
    @rule()
    def stop_and_drain(self) -> None:
        self.stopping = self.portal.start_task_soon(self.pool.stop)
        self.is_open = False

    @precondition(lambda self: not self.those("calling back"))
    @rule()
    def stop_at_once(self) -> None:
        self.portal.call(self.end)
        self.is_open = False
        for job in self.those("waiting", "running"):
            job.state, job.outcome = "ended", "closed"

    @invariant()
    def counts_are_the_models(self) -> None:
        self.settle()
        stats = self.pool.statistics()
        assert (stats.running, stats.waiting) == (len(self.those("running")), len(self.those("waiting")))
        assert stats.completed_runs == len(self.called_back)
        assert sorted(self.seen) == sorted(self.called_back)
        if self.stopping is not None:
            busy = bool(self.those("waiting", "running", "calling back"))
            assert self.stopping.done() is not busy, "a stop waits for what it drains, and for nothing else"
            if not busy:
                self.stopping = None


class RunnerAgainstAModel(Machine):
    """Each run that has begun gives one result, whatever ends it, and each result is read once."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = AsyncCheckpointRunner(
            max_concurrent_checkpoints=WORKERS,
            result_queue_size=1000,
            graceful_shutdown_timeout=0,
            result_callback=self.on_result,
        )
        self.serving = False
        self.read: list[str] = []
        self.expected: list[tuple[str, str]] = []

    async def end(self) -> None:
        with anyio.fail_after(20):
            await self.runner.stop_async()
            for job in self.jobs:
                if job.future is not None:
                    job.future.cancel()

    @precondition(lambda self: not self.serving)
    @rule()
    def start(self) -> None:
        self.portal.call(self.runner.start_async)
        self.serving = True

    @precondition(lambda self: self.serving and len(self.jobs) < 12)
    @rule(slow_callback=st.booleans())
    def fire(self, slow_callback: bool) -> None:
        job = Job(f"job {len(self.jobs)}", slow_callback=False)
        self.jobs.append(job)
        trigger = HandTrigger()
        self.portal.call(self.add, job, trigger)
        trigger.fire()
        self.settle()
        self.fill()

    async def add(self, job: Job, trigger: HandTrigger) -> None:
        self.runner.add_checkpoint(job.checkpoint().add_trigger(trigger))

    @precondition(lambda self: len(self.jobs) < 12)
    @rule()
    def run_once(self) -> None:
        job = Job(f"job {len(self.jobs)}")
        self.jobs.append(job)
        checkpoint = self.portal.call(job.checkpoint)
        job.future = self.portal.start_task_soon(self.runner.run_once_async, checkpoint)
        self.settle()
        self.fill()

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def let_end(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.those("running")))
        assert job.gate is not None
        self.portal.call(job.gate.set)
        self.ended(job, "success")
        self.fill()

    @precondition(lambda self: any(job.future is not None for job in self.those("waiting", "running")))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        mine = [job for job in self.those("waiting", "running") if job.future is not None]
        job = data.draw(st.sampled_from(mine))
        assert job.future is not None
        job.future.cancel()
        job.state, job.outcome = "ended", "cancelled by its caller"
        self.settle()
        self.fill()

    @precondition(lambda self: self.serving)
    @rule()
    def stop(self) -> None:
        self.portal.call(self.runner.stop_async)
        self.serving = False
        for job in self.those("running"):
            self.ended(job, "cancelled")
        for job in self.those("waiting"):
            job.state, job.outcome = "ended", "closed" if job.future is not None else ""

    @rule()
    def read_some(self) -> None:
        results = self.portal.call(self.runner.get_results_async, 3)
        self.read += [f"{result.checkpoint_name} {result.status}" for result in results]

    def ended(self, job: Job, status: str) -> None:
        job.state = "ended"
        job.outcome = status if job.future is not None else ""
        self.expected.append((job.name, status))

    def answered(self, job: Job) -> str:
        return "" if job.future is None else super().answered(job)

    @invariant()
    def counts_are_the_models(self) -> None:
        self.settle()
        stats = self.runner.statistics()
        assert stats.running is self.serving
        assert stats.pending_tasks == len(self.those("running", "waiting"))
        assert stats.completed_runs == len(self.expected) == len(self.seen)
        assert stats.queued_results == len(self.expected) - len(self.read)
        assert stats.dropped_results == 0
        assert Counter(self.read) <= Counter(f"{name} {status}" for name, status in self.expected)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("machine", [PoolAgainstAModel, RunnerAgainstAModel])
def test_against_a_model(machine: type[Machine], backend: str, large_counts: int) -> None:
    class OnBackend(machine):  # type: ignore[misc, valid-type]
        pass

    OnBackend.backend = backend
    run_state_machine_as_test(
        OnBackend,
        settings=settings(
            max_examples=40 * large_counts,
            stateful_step_count=30,
            deadline=None,
            derandomize=large_counts == 1,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_fault_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is no rubber stamp: a pool that hands a result out twice does not pass."""
    hand_out = CheckpointPool._on_result

    async def twice(self: CheckpointPool, result: CheckpointResult) -> None:
        await hand_out(self, result)
        await hand_out(self, result)

    monkeypatch.setattr(CheckpointPool, "_on_result", twice)
    with pytest.raises(BaseException, match=".*"):  # of Hypothesis's own making
        # So many that every release of Hypothesis comes upon it; the first one that shows it is the last.
        test_against_a_model(PoolAgainstAModel, "asyncio", 20)
