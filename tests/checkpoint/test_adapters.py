"""Anything that can act is an action."""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import anyio
import polars as pl
import pytest

import sentrio
from sentrio import Checkpoint, CheckpointResult
from sentrio.checkpoint.actions import BaseAction, CustomAction, SlackNotification, SyncActionAdapter, adapt_to_async
from sentrio.checkpoint.actions.config import ActionConfig
from sentrio.checkpoint.async_base import (
    ActionResult,
    ActionStatus,
    AsyncExecutable,
    AsyncExecutionContext,
    ConcurrentStrategy,
    SyncExecutable,
)
from sentrio.errors import OptionValueError
from sentrio.testing import Backend, cancel_everywhere

RESULT = sentrio.check(pl.DataFrame({"a": [1]}), ["not_null"])


class Blocking:
    """Somebody's own blocking action."""

    name = "somebody's"
    action_type = "blocking"

    def __init__(self, until: threading.Event | None = None) -> None:
        self.until = until

    def execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        if self.until is not None:
            self.until.wait(60)
        return ActionResult(
            action_name=self.name,
            action_type=self.action_type,
            status=ActionStatus.SUCCESS,
            message=threading.current_thread().name,
        )


class Ours(BaseAction[ActionConfig]):
    action_type = "ours"

    def _execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        return self.success(threading.current_thread().name)


async def test_a_blocking_action_runs_in_a_thread() -> None:
    adapted = adapt_to_async(Blocking())
    assert isinstance(adapted, SyncActionAdapter)
    assert isinstance(adapted, AsyncExecutable)
    assert isinstance(Blocking(), SyncExecutable)
    result = await adapted.execute_async(RESULT)
    assert (result.action_name, result.action_type, result.status) == ("somebody's", "blocking", "success")
    assert result.message == "sentrio worker"
    assert result.attempts == 1


@pytest.mark.parametrize("make", [Blocking, Ours, lambda: threading.current_thread])
async def test_it_runs_in_its_executor_or_in_that_of_the_context(make: Any) -> None:
    action = make() if make in (Blocking, Ours) else (lambda _: threading.current_thread().name)
    with ThreadPoolExecutor(1, "own") as own, ThreadPoolExecutor(1, "context") as other:
        actions = [adapt_to_async(action, executor=own), SyncActionAdapter(action, own), adapt_to_async(action)]
        context = AsyncExecutionContext(executor=other)
        results = await ConcurrentStrategy().execute(actions, RESULT, context)
    names = [result.message or result.details["returned"] for result in results]
    assert names == ["own_0", "own_0", "context_0"]


async def test_it_runs_in_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        result = await adapt_to_async(Blocking(), executor=executor).execute_async(RESULT)
    assert (result.status, result.message) == ("success", "MainThread")


async def test_its_time_limit_is_kept_although_the_thread_runs_on() -> None:
    context = AsyncExecutionContext(timeout=0.8)
    ended = threading.Event()
    try:
        with anyio.fail_after(30):
            (result,) = await ConcurrentStrategy().execute([adapt_to_async(Blocking(ended))], RESULT, context)
    finally:
        ended.set()
    assert (result.status, result.error) == ("error", "timed out after 0.8 s")
    assert result.details == {"abandoned": True}


async def test_what_is_asynchronous_comes_back_as_it_is() -> None:
    class Both:
        async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
            return ActionResult(action_name="both", action_type="both", status=ActionStatus.SUCCESS)

        def execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
            pytest.fail("the asynchronous one wins")

    both, slack, ours = Both(), SlackNotification(webhook_url="https://hooks.invalid/x"), Ours()
    for action in (both, slack, ours):
        assert adapt_to_async(action) is action
    with ThreadPoolExecutor(1) as executor:
        assert adapt_to_async(slack, executor=executor) is slack
    assert (await SyncActionAdapter(both).execute_async(RESULT)).action_name == "both"
    assert isinstance(adapt_to_async(lambda _: None), CustomAction)


async def test_in_a_checkpoint() -> None:
    frame = pl.DataFrame({"a": [1]})
    bad = Blocking()
    bad.execute = lambda _: 42  # type: ignore[method-assign, assignment, return-value]
    result = await Checkpoint("c", frame, ["not_null"], actions=[Blocking(), bad, Ours()]).run_async()
    assert [str(action.status) for action in result.action_results] == ["success", "error", "success"]
    assert "must return an ActionResult, got 42" in str(result.action_results[1].error)
    ours = SyncActionAdapter(Ours(fail_checkpoint_on_error=True, timeout_seconds=5))
    ours.action._execute = lambda _: 1 / 0
    result = await Checkpoint("c", frame, ["not_null"], actions=[ours]).run_async()
    assert result.status == "error"
    assert result.error == "action ours failed: ZeroDivisionError: division by zero"


def test_what_can_not_act_is_refused() -> None:
    for wrong in (42, Blocking, "store"):
        with pytest.raises(TypeError, match=r"must be a function, or an object with a method execute_async"):
            adapt_to_async(wrong)
    with pytest.raises(OptionValueError, match=r"executor must be a concurrent\.futures\.Executor, got 3"):
        adapt_to_async(Blocking(), executor=3)  # type: ignore[arg-type]


def test_it_says_what_is_wrong_with_its_action(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    slack = SyncActionAdapter(SlackNotification(webhook_url="${NOT_SET}"))
    assert slack.validate() == slack.action.validate() != []
    assert repr(SyncActionAdapter(Ours())) == "<SyncActionAdapter of <Ours 'ours'>>"
    assert SyncActionAdapter(Ours()).action_type == "ours"


def test_cancelled_anywhere_it_leaves_nothing_but_its_thread(backend: Backend) -> None:
    async def run() -> None:
        assert (await adapt_to_async(Blocking()).execute_async(RESULT)).status == "success"
        await anyio.lowlevel.checkpoint()

    cancel_everywhere(run, backend=backend, allow_abandoned=True)
