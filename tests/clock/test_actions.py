"""Timeouts and retries of actions, in virtual time."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import polars as pl
import pytest

from sentrio import ActionConfig, ActionResult, AsyncBaseAction, BaseAction, Checkpoint, CheckpointResult, check_async
from sentrio.async_core.threads import thread_statistics

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


class Late(BaseAction[ActionConfig]):
    """Its first attempt goes on until the gate opens, and then ends as it was told to."""

    gate: threading.Event
    first: Exception | None = None
    calls = 0

    def _execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        self.calls += 1
        if self.calls == 1:
            self.gate.wait()
            if self.first is not None:
                raise self.first
        return self.success(f"call {self.calls}")


@pytest.mark.parametrize("first", [None, RuntimeError("late")])
async def test_an_attempt_whose_thread_ends_late_is_repeated_only_if_it_failed(first: Exception | None) -> None:
    result = await check_async(FRAME, ["not_null"])
    action = Late(timeout_seconds=10, retry_count=3, retry_delay_seconds=20)
    action.gate, action.first = threading.Event(), first
    ended = anyio.Event()

    async def open_gate() -> None:
        while not action.calls:
            await anyio.lowlevel.checkpoint()  # the clock must not jump before the thread has begun
        await anyio.sleep(12)  # after the timeout, before the retry
        action.gate.set()
        while thread_statistics().running:
            time.sleep(0.001)  # noqa: ASYNC251  # the clock must not jump meanwhile
        await anyio.sleep_until(began + 30)
        while not ended.is_set():
            await anyio.lowlevel.checkpoint()  # nor while the second attempt is in its thread

    began = anyio.current_time()
    async with anyio.create_task_group() as tg:
        tg.start_soon(open_gate)
        outcome = await action.execute_async(result)
        ended.set()
    if first is None:
        assert (outcome.status, outcome.attempts, action.calls) == ("error", 1, 1)
        assert outcome.error == "timed out after 10 s; not tried again, since its thread has come to an end by now"
    else:
        assert (outcome.status, outcome.attempts, outcome.message) == ("success", 2, "call 2")
