"""The blocking twin of the base of actions, and threads that outlive their attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import anyio
import attrs
import polars as pl
import pytest

from sentrio import (
    ActionConfig,
    ActionResult,
    AsyncBaseAction,
    BaseAction,
    CheckpointResult,
    CustomAction,
    check,
    check_async,
)
from sentrio.async_core.threads import thread_statistics
from sentrio.checkpoint.actions import AsyncExecutable, SyncExecutable, make_action
from sentrio.checkpoint.actions.base import acting_within, actions_limiter
from sentrio.errors import OptionValueError, RunningLoopError, UnknownOptionError
from sentrio.testing import Backend, RecordingAction, cancel_everywhere

FRAME = pl.DataFrame({"a": [1, None]})


@attrs.define(kw_only=True)
class CallConfig(ActionConfig):
    token: str = "none"


class Call(BaseAction[CallConfig]):
    """Calls a function with the number of the attempt."""

    action_type = "call"

    def __init__(self, func: Callable[[int], Any], **given: Any) -> None:
        super().__init__(**given)
        self.func = func
        self.calls = 0

    def _execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        self.calls += 1
        returned = self.func(self.calls)
        return returned if isinstance(returned, ActionResult) else self.success(str(returned))


@pytest.fixture
async def result() -> CheckpointResult:
    return await check_async(FRAME, ["not_null"])


@pytest.fixture
def gate() -> Generator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def until_threads_have_ended() -> None:
    with anyio.fail_after(20):
        while thread_statistics().running or actions_limiter().borrowed_tokens:
            await anyio.sleep(0.001)


async def test_it_runs_in_a_worker_thread(result: CheckpointResult) -> None:
    action = Call(lambda _: threading.current_thread() is threading.main_thread())
    outcome = await action.execute_async(result)
    assert (outcome.status, outcome.message, outcome.attempts) == ("success", "False", 1)
    assert outcome.started_at is not None
    assert outcome.duration_ms > 0


def test_it_can_be_called_where_no_loop_runs() -> None:
    result = check(FRAME, ["not_null"])
    outcome = Call(lambda n: f"call {n}", retry_count=1).execute(result)
    assert (outcome.status, outcome.message) == ("success", "call 1")
    recording = RecordingAction(fail_times=2, retry_count=3, retry_delay_seconds=0)
    assert (recording.execute(result).attempts, recording.results) == (3, [result])
    assert Call(lambda _: 1, notify_on="success").execute(result).status == "skipped"


async def test_where_a_loop_runs_the_blocking_form_is_an_error_that_names_the_other(result: CheckpointResult) -> None:
    with pytest.raises(RunningLoopError, match=r"use `await action.execute_async\(...\)`"):
        Call(str).execute(result)


async def test_conditions_and_errors_are_those_of_every_action(result: CheckpointResult) -> None:
    assert (await Call(str, enabled=False).execute_async(result)).message == "disabled"
    assert (await Call(str, notify_on="success").execute_async(result)).status == "skipped"
    action = Call(lambda n: 6 // (n - 1), retry_count=2, retry_delay_seconds=0)
    outcome = await action.execute_async(result)
    assert (outcome.status, outcome.message, outcome.attempts) == ("success", "6", 2)
    outcome = await Call(lambda n: 1 // (n // 9), retry_count=2, retry_delay_seconds=0).execute_async(result)
    assert (outcome.status, outcome.attempts) == ("error", 3)
    assert str(outcome.error).startswith("ZeroDivisionError: ")
    outcome = await Call(lambda _: action.failure("no"), retry_count=2).execute_async(result)
    assert (outcome.status, outcome.attempts) == ("failure", 1)


def blocked(gate: threading.Event) -> Callable[[int], str]:
    def func(number: int) -> str:
        gate.wait()
        return "late"

    return func


@pytest.mark.parametrize("kind", ["class", "function"])
async def test_a_timeout_returns_on_time_and_is_not_repeated_while_the_thread_runs(
    kind: str, result: CheckpointResult, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[object] = []
    options: dict[str, Any] = {"timeout_seconds": 0.8, "retry_count": 5, "retry_delay_seconds": 0.01}

    def func(given: object) -> None:
        calls.append(given)
        gate.wait()

    action = Call(func, **options) if kind == "class" else CustomAction(callback=func, **options)
    with anyio.fail_after(30):
        outcome = await action.execute_async(result)
    assert (outcome.status, outcome.attempts, len(calls)) == ("error", 1, 1)
    assert outcome.error == "timed out after 0.8 s; not tried again, since its thread still runs"
    assert outcome.details == {"abandoned": True}
    assert isinstance(outcome.exception, TimeoutError)
    assert (thread_statistics().abandoned, actions_limiter().borrowed_tokens) == (1, 1)
    assert f"call of action {action.name} was abandoned" in caplog.text
    gate.set()
    await until_threads_have_ended()
    assert len(calls) == 1


async def test_an_attempt_that_never_came_to_run_may_be_repeated(
    result: CheckpointResult, gate: threading.Event
) -> None:
    limiter = actions_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 1
    try:
        first = Call(blocked(gate), timeout_seconds=0.8)
        assert (await first.execute_async(result)).details == {"abandoned": True}
        # The only slot is taken, so this one waits for it; then its own retry finds it free.
        second = Call(lambda _: "ran", timeout_seconds=0.6, retry_count=50, retry_delay_seconds=0)
        async with anyio.create_task_group() as tg:
            tg.start_soon(lambda: set_after(gate, 0.7))
            outcome = await second.execute_async(result)
        assert (outcome.status, outcome.message, second.calls) == ("success", "ran", 1)
        assert outcome.attempts > 1
    finally:
        gate.set()
        await until_threads_have_ended()
        limiter.total_tokens = before


async def test_an_attempt_that_was_given_up_before_its_thread_came_to_it_is_never_made(
    result: CheckpointResult, gate: threading.Event
) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(gate.wait)
        action = Call(lambda n: n, timeout_seconds=0.01, retry_count=3, retry_delay_seconds=0)
        with acting_within(None, executor):
            outcome = await action.execute_async(result)
        assert (outcome.status, outcome.attempts, outcome.error) == ("error", 4, "timed out after 0.01 s")
        gate.set()
        await until_threads_have_ended()
    assert action.calls == 0


async def set_after(gate: threading.Event, seconds: float) -> None:
    await anyio.sleep(seconds)
    gate.set()


async def test_an_executor_may_be_given(result: CheckpointResult) -> None:
    class Elsewhere(Executor):
        """Stands for a process pool: it gives back an answer, and nothing else is known of it."""

        def __init__(self) -> None:
            self.submitted = 0
            self.unanswered: list[Future[Any]] = []

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.submitted += 1
            future: Future[Any] = Future()
            if self.submitted == 1:
                future.set_result(fn(*args, **kwargs))
            else:
                self.unanswered.append(future)
            return future

    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        action = Call(lambda _: threading.current_thread().name)
        with acting_within(None, executor):
            assert (await action.execute_async(result)).message.startswith("mine")
    elsewhere = Elsewhere()
    with acting_within(0.3, elsewhere):
        assert (await Call(lambda n: n).execute_async(result)).message == "1"
        outcome = await Call(str, retry_count=3, retry_delay_seconds=0).execute_async(result)
    assert (outcome.status, outcome.attempts, elsewhere.submitted) == ("error", 1, 2)
    assert "its thread still runs" in str(outcome.error)
    elsewhere.unanswered[0].set_result(None)
    await until_threads_have_ended()


async def test_both_bases_satisfy_both_protocols() -> None:
    class Sync:
        def execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
            raise NotImplementedError

    for action in (Call(str), RecordingAction(), CustomAction(callback=print)):
        assert isinstance(action, AsyncExecutable)
        assert isinstance(action, SyncExecutable)
        assert make_action(action) is action
    assert isinstance(Sync(), SyncExecutable)
    assert not isinstance(Sync(), AsyncExecutable)
    assert not isinstance(print, SyncExecutable)


async def test_a_default_configuration_may_be_given_as_the_reference_does(result: CheckpointResult) -> None:
    class Documented(AsyncBaseAction[CallConfig]):
        @classmethod
        def _default_config(cls) -> CallConfig:
            return CallConfig(token="default", name="documented")

        async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
            return ActionResult(
                status="success", action_name=self.name, action_type=self.action_type, message=self._config.token
            )

    outcome = await Documented().execute_async(result)
    assert (outcome.action_name, outcome.message) == ("documented", "default")
    assert (await Documented(token="mine").execute_async(result)).message == "mine"
    with pytest.raises(UnknownOptionError, match="Documented: unknown option 'tokn'; did you mean 'token'"):
        Documented(tokn="x")


async def test_a_configuration_of_another_kind_is_an_error_that_says_so() -> None:
    class Odd(AsyncBaseAction[int]):  # type: ignore[type-var]
        async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
            raise NotImplementedError

    with pytest.raises(OptionValueError, match="int must be a subclass of ActionConfig made with @attrs.define"):
        Odd()


async def test_what_came_from_the_environment_is_hidden_in_errors(
    result: CheckpointResult, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SENTRIO_TOKEN", "hunter2")
    action = Call(lambda _: None, token="Bearer ${SENTRIO_TOKEN}")

    def fails(number: int) -> None:
        raise RuntimeError(f"refused: {action.config.token}")

    action.func = fails
    outcome = await action.execute_async(result)
    assert outcome.error == "RuntimeError: refused: Bearer ${SENTRIO_TOKEN}"
    assert "hunter2" not in caplog.text + str(outcome.to_dict())


def test_texts_that_can_never_be_filled_are_refused_when_built() -> None:
    with pytest.raises(OptionValueError, match=r"option 'token': `\$\{` begins the name of a variable"):
        Call(str, token="${")
    assert Call(str, token="$${TOKEN} $5").config.token == "${TOKEN} $5"


def test_cancelled_anywhere_blocking_actions_leave_nothing(backend: Backend) -> None:
    async def operation() -> None:
        result = await check_async(FRAME, ["not_null"])
        await Call(lambda n: 1 / (n - 1), retry_count=1, retry_delay_seconds=0, timeout_seconds=5).execute_async(
            result
        )

    assert cancel_everywhere(operation, backend=backend, allow_abandoned=True).points >= 4
