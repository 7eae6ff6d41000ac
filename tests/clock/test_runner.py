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
from sentrio.checkpoint.triggers import ScheduleTrigger, TriggerWatch

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


class Unwatchable(ScheduleTrigger):
    """Can not be watched the first few times."""

    def __init__(self, problems: list[Any], **given: Any) -> None:
        super().__init__(**given)
        self.problems = problems
        self.asked: list[float] = []

    def watch(self, **given: Any) -> Any:
        self.asked.append(anyio.current_time())
        if not self.problems:
            return super().watch(**given)
        problem = self.problems.pop(0)
        if isinstance(problem, Exception):
            raise problem
        return problem


async def test_a_trigger_that_can_not_be_watched_is_watched_later_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = Unwatchable([ConnectionError("the broker is down"), None, LookupError("no topic")], interval_seconds=10)
    action, others = Clocked(), [Clocked() for _ in range(3)]
    errors: list[Exception] = []
    runner = AsyncCheckpointRunner(error_callback=errors.append)
    runner.add_checkpoint(
        Checkpoint("before", FRAME, ["not_null"], [others[0]], [ScheduleTrigger(interval_seconds=1)])
    )
    beside = ScheduleTrigger(interval_seconds=2)
    runner.add_checkpoint(Checkpoint("bad", FRAME, ["not_null"], [action], [bad, beside]))
    runner.add_checkpoint(
        Checkpoint("after", FRAME, ["not_null"], [others[1]], [ScheduleTrigger(interval_seconds=1)])
    )
    async with runner:
        assert runner.statistics().running
        runner.add_checkpoint(
            Checkpoint("late", FRAME, ["not_null"], [others[2]], [ScheduleTrigger(interval_seconds=1)])
        )
        await anyio.sleep(60.5)
    assert [later - earlier for earlier, later in zip(bad.asked, bad.asked[1:], strict=False)] == [1, 2, 4]
    assert len(action.began) == 30 + 5
    assert [len(other.began) for other in others] == [60, 60, 60]
    broken, empty, absent = errors
    assert (str(broken), str(absent)) == ("the broker is down", "no topic")
    assert str(empty) == "watch() of trigger schedule of bad must return a TriggerWatch, got None"
    assert runner.statistics().trigger_errors == 3
    assert "trigger schedule of bad raised; it is asked again in 4 s" in caplog.text


async def test_a_checkpoint_that_is_taken_away_is_not_watched_again() -> None:
    bad = Unwatchable([ConnectionError("no")], interval_seconds=10)
    runner = AsyncCheckpointRunner()
    runner.add_checkpoint(Checkpoint("bad", FRAME, ["not_null"], triggers=[bad]))
    async with runner:
        await anyio.sleep(0.5)
        runner.remove_checkpoint("bad")
        await anyio.sleep(100)
    assert len(bad.asked) == 1


class BadWatch(TriggerWatch):
    """Answers nonsense, and can not be closed."""

    async def wait(self) -> Any:
        await anyio.sleep(1)
        return "yes"

    def close(self) -> None:
        raise OSError("the broker has gone")


class BadlyWatched(Moody):
    def watch(self, **given: Any) -> TriggerWatch:
        return BadWatch(self, **given)


async def test_a_watch_that_is_none_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    other = Clocked()
    runner = AsyncCheckpointRunner()
    runner.add_checkpoint(Checkpoint("bad", FRAME, ["not_null"], triggers=[BadlyWatched()]))
    runner.add_checkpoint(Checkpoint("steady", FRAME, ["not_null"], [other], [ScheduleTrigger(interval_seconds=1)]))
    async with runner:
        await anyio.sleep(10.5)
    assert len(other.began) == 10
    assert runner.statistics().trigger_errors == 3 + 1  # after 1 s, 1 + 1 s and 2 + 1 s; and as it was closed
    assert "the watch of trigger moody of bad must answer with a TriggerResult, got 'yes'" in caplog.text
    assert "trigger moody of bad raised as its watch was closed" in caplog.text
    assert "the broker has gone" in caplog.text


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
