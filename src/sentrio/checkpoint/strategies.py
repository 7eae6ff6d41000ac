"""In which order the actions of a checkpoint run."""

from __future__ import annotations

__all__ = ("ConcurrentStrategy", "ExecutionStrategy", "SequentialStrategy", "make_strategy")

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import anyio

from sentrio.checkpoint.actions import AsyncExecutable
from sentrio.checkpoint.result import ActionResult, ActionStatus, CheckpointResult
from sentrio.errors import OptionValueError

logger = logging.getLogger("sentrio.checkpoint.strategies")


class ExecutionStrategy(ABC):
    """How several actions are run: exactly one result for each, in their order."""

    @abstractmethod
    async def execute(
        self, actions: Sequence[AsyncExecutable], checkpoint_result: CheckpointResult
    ) -> list[ActionResult]:
        """Run the actions and return their results."""


class SequentialStrategy(ExecutionStrategy):
    """One action after another."""

    async def execute(
        self, actions: Sequence[AsyncExecutable], checkpoint_result: CheckpointResult
    ) -> list[ActionResult]:
        """Run the actions and return their results."""
        return [await _execute(action, checkpoint_result) for action in actions]


class ConcurrentStrategy(ExecutionStrategy):
    """All actions at once."""

    async def execute(
        self, actions: Sequence[AsyncExecutable], checkpoint_result: CheckpointResult
    ) -> list[ActionResult]:
        """Run the actions and return their results."""
        if len(actions) < 2:
            return [await _execute(action, checkpoint_result) for action in actions]
        results: dict[int, ActionResult] = {}

        async def run(number: int, action: AsyncExecutable) -> None:
            results[number] = await _execute(action, checkpoint_result)

        async with anyio.create_task_group() as tg:
            for number, action in enumerate(actions):
                tg.start_soon(run, number, action, name=f"sentrio: action {_name_of(action)}")
        return [results[number] for number in range(len(actions))]


def _name_of(action: Any) -> str:
    return str(getattr(action, "name", type(action).__name__))


async def _execute(action: AsyncExecutable, checkpoint_result: CheckpointResult) -> ActionResult:
    """Run one action; whatever it raises or returns, there is one result."""
    error: Exception
    try:
        result: object = await action.execute_async(checkpoint_result)
    except Exception as exc:
        logger.exception("action %s raised", _name_of(action))
        error = exc
    else:
        if isinstance(result, ActionResult):
            return result
        error = TypeError(f"execute_async must return an ActionResult, got {result!r}")
    return ActionResult(
        action_name=_name_of(action),
        action_type=str(getattr(action, "action_type", type(action).__name__)),
        status=ActionStatus.ERROR,
        message=str(error),
        attempts=1,
        error=f"{type(error).__name__}: {error}",
        exception=error,
    )


_STRATEGIES: dict[str, type[ExecutionStrategy]] = {
    "concurrent": ConcurrentStrategy,
    "sequential": SequentialStrategy,
}


def make_strategy(value: object) -> ExecutionStrategy:
    """Return the strategy for a name, or the strategy itself.

    :raises OptionValueError: if it is neither
    """
    if isinstance(value, ExecutionStrategy):
        return value
    if isinstance(value, str) and value in _STRATEGIES:
        return _STRATEGIES[value]()
    raise OptionValueError(
        "Checkpoint",
        "execution_strategy",
        f"execution_strategy must be one of {', '.join(_STRATEGIES)}, or a strategy, got {value!r}",
    )
