"""A runner and its triggers over hours and days."""

from __future__ import annotations

from typing import Any

import anyio
import polars as pl
import pytest

from sentrio import (
    AsyncBaseTrigger,
    AsyncCheckpointRunner,
    Checkpoint,
    CheckpointResult,
    TriggerConfig,
    TriggerResult,
)
from sentrio.checkpoint.triggers import ScheduleTrigger

FRAME = pl.DataFrame({"a": [1, 2, 3]})


class Clocked:
    """An action that takes a while, and notes when it began."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.began: list[float] = []
        self.inside = self.most = 0

    async def __call__(self, result: CheckpointResult) -> None:
        self.began.append(round(anyio.current_time(), 3))
        self.inside += 1
        self.most = max(self.most, self.inside)
        await anyio.sleep(self.seconds)
        self.inside -= 1


async def runs_of(trigger: Any, *, seconds: float, action: Clocked, **options: Any) -> AsyncCheckpointRunner:
    """Run for so many seconds, from a moment that counts as 0."""
    begun = anyio.current_time()
    runner = AsyncCheckpointRunner(**options)
    runner.add_checkpoint(Checkpoint("c", FRAME, ["not_null"], [action], [trigger]))
    async with runner:
        await anyio.sleep(seconds)
    action.began = [round(moment - begun, 3) for moment in action.began]
    return runner


async def test_firings_do_not_drift_and_runs_do_not_pile_up() -> None:
    action = Clocked(seconds=3)
    runner = await runs_of(ScheduleTrigger(interval_seconds=10), seconds=3600.5, action=action)
    assert action.began == [10.0 * number for number in range(1, 361)]
    assert runner.statistics().missed_firings == 0


async def test_a_run_that_outlasts_the_interval_is_not_joined_by_others() -> None:
    action = Clocked(seconds=25)
    runner = await runs_of(ScheduleTrigger(interval_seconds=10), seconds=100, action=action)
    assert action.most == 1
    assert action.began[0] == 10
    assert all(later - earlier >= 25 for earlier, later in zip(action.began, action.began[1:], strict=False))
    assert runner.statistics().missed_firings > 0


async def test_as_many_at_once_as_the_trigger_allows() -> None:
    action = Clocked(seconds=25)
    await runs_of(ScheduleTrigger(interval_seconds=10, max_concurrent=3), seconds=100, action=action)
    assert action.began == [10.0 * number for number in range(1, 11)]
    assert action.most == 3


async def test_max_runs_counts_the_one_at_the_start() -> None:
    action = Clocked()
    trigger = ScheduleTrigger(interval_hours=1, run_immediately=True, max_runs=3)
    await runs_of(trigger, seconds=86_400, action=action)
    assert action.began == [0, 3600, 7200]


async def test_a_stop_wakes_who_sleeps_until_tomorrow() -> None:
    runner = AsyncCheckpointRunner()
    trigger = ScheduleTrigger(interval_days=30)
    runner.add_checkpoint(Checkpoint("c", FRAME, ["not_null"], triggers=[trigger]))
    await runner.start_async()
    begun = anyio.current_time()
    await runner.stop_async()
    assert anyio.current_time() == begun


class Moody(AsyncBaseTrigger[TriggerConfig]):
    """Raises a few times, then is due once."""

    trigger_type = "moody"

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.asked: list[float] = []

    async def should_trigger_async(self) -> TriggerResult:
        self.asked.append(anyio.current_time())
        if len(self.asked) <= 4:
            raise ConnectionError("the broker is down")
        return TriggerResult(should_run=len(self.asked) == 5)


async def test_a_trigger_that_raises_is_asked_again_ever_later_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    moody, action, other = Moody(), Clocked(), Clocked()
    errors: list[Exception] = []
    runner = AsyncCheckpointRunner(error_callback=errors.append, trigger_poll_interval=2)
    runner.add_checkpoint(Checkpoint("moody", FRAME, ["not_null"], [action], [moody]))
    runner.add_checkpoint(Checkpoint("steady", FRAME, ["not_null"], [other], [ScheduleTrigger(interval_seconds=1)]))
    async with runner:
        await anyio.sleep(60.5)
    pauses = [later - earlier for earlier, later in zip(moody.asked, moody.asked[1:], strict=False)]
    assert pauses[:4] == pytest.approx([2, 2, 4, 8], abs=0.01)  # the first is its own poll's
    assert len(action.began) == 1
    assert len(other.began) == 60
    assert [str(error) for error in errors] == ["the broker is down"] * 4
    assert runner.statistics().trigger_errors == 4
    assert "trigger moody of moody raised; it is asked again in 8 s" in caplog.text


async def test_the_grace_ends_what_takes_too_long() -> None:
    action = Clocked(seconds=1000)
    begun = anyio.current_time()
    runner = await runs_of(
        ScheduleTrigger(interval_hours=1, run_immediately=True),
        seconds=1, action=action, graceful_shutdown_timeout=30,
    )  # fmt: skip
    assert anyio.current_time() - begun == pytest.approx(31, abs=0.01)
    (result,) = await runner.get_results_async()
    assert result.status == "cancelled"
