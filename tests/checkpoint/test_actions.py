from __future__ import annotations

import dataclasses
import functools
import os
import threading
from pathlib import Path
from typing import Any

import anyio
import attrs
import polars as pl
import pytest

from sentrio import (
    ActionConfig,
    ActionResult,
    AsyncBaseAction,
    Checkpoint,
    CheckpointResult,
    CustomAction,
    SlackNotification,
    StoreValidationResult,
)
from sentrio.checkpoint.actions import make_action
from sentrio.checkpoint.strategies import ConcurrentStrategy
from sentrio.errors import OptionValueError, UnknownOptionError
from sentrio.testing import Backend, RecordingAction, cancel_everywhere

FRAME = pl.DataFrame({"a": [1, None]})


@attrs.define(kw_only=True)
class TicketConfig(ActionConfig):
    project: str
    notify_on: str = "failure"


class OpenTicket(AsyncBaseAction[TicketConfig]):
    action_type = "open_ticket"

    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        await anyio.lowlevel.checkpoint()
        return self.success(f"opened {self.config.project}", summary=checkpoint_result.summary())


class Raises(AsyncBaseAction[ActionConfig]):
    action_type = "raises"
    calls = 0

    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        self.calls += 1
        raise RuntimeError(f"call {self.calls}")


async def results(*actions: Any, validators: Any = ("not_null",), **options: Any) -> tuple[ActionResult, ...]:
    return (await Checkpoint("c", FRAME, list(validators), list(actions), **options).run_async()).action_results


async def test_options_come_from_the_type_parameter() -> None:
    (outcome,) = await results(OpenTicket(project="DQ"))
    assert (outcome.status, outcome.message, outcome.attempts) == ("success", "opened DQ", 1)
    assert outcome.started_at is not None
    assert outcome.completed_at is not None
    assert outcome.completed_at >= outcome.started_at
    assert outcome.details["summary"].startswith("c: failure")
    assert OpenTicket(TicketConfig(project="X", name="mine")).name == "mine"
    with pytest.raises(UnknownOptionError, match="did you mean 'project'"):
        OpenTicket(projekt="DQ")
    with pytest.raises(OptionValueError, match="'project' is missing"):
        OpenTicket()
    with pytest.raises(OptionValueError, match="not both"):
        OpenTicket(TicketConfig(project="X"), project="Y")
    with pytest.raises(OptionValueError, match="notify_on must be one of always, .*, got 'failur'"):
        OpenTicket(project="DQ", notify_on="failur")


def test_a_dataclass_as_configuration_is_an_error_that_says_so() -> None:
    @dataclasses.dataclass
    class Plain:
        notify_on: str = "always"

    with pytest.raises(OptionValueError, match="Plain must be a subclass of ActionConfig made with @attrs.define"):
        OpenTicket(Plain())  # type: ignore[arg-type]


def test_a_configuration_of_another_kind_is_refused_when_the_action_is_made() -> None:
    with pytest.raises(OptionValueError, match="config must be a StoreConfig, got a ActionConfig"):
        StoreValidationResult(ActionConfig())  # type: ignore[arg-type]
    with pytest.raises(OptionValueError, match="config must be a StoreConfig, got a str; options are given by their"):
        StoreValidationResult("results")  # type: ignore[arg-type]
    with pytest.raises(OptionValueError, match="config must be a SlackConfig, got a dict") as caught:
        SlackNotification({"webhook_url": "https://example.com/secret"})  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


async def test_however_many_retries_the_delay_remains_a_number() -> None:
    action = RecordingAction(fail_times=1100, retry_count=1100, retry_delay_seconds=0.0)
    result = await Checkpoint("c", FRAME, ["not_null"], actions=[action]).run_async()
    assert [(done.status, done.attempts) for done in result.action_results] == [("success", 1101)]


@pytest.mark.parametrize(
    ("condition", "statuses"),
    [
        ("always", {"success", "warning", "failure", "error"}),
        ("success", {"success"}),
        ("warning", {"warning"}),
        ("failure", {"failure"}),
        ("error", {"error"}),
        ("failure_or_error", {"failure", "error"}),
        ("not_success", {"warning", "failure", "error"}),
    ],
)
async def test_conditions(condition: str, statuses: set[str]) -> None:
    suites: dict[str, list[Any]] = {
        "success": [{"row_count": {"min": 1}}],
        "warning": [{"not_null": {"severity": "low"}}],
        "failure": ["not_null"],
        "error": [{"not_null": {"column": "b"}}],
    }
    for status, validators in suites.items():
        (outcome,) = await results(CustomAction(callback=len, notify_on=condition), validators=validators)
        if status not in statuses:
            assert outcome.status == "skipped"
            assert outcome.message == f"runs on {condition}, the result is {status}"
        else:
            assert outcome.status == "error"  # len() of a result raises


