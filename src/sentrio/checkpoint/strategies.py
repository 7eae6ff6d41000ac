"""In which order the actions of a checkpoint run, and within which limits."""

from __future__ import annotations

__all__ = (
    "AsyncExecutionContext",
    "ConcurrentStrategy",
    "ExecutionStrategy",
    "PipelineStrategy",
    "SequentialStrategy",
    "make_strategy",
)

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
import attrs

from sentrio import _options as options
from sentrio.async_core._within import within
from sentrio.async_core.background import is_being_cancelled
from sentrio.async_core.limits import Limit, borrowed, check_limit
from sentrio.checkpoint.actions.base import AsyncExecutable, acting_within, require_executor
from sentrio.checkpoint.connections import Connections
from sentrio.checkpoint.result import ActionResult, ActionStatus, CheckpointResult
from sentrio.errors import OptionValueError, suggestion

logger = logging.getLogger("sentrio.checkpoint.strategies")


def _executor(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    require_executor("AsyncExecutionContext", value)


def _limit(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        check_limit("semaphore", value)


@attrs.define(kw_only=True, eq=False)
class AsyncExecutionContext(metaclass=options.OptionsMeta):
    """Limits for one execution of actions, or for several that share them.

    ``async with`` marks the part of a program that it is for: in it, HTTP connections are shared. An executor
    that it was given is left to whoever made it.

    :param executor: where sync actions run; ``None``: in worker threads of sentrio
    :param semaphore: held by each action while it runs: any async context manager, such as
        ``asyncio.Semaphore``, ``anyio.CapacityLimiter`` or ``trio.Semaphore``; ``None``: no such limit
    :param timeout: seconds for each attempt of an action that sets none itself; ``None``: no limit
    :param cancel_on_first_error: the first action that ends with ``error`` cancels those that run, and those
        that have not begun are skipped
    :raises OptionValueError: for a bad value
    :raises TypeError: if ``semaphore`` is no async context manager; when it is used, if it belongs to
        asyncio and trio runs, or the other way round
    """

    executor: Executor | None = attrs.field(default=None, validator=_executor)
    semaphore: Limit | None = attrs.field(default=None, validator=_limit)
    timeout: float | None = attrs.field(default=30.0, validator=options.optional(options.number(above=0)))
    cancel_on_first_error: bool = attrs.field(default=False, validator=options.flag())
    connections: Connections = attrs.field(factory=Connections, init=False, repr=False)

    async def __aenter__(self) -> Self:
        await anyio.lowlevel.checkpoint()
        if self.semaphore is not None:
            borrowed(self.semaphore)  # one that belongs to another backend is refused before anything runs
        self.connections.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.connections.aclose()


_NO_LIMITS = AsyncExecutionContext(timeout=None)


class ExecutionStrategy(metaclass=options.OptionsMeta):
    """How several actions are run: exactly one result for each, in their order."""

    @abstractmethod
    async def execute(
        self,
        actions: Sequence[AsyncExecutable],
        checkpoint_result: CheckpointResult,
        context: AsyncExecutionContext | None = None,
    ) -> list[ActionResult]:
        """Run the actions and return their results.

        What an action raises is its result, with status ``error``. A cancellation of the caller passes through.

        :param actions: the actions; each is run once
        :param checkpoint_result: what they act on
        :param context: limits; ``None``: those that the actions have themselves
        """

    def check(self, count: int) -> None:
        """Check that so many actions can be run.

        :raises OptionValueError: if they can not
        """


class _InStages(ExecutionStrategy):
    """Runs actions stage by stage, those of a stage at once."""

    @property
    def _at_once(self) -> int | None:
        """How many may run at once; ``None``: all of a stage."""
        return None

    @abstractmethod
    def _order(self, count: int) -> Iterable[Sequence[int]]:
        """Return the indices of the actions, stage by stage."""

    async def execute(
        self,
        actions: Sequence[AsyncExecutable],
        checkpoint_result: CheckpointResult,
        context: AsyncExecutionContext | None = None,
    ) -> list[ActionResult]:
        """Run the actions and return their results; see :meth:`ExecutionStrategy.execute`.

        :raises OptionValueError: if so many actions can not be run; nothing has run then
        """
        self.check(len(actions))
        execution = _Execution(actions, checkpoint_result, context or _NO_LIMITS)
        for stage in self._order(len(actions)):
            await execution.run(stage, self._at_once)
        return execution.results()


@attrs.define
class SequentialStrategy(_InStages):
    """One action after another, in their order."""

    def _order(self, count: int) -> Iterable[Sequence[int]]:
        return ([number] for number in range(count))


@attrs.define
class ConcurrentStrategy(_InStages):
    """All actions at once.

    :param max_concurrency: how many may run at once; ``None``: all
    :raises OptionValueError: if it is no whole number of at least 1
    """

    max_concurrency: int | None = attrs.field(default=None, validator=options.optional(options.integer(minimum=1)))

    def _order(self, count: int) -> Iterable[Sequence[int]]:
        return (range(count),)

    @property
    def _at_once(self) -> int | None:
        return self.max_concurrency


def _stages(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(stage, list | tuple) for stage in value):
        return tuple(map(tuple, value))
    return value


def _check_stages(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    def refuse(problem: str) -> None:
        raise OptionValueError("PipelineStrategy", "stages", problem)

    if not isinstance(value, tuple) or not all(isinstance(stage, tuple) for stage in value):
        refuse(f"stages must be a list of lists of indices, like [[0, 1], [2]], got {value!r}")
    assert isinstance(value, tuple)
    listed = [index for stage in value for index in stage]
    for index in listed:
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            refuse(f"stages must hold indices of actions, counted from 0, got {index!r}")
    for index in listed:
        if listed.count(index) > 1:
            refuse(f"stages must list each action once, got {index} twice")
    if sorted(listed) != list(range(len(listed))):
        missing = next(index for index in range(len(listed)) if index not in listed)
        refuse(f"stages must list each action, and {missing} is missing, while {max(listed)} is listed")


@attrs.define
class PipelineStrategy(_InStages):
    """Stages one after another, and the actions of a stage at once.

    :param stages: indices of the actions, stage by stage; each index exactly once
    :raises OptionValueError: if an index is listed twice, left out, or none; when executed, if there are not
        as many actions as indices
    """

    stages: Sequence[Sequence[int]] = attrs.field(converter=_stages, validator=_check_stages)

    def check(self, count: int) -> None:
        """Check that there are as many actions as indices.

        :raises OptionValueError: if not
        """
        listed = sum(map(len, self.stages))
        if listed == count:
            return
        if listed > count:
            problem = f"stages name action {count}, but there are only {count} (counted from 0)"
        else:
            problem = f"stages do not name action {listed}; there are {count} (counted from 0)"
        raise OptionValueError("PipelineStrategy", "stages", problem)

    def _order(self, count: int) -> Iterable[Sequence[int]]:
        return self.stages


class _Execution:
    """One execution of some actions: their results as they come, and the first error."""

    def __init__(
        self, actions: Sequence[AsyncExecutable], checkpoint_result: CheckpointResult, context: AsyncExecutionContext
    ) -> None:
        self._actions = actions
        self._checkpoint_result = checkpoint_result
        self._context = context
        self._results: dict[int, ActionResult] = {}
        self._begun: set[int] = set()
        self._first_error: str | None = None  # the action that ended the others
        self._cancel: Callable[[], object] = lambda: None
        if context.semaphore is not None:
            borrowed(context.semaphore)  # one that belongs to another backend is refused before anything runs

    async def run(self, numbers: Sequence[int], at_once: int | None = None) -> None:
        """Run some of the actions at once."""
        if self._first_error is not None:
            return
        if len(numbers) < 2 and not self._context.cancel_on_first_error:
            for number in numbers:
                await self._run_one(number)
            return
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                await self._run_one(number)

        async with anyio.create_task_group() as tg:
            self._cancel = tg.cancel_scope.cancel
            for number in range(min(len(numbers), at_once or len(numbers))):
                tg.start_soon(work, name=f"sentrio: actions {number}")
        self._cancel = lambda: None

    async def _run_one(self, number: int) -> None:
        context, action = self._context, self._actions[number]
        if self._first_error is not None:
            return
        async with nullcontext() if context.semaphore is None else borrowed(context.semaphore):
            self._begun.add(number)
            with acting_within(context.timeout, context.executor), context.connections.in_use():
                try:
                    outcome = await _execute(action, self._checkpoint_result, context.timeout)
                except anyio.get_cancelled_exc_class():
                    if is_being_cancelled():
                        raise
                    # On asyncio an action may raise CancelledError although nobody cancels it.
                    return
        self._results[number] = outcome
        if context.cancel_on_first_error and outcome.status is ActionStatus.ERROR and self._first_error is None:
            self._first_error = outcome.action_name
            self._cancel()

    def results(self) -> list[ActionResult]:
        """Return one result for each action, in their order."""
        return [self._results.get(number) or self._ended(number) for number in range(len(self._actions))]

    def _ended(self, number: int) -> ActionResult:
        because = f"action {self._first_error} had an error" if self._first_error else "it was cancelled"
        if number in self._begun:
            return _result_of(self._actions[number], ActionStatus.CANCELLED, message=f"ended, since {because}")
        return _result_of(self._actions[number], ActionStatus.SKIPPED, message=f"not begun, since {because}")


def _result_of(action: object, status: ActionStatus, **fields: Any) -> ActionResult:
    kind = str(getattr(action, "action_type", type(action).__name__))
    return ActionResult(
        action_name=str(getattr(action, "name", type(action).__name__)), action_type=kind, status=status, **fields
    )


async def _execute(
    action: AsyncExecutable, checkpoint_result: CheckpointResult, timeout: float | None
) -> ActionResult:
    """Run one action; whatever it raises or returns, there is one result."""
    if timeout is None or getattr(action, "limits_itself", False):  # each of its attempts
        timeout = None
    error: Exception
    with within(timeout) as limit:
        try:
            result: object = await action.execute_async(checkpoint_result)
        except Exception as exc:
            logger.exception("action %s raised", getattr(action, "name", type(action).__name__))
            error = exc
        else:
            if isinstance(result, ActionResult):
                return result
            error = TypeError(f"execute_async must return an ActionResult, got {result!r}")
    if limit.expired:
        error = TimeoutError(f"timed out after {timeout:g} s")
    return _result_of(
        action,
        ActionStatus.ERROR,
        message=str(error),
        attempts=1,
        error=f"{type(error).__name__}: {error}",
        exception=error,
    )


_STRATEGIES: dict[str, Callable[..., ExecutionStrategy]] = {
    "concurrent": ConcurrentStrategy,
    "sequential": SequentialStrategy,
    "pipeline": PipelineStrategy,
}


def make_strategy(value: object) -> ExecutionStrategy:
    """Make a strategy of an entry.

    :param value: a strategy; the name of one; or a mapping of one such name to its options
    :raises UnknownOptionError: if a strategy does not know an option
    :raises OptionValueError: for a bad value, or if ``value`` is none of these
    """
    if isinstance(value, ExecutionStrategy):
        return value
    name: Any = value
    given: Any = {}
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, given),) = value.items()
    if not isinstance(name, str) or name not in _STRATEGIES or not isinstance(given, Mapping | None):
        nearest = suggestion(name, tuple(_STRATEGIES)) if isinstance(name, str) and name not in _STRATEGIES else ""
        problem = (
            f"execution_strategy must be one of {', '.join(_STRATEGIES)}, one of them with its options in a mapping, "
            f"or a strategy, got {options.shown(value)}{nearest}"
        )
        raise OptionValueError("Checkpoint", "execution_strategy", problem)
    if name == "pipeline" and not given:
        problem = "a pipeline needs its stages, like {pipeline: {stages: [[0, 1], [2]]}}"
        raise OptionValueError("Checkpoint", "execution_strategy", problem)
    return _STRATEGIES[name](**(given or {}))
