"""A runner over hours and days, in virtual time: on time, one run at a time, and as often as allowed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import polars as pl
import pytest

from sentrio import AsyncBaseTrigger, Checkpoint, CheckpointResult, ScheduleTrigger, TriggerConfig, TriggerResult
from sentrio.checkpoint.runner import AsyncCheckpointRunner
from sentrio.testing import HandTrigger

FRAME = pl.DataFrame({"a": [1]})


class Log:
    """When runs began and ended, in seconds since the start."""

    def __init__(self, lasts: float = 0) -> None:
        self.start = anyio.current_time()
        self.lasts = lasts
        self.began: list[float] = []
        self.inside = self.most_inside = 0

    async def __call__(self, result: CheckpointResult) -> None:
        self.began.append(round(anyio.current_time() - self.start, 3))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await anyio.sleep(self.lasts)
        finally:
            self.inside -= 1


def checkpoint(name: str, action: Any, *triggers: Any) -> Checkpoint:
    return Checkpoint(name, FRAME, ["not_null"], actions=[action], triggers=list(triggers))


async def served(seconds: float, runner: AsyncCheckpointRunner) -> None:
    async with anyio.create_task_group() as tg:
        await tg.start(runner.serve)
        await anyio.sleep(seconds)
        tg.cancel_scope.cancel()


async def test_hundreds_of_schedules_are_on_time_and_do_not_drift() -> None:
    logs = [Log() for _ in range(300)]
    runner = AsyncCheckpointRunner(max_concurrent_checkpoints=300, trigger_poll_interval=2.0)
    for number, log in enumerate(logs):
        runner.add_checkpoint(checkpoint(f"c{number}", log, ScheduleTrigger(interval_seconds=5 + number / 1000)))
    await served(18, runner)
    for number, log in enumerate(logs):
        interval = 5 + number / 1000
        assert log.began == pytest.approx([interval, 2 * interval, 3 * interval], abs=0.002)


async def test_a_run_that_takes_longer_than_the_poll_is_alone_and_the_due_times_stay() -> None:
    log = Log(lasts=4.5)
    runner = AsyncCheckpointRunner(trigger_poll_interval=1.0)
    runner.add_checkpoint(checkpoint("c", log, ScheduleTrigger(interval_seconds=10, run_immediately=True)))
    await served(38, runner)
    assert log.began == [0, 10, 20, 30]
    assert log.most_inside == 1


async def test_a_run_that_takes_longer_than_the_interval_does_not_pile_up() -> None:
    log = Log(lasts=25)
    runner = AsyncCheckpointRunner()
    runner.add_checkpoint(checkpoint("c", log, ScheduleTrigger(interval_seconds=10)))
    await served(100, runner)
    assert log.most_inside == 1
    assert log.began[:2] == [10, 35]
    stats = runner.statistics()
    assert stats.missed_firings > 0
    assert stats.missed_firings + len(log.began) >= 9  # each due time was run, or reported


@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_runs_than_max_runs(most: int) -> None:
    log = Log(lasts=2)
    runner = AsyncCheckpointRunner(trigger_poll_interval=0.1)
    runner.add_checkpoint(
        checkpoint(
            "c", log, ScheduleTrigger(interval_seconds=1, run_immediately=True, max_runs=most, max_concurrent=5)
        )
    )
    await served(60, runner)
    assert len(log.began) == most
    assert log.began[0] == 0


async def test_a_runner_that_has_nothing_to_do_stops_at_once() -> None:
    class Polled(AsyncBaseTrigger[TriggerConfig]):
        async def should_trigger_async(self) -> TriggerResult:
            await anyio.lowlevel.checkpoint()
            return TriggerResult(False)

    runner = AsyncCheckpointRunner(trigger_poll_interval=5)
    runner.add_checkpoint(checkpoint("c", Log(), Polled(), ScheduleTrigger(interval_hours=1), HandTrigger()))
    await runner.start_async()
    await anyio.sleep(7)
    before = anyio.current_time()
    await runner.stop_async()
    assert anyio.current_time() == before


async def test_a_trigger_that_raises_is_asked_less_and_less_often_and_the_others_go_on() -> None:
    asked: list[float] = []
    start = anyio.current_time()

    class Broken(AsyncBaseTrigger[TriggerConfig]):
        trigger_type = "broken"

        async def should_trigger_async(self) -> TriggerResult:
            asked.append(anyio.current_time() - start)
            await anyio.lowlevel.checkpoint()
            if len(asked) < 9:
                raise ConnectionError("no broker")
            return TriggerResult(len(asked) == 9)

    errors: list[Exception] = []
    good, mended = Log(), Log()
    runner = AsyncCheckpointRunner(error_callback=errors.append, trigger_poll_interval=0.5)
    runner.add_checkpoint(checkpoint("good", good, ScheduleTrigger(interval_seconds=10)))
    runner.add_checkpoint(checkpoint("broken", mended, Broken()))
    await served(305, runner)
    assert good.began == list(range(10, 305, 10))
    waits = [round(later - sooner, 3) for sooner, later in pairwise(asked[:9])]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(mended.began) == 1
    assert [type(error) for error in errors] == [ConnectionError] * 8
    assert runner.statistics().trigger_errors == 8
    assert runner.statistics().stop_reason is None


async def test_what_outlasts_the_grace_is_told_and_nothing_adds_to_it() -> None:
    results: list[CheckpointResult] = []
    runner = AsyncCheckpointRunner(result_callback=results.append, graceful_shutdown_timeout=30)
    runner.add_checkpoint(checkpoint("slow", Log(lasts=3600), HandTrigger(run_immediately=True)))
    runner.add_checkpoint(checkpoint("quick", Log(lasts=20), HandTrigger(run_immediately=True)))
    await runner.start_async()
    await anyio.sleep(1)
    before = anyio.current_time()
    await runner.stop_async()
    assert anyio.current_time() - before == 30
    assert [(each.checkpoint_name, str(each.status)) for each in results] == [
        ("quick", "success"),
        ("slow", "cancelled"),
    ]


async def test_a_month_of_hours_has_each_of_them_once() -> None:
    log = Log()
    runner = AsyncCheckpointRunner(result_queue_size=10)
    runner.add_checkpoint(checkpoint("c", log, ScheduleTrigger(interval_hours=1)))
    await served(30 * 24 * 3600 + 1, runner)
    assert log.began == [hour * 3600 for hour in range(1, 30 * 24 + 1)]
    assert runner.statistics().dropped_results == 30 * 24 - 10