async def test_disabled() -> None:
    (outcome,) = await results(CustomAction(callback=print, enabled=False))
    assert (outcome.status, outcome.message) == ("skipped", "disabled")


async def test_what_an_action_raises_is_its_result_and_hurts_nobody() -> None:
    first, second = await results(Raises(), OpenTicket(project="DQ"))
    assert (first.status, first.error, str(first.exception)) == ("error", "RuntimeError: call 1", "call 1")
    assert second.status == "success"


async def test_an_action_can_fail_the_checkpoint() -> None:
    checkpoint = Checkpoint("c", FRAME, [{"row_count": {"min": 1}}], [Raises(fail_checkpoint_on_error=True)])
    result = await checkpoint.run_async()
    assert (result.status, result.error) == ("error", "action raises failed: RuntimeError: call 1")


async def test_strange_actions_have_one_result_each() -> None:
    class Bare:
        async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
            raise ValueError("bare")

    class ReturnsNothing(AsyncBaseAction[ActionConfig]):
        async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
            return None  # type: ignore[return-value]

    class BareNothing:
        async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
            return None  # type: ignore[return-value]

    for strategy in ("concurrent", "sequential", ConcurrentStrategy()):
        first, second, third = await results(Bare(), ReturnsNothing(), BareNothing(), execution_strategy=strategy)
        assert (first.status, first.error) == ("error", "ValueError: bare")
        assert "must return an ActionResult, got None" in str(second.error)
        assert "must return an ActionResult, got None" in str(third.error)


async def test_actions_run_at_once_unless_told_otherwise() -> None:
    running: list[str] = []
    seen: list[list[str]] = []

    async def act(name: str, result: CheckpointResult) -> None:
        running.append(name)
        await anyio.wait_all_tasks_blocked()
        seen.append(sorted(running))
        running.remove(name)

    first, second = functools.partial(act, "a"), functools.partial(act, "b")
    await results(first, second)
    assert seen[0] == ["a", "b"]
    seen.clear()
    await results(first, second, execution_strategy="sequential")
    assert seen == [["a"], ["b"]]


async def test_functions_are_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, threading.Thread] = {}

    def sync(result: CheckpointResult) -> dict[str, object]:
        threads["sync"] = threading.current_thread()
        return {"path": Path("x"), "n": 1}

    async def asynchronous(result: CheckpointResult) -> None:
        threads["async"] = threading.current_thread()

    class Callable:
        async def __call__(self, result: CheckpointResult) -> str:
            return "called"

    def gives_awaitable(result: CheckpointResult) -> Any:
        return asynchronous(result)

    def own(result: CheckpointResult) -> ActionResult:
        return ActionResult(action_name="own", action_type="x", status="failure")

    outcomes = await results(
        sync, asynchronous, Callable(), gives_awaitable, own, {"custom": {"callback": "os.path:basename"}}
    )
    assert [outcome.status for outcome in outcomes] == ["success"] * 4 + ["failure", "error"]
    assert outcomes[0].details == {"returned": {"path": "x", "n": 1}}
    assert outcomes[2].details == {"returned": "called"}
    assert [outcome.action_name for outcome in outcomes[:2]] == ["sync", "asynchronous"]
    assert threads["sync"] is not threading.main_thread()
    assert threads["async"] is threading.main_thread()
    for bad in ("os.path", "os.path:nope", "no.such:thing", 42):
        with pytest.raises(OptionValueError, match="callback"):
            CustomAction(callback=bad)
    with pytest.raises(OptionValueError, match="an entry must be a name, or one name with its options"):
        make_action({"custom": 3})
    with pytest.raises(OptionValueError, match="'path' is missing"):
        make_action("store")


async def test_variables_are_filled_when_the_action_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = OpenTicket(project="${SENTRIO_PROJECT}-x")
    assert "SENTRIO_PROJECT" in ticket.validate()[0]
    (outcome,) = await results(ticket)
    assert outcome.status == "error"
    assert str(outcome.error).startswith("option 'project': environment variable 'SENTRIO_PROJECT' is not set")
    monkeypatch.setenv("SENTRIO_PROJECT", "secret-value")
    assert ticket.validate() == []
    (outcome,) = await results(ticket)
    assert outcome.message == "opened secret-value-x"
    assert ticket._config.project == "secret-value-x"
    assert "secret-value" not in repr(ticket)
    del os.environ["SENTRIO_PROJECT"]


def test_cancelled_anywhere_actions_leave_nothing(backend: Backend) -> None:
    ticket = OpenTicket(project="x", timeout_seconds=5)
    checkpoint = Checkpoint("c", FRAME, ["not_null"], [ticket, ticket, ticket])
    assert cancel_everywhere(checkpoint.run_async, backend=backend).points >= 5
