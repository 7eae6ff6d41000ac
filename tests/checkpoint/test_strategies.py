"""Exactly one result for each action, in order, whatever the actions do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.lowlevel
import polars as pl
import pytest
import trio

import sentrio
from sentrio import Checkpoint, CheckpointResult
from sentrio.checkpoint.actions import make_action
from sentrio.checkpoint.result import ActionResult, ActionStatus
from sentrio.checkpoint.strategies import (
    AsyncExecutionContext,
    ConcurrentStrategy,
    ExecutionStrategy,
    PipelineStrategy,
    SequentialStrategy,
    make_strategy,
)
from sentrio.errors import OptionValueError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere

RESULT = sentrio.check(pl.DataFrame({"a": [1]}), ["not_null"])


class Foreign:
    """An action that is none of ours: it has the one method that it needs."""

    def __init__(self, name: str, act: Callable[[], Any]) -> None:
        self.name = name
        self._act = act
        self.begun = 0

    async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        self.begun += 1
        await self._act()
        return ActionResult(action_name=self.name, action_type="foreign", status=ActionStatus.SUCCESS)


def fine(name: str = "fine") -> Foreign:
    return Foreign(name, anyio.lowlevel.checkpoint)


def endless(name: str = "endless") -> Foreign:
    return Foreign(name, anyio.sleep_forever)


def failing(name: str = "failing") -> Foreign:
    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError("broken")

    return Foreign(name, fail)


def statuses(results: list[ActionResult]) -> list[str]:
    return [str(result.status) for result in results]


STRATEGIES = [SequentialStrategy(), ConcurrentStrategy(), PipelineStrategy([[2, 0], [1]])]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
async def test_an_action_that_raises_takes_nobody_down(strategy: ExecutionStrategy) -> None:
    results = await strategy.execute([fine("a"), failing("b"), fine("c")], RESULT)
    assert [result.action_name for result in results] == ["a", "b", "c"]
    assert statuses(results) == ["success", "error", "success"]
    assert results[1].error == "LookupError: broken"
    assert isinstance(results[1].exception, LookupError)


async def test_the_first_error_cancels_those_that_run_and_skips_the_others() -> None:
    actions = [endless(), failing("bad"), fine(), fine()]
    context = AsyncExecutionContext(cancel_on_first_error=True)
    results = await ConcurrentStrategy(max_concurrency=2).execute(actions, RESULT, context)
    assert statuses(results) == ["cancelled", "error", "skipped", "skipped"]
    assert results[0].message == "ended, since action bad had an error"
    assert results[2].message == "not begun, since action bad had an error"
    assert [action.begun for action in actions] == [1, 1, 0, 0]


async def test_one_after_another_the_first_error_skips_the_others() -> None:
    context = AsyncExecutionContext(cancel_on_first_error=True)
    results = await SequentialStrategy().execute([fine(), failing(), fine()], RESULT, context)
    assert statuses(results) == ["success", "error", "skipped"]
    results = await SequentialStrategy().execute([fine(), failing(), fine()], RESULT)
    assert statuses(results) == ["success", "error", "success"]


async def test_the_first_error_ends_its_stage_and_skips_the_later_ones() -> None:
    context = AsyncExecutionContext(cancel_on_first_error=True)
    strategy = PipelineStrategy(stages=[[0], [1, 2], [3]])
    results = await strategy.execute([fine(), failing(), endless(), fine()], RESULT, context)
    assert statuses(results) == ["success", "error", "cancelled", "skipped"]


async def test_stages_run_one_after_another() -> None:
    seen: list[str] = []

    def note(name: str, pause: int) -> Foreign:
        async def act() -> None:
            for _ in range(pause):
                await anyio.lowlevel.checkpoint()
            seen.append(name)

        return Foreign(name, act)

    actions = [note("a", 9), note("b", 1), note("c", 5), note("d", 1)]
    await PipelineStrategy(stages=[[2, 0], [1, 3]]).execute(actions, RESULT)
    assert seen[:2] == ["c", "a"]
    assert sorted(seen[2:]) == ["b", "d"]


async def test_no_more_at_once_than_allowed() -> None:
    running, most = 0, 0

    async def act() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.001)
        running -= 1

    actions = [Foreign(str(number), act) for number in range(12)]
    results = await ConcurrentStrategy(max_concurrency=3).execute(actions, RESULT)
    assert most == 3
    assert [result.action_name for result in results] == [str(number) for number in range(12)]
    most = 0
    context = AsyncExecutionContext(semaphore=anyio.CapacityLimiter(2))
    await ConcurrentStrategy().execute(actions, RESULT, context)
    assert most == 2


async def test_an_action_without_limits_gets_those_of_the_context() -> None:
    ours = make_action(lambda _: anyio.sleep_forever())
    patient = sentrio.CustomAction(callback=lambda _: anyio.sleep(0.05), timeout_seconds=20)
    context = AsyncExecutionContext(timeout=0.01)
    results = await ConcurrentStrategy().execute([ours, endless(), patient], RESULT, context)
    assert [result.error for result in results] == [
        "timed out after 0.01 s",
        "TimeoutError: timed out after 0.01 s",
        None,
    ]


async def test_sync_code_runs_in_the_executor_of_the_context() -> None:
    names = []
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        async with AsyncExecutionContext(executor=executor) as context:
            action = make_action(lambda _: names.append(threading.current_thread().name))
            await ConcurrentStrategy().execute([action, action], RESULT, context)
        assert executor.submit(int).result() == 0  # it is its owner's to shut down
    assert names == ["mine_0", "mine_0"]


async def test_a_limit_of_another_backend_is_refused_before_anything_runs(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        foreign: Any = asyncio.Semaphore(5)
        home: Any = trio.Semaphore(5)
    else:
        foreign, home = trio.Semaphore(5), asyncio.Semaphore(5)
    action = fine()
    with pytest.raises(TypeError, match="can not be used as a limit under"):
        await SequentialStrategy().execute([action], RESULT, AsyncExecutionContext(semaphore=foreign))
    with pytest.raises(TypeError, match="can not be used as a limit under"):
        async with AsyncExecutionContext(semaphore=foreign):
            pytest.fail("must be refused")
    assert not action.begun
    assert statuses(await SequentialStrategy().execute([action], RESULT, AsyncExecutionContext(semaphore=home))) == [
        "success"
    ]


async def test_a_cancellation_that_an_action_raises_itself_is_its_own_affair(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("trio lets nobody make a Cancelled")

    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    stages = PipelineStrategy(stages=[[0], [1, 2]])
    for strategy in (ConcurrentStrategy(max_concurrency=1), SequentialStrategy(), stages):
        results = await strategy.execute([Foreign("odd", cancel_itself), fine(), fine()], RESULT)
        assert statuses(results) == ["cancelled", "success", "success"]


async def test_what_is_no_result_is_an_error() -> None:
    class Odd:
        async def execute_async(self, checkpoint_result: CheckpointResult) -> Any:
            return 42

    (result,) = await ConcurrentStrategy().execute([Odd()], RESULT)
    assert result.error == "TypeError: execute_async must return an ActionResult, got 42"
    assert (result.action_name, result.action_type) == ("Odd", "Odd")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([[0, 0]], "must list each action once, got 0 twice"),
        ([[0], [1, 0]], "must list each action once, got 0 twice"),
        ([[0], [2]], "must list each action, and 1 is missing, while 2 is listed"),
        ([[-1]], "indices of actions, counted from 0, got -1"),
        ([[True]], "indices of actions, counted from 0, got True"),
        ([["0"]], "indices of actions, counted from 0, got '0'"),
        ([0, 1], r"must be a list of lists of indices, like \[\[0, 1\], \[2\]\], got \[0, 1\]"),
        ("01", "must be a list of lists"),
    ],
)
def test_bad_stages_are_refused_when_the_strategy_is_made(stages: Any, message: str) -> None:
    with pytest.raises(OptionValueError, match=message):
        PipelineStrategy(stages)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([[0]], r"stages do not name action 1; there are 2 \(counted from 0\)"),
        ([], "stages do not name action 0"),
        ([[0, 1], [2]], r"stages name action 2, but there are only 2"),
    ],
)
async def test_stages_must_fit_the_actions(stages: list[list[int]], message: str) -> None:
    actions = [fine(), fine()]
    with pytest.raises(OptionValueError, match=message):
        await PipelineStrategy(stages).execute(actions, RESULT)
    checkpoint = Checkpoint(
        "a", pl.DataFrame(), ["not_null"], actions=actions, execution_strategy=PipelineStrategy(stages)
    )
    assert any("stages" in problem for problem in checkpoint.validate())
    with pytest.raises(OptionValueError, match=message):
        await checkpoint.run_async()
    assert not any(action.begun for action in actions)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: ConcurrentStrategy(max_concurrency=0), OptionValueError, "at least 1, got 0"),
        (lambda: ConcurrentStrategy(max_concurency=1), UnknownOptionError, "did you mean 'max_concurrency'"),  # type: ignore[call-arg]
        (lambda: AsyncExecutionContext(timeout=0), OptionValueError, "above 0, got 0"),
        (lambda: AsyncExecutionContext(timeout=float("nan")), OptionValueError, "got nan"),
        (lambda: AsyncExecutionContext(executor="threads"), OptionValueError, "concurrent.futures.Executor"),  # type: ignore[arg-type]
        (lambda: AsyncExecutionContext(semaphore=5), TypeError, "async context manager such as"),  # type: ignore[arg-type]
        (lambda: AsyncExecutionContext(cancel_on_error=True), UnknownOptionError, "cancel_on_first_error"),  # type: ignore[call-arg]
        (lambda: make_strategy("concurent"), OptionValueError, "did you mean 'concurrent'"),
        (lambda: make_strategy("pipeline"), OptionValueError, "needs its stages"),
        (lambda: make_strategy({"concurrent": {"max": 1}}), UnknownOptionError, "max"),
        (lambda: make_strategy({"concurrent": 3}), OptionValueError, "must be one of"),
        (lambda: make_strategy({"a": {}, "b": {}}), OptionValueError, "or a strategy, got"),
    ],
)
def test_bad_options(make: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_strategies_by_name() -> None:
    assert make_strategy("sequential") == SequentialStrategy()
    assert make_strategy({"concurrent": {"max_concurrency": 2}}) == ConcurrentStrategy(2)
    assert make_strategy({"pipeline": {"stages": [[0], [1]]}}) == PipelineStrategy(((0,), (1,)))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("on_error", [True, False])
def test_cancelled_anywhere_nothing_is_left(backend: Backend, strategy: ExecutionStrategy, on_error: bool) -> None:
    limiter: list[anyio.CapacityLimiter] = []

    async def ours(result: CheckpointResult) -> None:
        await anyio.lowlevel.checkpoint()

    async def run() -> None:
        limiter[:] = [anyio.CapacityLimiter(2)]
        context = AsyncExecutionContext(semaphore=limiter[0], cancel_on_first_error=on_error)
        actions = [fine(), make_action(ours), failing()]
        assert len(await strategy.execute(actions, RESULT, context)) == 3

    assert cancel_everywhere(run, backend=backend, limiters=lambda: limiter).points > 3
