"""What all actions share: options, conditions, time limits, retries, and one honest result each."""

from __future__ import annotations

__all__ = (
    "ActionConfig",
    "AsyncBaseAction",
    "AsyncExecutable",
    "NotifyCondition",
    "acting_within",
    "default_limits",
)

import dataclasses
import datetime as dt
import logging
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast, get_args, get_origin, runtime_checkable

import anyio
import attrs

from sentrio import _options as options
from sentrio.checkpoint.result import ActionResult, ActionStatus, CheckpointResult, CheckpointStatus
from sentrio.errors import OptionValueError, SentrioError

logger = logging.getLogger("sentrio.checkpoint.actions")

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class NotifyCondition(StrEnum):
    """The results for which an action runs."""

    ALWAYS = "always"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    WARNING = "warning"
    FAILURE_OR_ERROR = "failure_or_error"
    NOT_SUCCESS = "not_success"

    def holds(self, status: CheckpointStatus) -> bool:
        """Tell whether an action with this condition runs for a result with this status."""
        match self:
            case NotifyCondition.ALWAYS:
                return True
            case NotifyCondition.FAILURE_OR_ERROR:
                return status in {CheckpointStatus.FAILURE, CheckpointStatus.ERROR}
            case NotifyCondition.NOT_SUCCESS:
                return status is not CheckpointStatus.SUCCESS
            case _:
                return status.value == self.value


class UnsetVariableError(SentrioError):
    """An option refers to an environment variable that is not set."""

    def __init__(self, option: str, variable: str) -> None:
        super().__init__(option, variable)
        self.option = option
        self.variable = variable

    def __str__(self) -> str:
        return f"option {self.option!r} refers to ${{{self.variable}}}, and that environment variable is not set"


@attrs.define(kw_only=True)
class ActionConfig(metaclass=options.OptionsMeta):
    """The options that every action has. Derive from it with ``attrs.define`` to add some.

    :param name: how results and logs call the action; ``None``: its type
    :param enabled: a disabled action is skipped
    :param notify_on: the results for which it runs
    :param timeout_seconds: for each attempt; ``None``: none, or the default of the strategy's context
    :param retry_count: further attempts after one that raised or timed out
    :param retry_delay_seconds: before the first retry; it doubles each time
    :param fail_checkpoint_on_error: whether an error of the action turns the result's status into ``error``
    :param metadata: kept for the user; sentrio does not look at it
    """

    name: str | None = attrs.field(default=None, validator=options.optional(options.text()))
    enabled: bool = attrs.field(default=True, validator=options.flag())
    notify_on: str = attrs.field(default="always", validator=options.one_of(tuple(NotifyCondition)))
    timeout_seconds: float | None = attrs.field(default=None, validator=options.optional(options.number(above=0)))
    retry_count: int = attrs.field(default=0, validator=options.integer(minimum=0))
    retry_delay_seconds: float = attrs.field(default=1.0, validator=options.number(minimum=0))
    fail_checkpoint_on_error: bool = attrs.field(default=False, validator=options.flag())
    metadata: Mapping[str, Any] = attrs.field(factory=dict, validator=options.mapping())


ConfigT = TypeVar("ConfigT", bound=ActionConfig)


@attrs.frozen
class DefaultLimits:
    """What holds for actions that say nothing themselves."""

    timeout: float | None = None  #: seconds for each attempt; ``None``: no limit
    executor: Executor | None = None  #: where sync code runs; ``None``: in worker threads of sentrio


_NO_LIMITS = DefaultLimits()

#: The limits of the execution that the code runs in.
default_limits: ContextVar[DefaultLimits] = ContextVar("sentrio_default_limits", default=_NO_LIMITS)


@contextmanager
def acting_within(timeout: float | None, executor: Executor | None) -> Generator[None]:
    """Let these limits hold for the actions that run in the block."""
    token = default_limits.set(DefaultLimits(timeout, executor))
    try:
        yield
    finally:
        default_limits.reset(token)


