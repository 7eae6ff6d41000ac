"""Timeouts and retries of actions, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import polars as pl

from sentrio import ActionConfig, ActionResult, AsyncBaseAction, Checkpoint, CheckpointResult

FRAME = pl.DataFrame({"a": [1]})


class Scripted(AsyncBaseAction[ActionConfig]):
    """Sleeps and fails as its script says."""

    script: tuple[float, ...] = ()
    times: list[float]

    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        self.times.append(anyio.current_time())
        await anyio.sleep(self.script[len(self.times) - 1])
        if len(self.times) < len(self.script):
            raise RuntimeError("again")
        return self.success("done")


async def run(script: tuple[float, ...], **options: Any) -> tuple[ActionResult, list[float]]:
    action = Scripted(**options)
    action.script, action.times = script, []
    started = anyio.current_time()
    (outcome,) = (await Checkpoint("c", FRAME, ["not_null"], [action]).run_async()).action_results
    return outcome, [time - started for time in action.times]


async def test_retries_wait_twice_as_long_each_time() -> None:
    outcome, times = await run((0, 0, 0, 0), retry_count=5, retry_delay_seconds=2)
    assert (outcome.status, outcome.attempts, times) == ("success", 4, [0, 2, 6, 14])


async def test_retries_end() -> None:
    outcome, times = await run((0,) * 9, retry_count=2)
    assert (outcome.status, outcome.attempts, times) == ("error", 3, [0, 1, 3])


async def test_timeouts_are_for_each_attempt() -> None:
    outcome, times = await run((60, 60, 1), retry_count=2, timeout_seconds=10, retry_delay_seconds=0)
    assert (outcome.status, outcome.attempts, times) == ("success", 3, [0, 10, 20])
    outcome, _ = await run((60,), timeout_seconds=10)
    assert (outcome.status, outcome.error) == ("error", "timed out after 10 s")
    assert isinstance(outcome.exception, TimeoutError)