@runtime_checkable
class AsyncExecutable(Protocol):
    """Anything that acts on a result asynchronously."""

    async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act on a result."""
        ...


class AsyncBaseAction(ABC, Generic[ConfigT]):
    """Base of asynchronous actions: override :meth:`_execute_async`.

    An action is made as ``Action(config)`` or ``Action(option=value, ...)``. The class of its configuration is
    the type parameter: ``class OpenTicket(AsyncBaseAction[TicketConfig])``.

    :param config: the configuration; ``None``: one made of the options
    :raises UnknownOptionError: for an option that the configuration does not know
    :raises OptionValueError: for a bad value
    """

    action_type: ClassVar[str] = "action"
    _config_class: ClassVar[type[ActionConfig]] = ActionConfig

    #: the folder that relative paths of options start from; ``None``: the working directory
    base_dir: Path | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            found = next(iter(get_args(base)), None)
            if isinstance(get_origin(base), type) and isinstance(found, type) and issubclass(found, ActionConfig):
                cls._config_class = found

    def __init__(self, config: ConfigT | None = None, **given: Any) -> None:
        if config is not None and given:
            raise OptionValueError(
                type(self).__name__, "config", f"give a config or options, not both: got {', '.join(given)}"
            )
        made: Any = self._default_config(**given) if config is None else config
        if dataclasses.is_dataclass(type(made)) or not isinstance(made, ActionConfig):
            problem = (
                f"{type(made).__name__} must be a subclass of ActionConfig made with @attrs.define(kw_only=True), "
                "not with @dataclass"
            )
            raise OptionValueError(type(self).__name__, "config", problem)
        try:
            self._notify_on = NotifyCondition(made.notify_on)
        except ValueError:
            allowed = ", ".join(NotifyCondition)
            problem = f"notify_on must be one of {allowed}, got {made.notify_on!r}"
            raise OptionValueError(type(self).__name__, "notify_on", problem) from None
        self._given = cast("ConfigT", made)
        self._texts = {
            field.name: text
            for field in attrs.fields(type(made))
            if isinstance(text := getattr(made, field.name), str) and _VARIABLE.search(text)
        }

    @classmethod
    def _default_config(cls, **given: Any) -> Any:
        """Make the configuration of an action that was made without one."""
        return cls._config_class(**given)

    @property
    def config(self) -> ConfigT:
        """The options, with ``${NAME}`` filled from the environment.

        :raises UnsetVariableError: if such a variable is not set
        """
        if not self._texts:
            return self._given
        filled: dict[str, Any] = {name: _filled(name, text) for name, text in self._texts.items()}
        return attrs.evolve(self._given, **filled)

    @property
    def _config(self) -> ConfigT:
        return self.config

    @property
    def name(self) -> str:
        """How results and logs call the action."""
        return self._given.name or self.action_type

    def __repr__(self) -> str:
        # Options may hold secrets: a repr shows none of them.
        return f"<{type(self).__name__} {self.name!r}>"

    def validate(self) -> list[str]:
        """Return what is wrong with the configuration as far as can be told without acting."""
        return [
            f"{self.name}: {UnsetVariableError(option, variable)}"
            for option, text in self._texts.items()
            for variable in _variables(text)
            if variable not in os.environ
        ]

    @abstractmethod
    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act; return :meth:`success` or :meth:`failure`, or raise."""

    def success(self, message: str = "", **details: Any) -> ActionResult:
        """Make the result of an action that did what it should."""
        return self._result(ActionStatus.SUCCESS, message=message, details=details)

    def failure(self, message: str = "", **details: Any) -> ActionResult:
        """Make the result of an action that ran and reports no success; it is not retried."""
        return self._result(ActionStatus.FAILURE, message=message, details=details)

    def _result(self, status: ActionStatus, **fields: Any) -> ActionResult:
        return ActionResult(action_name=self.name, action_type=self.action_type, status=status, **fields)

    async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act on a result, within the limits of the configuration.

        Whatever the action raises becomes a result with status ``error``; a cancellation passes through.
        """
        given = self._given
        if not given.enabled:
            return self._result(ActionStatus.SKIPPED, message="disabled")
        if not self._notify_on.holds(checkpoint_result.status):
            condition = f"runs on {self._notify_on}, the result is {checkpoint_result.status}"
            return self._result(ActionStatus.SKIPPED, message=condition)

        timeout = given.timeout_seconds or default_limits.get().timeout
        started_at, started = dt.datetime.now(dt.UTC), time.perf_counter()
        attempts = 0
        for delay in (0.0, *_delays(given)):
            if delay:
                await anyio.sleep(delay)
            attempts += 1
            outcome = await self._attempt(checkpoint_result, timeout)
            if outcome.status is not ActionStatus.ERROR:
                break
        return attrs.evolve(
            outcome,
            started_at=started_at,
            completed_at=dt.datetime.now(dt.UTC),
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            attempts=attempts,
        )

    async def _attempt(self, checkpoint_result: CheckpointResult, timeout: float | None) -> ActionResult:
        error: BaseException
        with anyio.CancelScope(deadline=anyio.current_time() + timeout if timeout else float("inf")) as scope:
            try:
                outcome: object = await self._execute_async(checkpoint_result)
            except Exception as exc:  # noqa: BLE001  # an action's failure is a result
                error = exc
            else:
                if isinstance(outcome, ActionResult):
                    return outcome
                error = TypeError(
                    f"{type(self).__name__}._execute_async must return an ActionResult, got {outcome!r}; "
                    "use `return self.success(...)`"
                )
        if scope.cancelled_caught:
            error = TimeoutError(f"timed out after {timeout:g} s")
        logger.warning("action %s failed: %s: %s", self.name, type(error).__name__, error)
        text = str(error) if isinstance(error, SentrioError | TimeoutError) else f"{type(error).__name__}: {error}"
        return self._result(ActionStatus.ERROR, message=str(error), error=text, exception=error)


def _delays(config: ActionConfig) -> Iterator[float]:
    for retry in range(config.retry_count):
        yield config.retry_delay_seconds * 2**retry


def _variables(text: str) -> list[str]:
    return _VARIABLE.findall(text)


def _filled(option: str, text: str) -> str:
    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match.group(1))
        if found is None:
            raise UnsetVariableError(option, match.group(1))
        return found

    return _VARIABLE.sub(value, text)
