"""What all actions share: conditions, time limits, retries, and one honest result each."""

from __future__ import annotations

__all__ = (
    "Action",
    "AsyncBaseAction",
    "AsyncExecutable",
    "BaseAction",
    "DefaultLimits",
    "SyncExecutable",
    "ThreadOfAttempt",
    "acting_within",
    "actions_limiter",
    "default_limits",
    "require_executor",
)

import datetime as dt
import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import anyio
import attrs
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from sentrio.async_core._within import within
from sentrio.async_core.background import default_backend
from sentrio.async_core.threads import call_sync
from sentrio.checkpoint._configured import Configured
from sentrio.checkpoint.actions.config import ActionConfig, NotifyCondition, OptionTexts
from sentrio.checkpoint.result import ActionResult, ActionStatus, CheckpointResult
from sentrio.errors import OptionValueError, RunningLoopError, SentrioError

logger = logging.getLogger("sentrio.checkpoint.actions")

# Blocking actions of one event loop share these threads, and no others: however many of them hang, reading data goes
# on.
_ACTION_THREADS = 40

# Doubling delays leave the range of numbers some day, and that of timers before.
_LONGEST_DELAY_SECONDS = 1e8

_threads: RunVar[CapacityLimiter] = RunVar("sentrio_action_threads")

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


def require_executor(owner: str, value: object) -> None:
    """Check that ``value`` is an executor, or ``None``.

    :raises OptionValueError: if not
    """
    if value is not None and not isinstance(value, Executor):
        raise OptionValueError(owner, "executor", f"executor must be a concurrent.futures.Executor, got {value!r}")


@runtime_checkable
class AsyncExecutable(Protocol):
    """Anything that acts on a result asynchronously."""

    async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act on a result."""
        ...


@runtime_checkable
class SyncExecutable(Protocol):
    """Anything that acts on a result and blocks meanwhile."""

    def execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act on a result."""
        ...


def actions_limiter() -> CapacityLimiter:
    """Return what limits the threads of blocking actions in this event loop."""
    found = _threads.get(None)
    if found is None:
        found = CapacityLimiter(_ACTION_THREADS)
        _threads.set(found)
    return found


@attrs.define(eq=False)
class ThreadOfAttempt:
    """The thread that an attempt blocks, if it does, and what becomes of it when nobody waits for it any more.

    :param action: the name of the action, for the log
    :param executor: where blocking code runs; ``None``: in a worker thread of sentrio's own
    """

    action: str
    executor: Executor | None = None
    _given_up: bool = attrs.field(default=False, init=False)
    _began: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _raised: bool = attrs.field(default=False, init=False)

    async def call(self, func: Callable[..., Any], *args: Any) -> Any:
        """Run ``func(*args)`` there; when it is cancelled, it leaves the thread behind at once."""
        if not (self.executor is None or isinstance(self.executor, ThreadPoolExecutor)):
            self._began = True  # another process tells nothing but its answer
            returned = await call_sync(func, *args, limiter=actions_limiter(), executor=self.executor)
            self._ended = True
            return returned

        def run() -> Any:
            self._began = True
            if self._given_up:  # seen by whoever comes second: this, or who asks whether it has begun
                self._began = False
                return None
            try:
                return func(*args)
            except BaseException:
                self._raised = True
                raise
            finally:
                self._ended = True

        run.__qualname__ = f"of action {self.action}"  # what the log calls it if it is left behind
        try:
            return await call_sync(run, limiter=actions_limiter(), executor=self.executor)
        finally:
            self._given_up = True

    @property
    def runs(self) -> bool:
        """Whether it is still at work."""
        return self._began and not self._ended

    @property
    def against_retry(self) -> str | None:
        """Why another attempt after one that timed out might act twice; ``None``: it can not."""
        if self.runs:
            return "its thread still runs"
        return "its thread has come to an end by now" if self._ended and not self._raised else None


class Action(Configured[ConfigT]):
    """What blocking and asynchronous actions share."""

    action_type: ClassVar[str] = "action"
    _config_base = ActionConfig
    _config_class: ClassVar[type] = ActionConfig

    #: it keeps the time limits of an execution context for each of its attempts
    limits_itself: ClassVar[bool] = True

    #: the folder that relative paths of options start from; ``None``: the working directory
    base_dir: Path | None = None

    def __init__(self, config: ConfigT | None = None, **given: Any) -> None:
        super().__init__(config, **given)
        try:
            self._notify_on = NotifyCondition(self._given.notify_on)
        except ValueError:
            allowed = ", ".join(NotifyCondition)
            problem = f"notify_on must be one of {allowed}, got {self._given.notify_on!r}"
            raise OptionValueError(type(self).__name__, "notify_on", problem) from None
        self._texts = OptionTexts.of(self._given, type(self).__name__)

    @property
    def config(self) -> ConfigT:
        """The options, with ``${NAME}`` filled from the environment.

        :raises UnsetVariableError: if such a variable is not set
        """
        return attrs.evolve(self._given, **self._texts.filled()) if self._texts else self._given

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
        return [f"{self.name}: {problem}" for problem in self._texts.problems()]

    def success(self, message: str = "", **details: Any) -> ActionResult:
        """Make the result of an action that did what it should."""
        return self._result(ActionStatus.SUCCESS, message=message, details=details)

    def failure(self, message: str = "", **details: Any) -> ActionResult:
        """Make the result of an action that ran and reports no success; it is not retried."""
        return self._result(ActionStatus.FAILURE, message=message, details=details)

    def _result(self, status: ActionStatus, **fields: Any) -> ActionResult:
        return ActionResult(action_name=self.name, action_type=self.action_type, status=status, **fields)

    @abstractmethod
    async def _perform(self, checkpoint_result: CheckpointResult, thread: ThreadOfAttempt) -> object:
        """Make one attempt."""

    def execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act as :meth:`execute_async` does, and wait for the result.

        :raises RunningLoopError: if an event loop runs in this thread; use :meth:`execute_async` there
        """
        try:
            anyio.lowlevel.current_token()
        except anyio.NoEventLoopError:
            return anyio.run(self.execute_async, checkpoint_result, backend=default_backend())
        raise RunningLoopError(f"{type(self).__name__}.execute()", "action.execute_async(...)")

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

        limits = default_limits.get()
        timeout = limits.timeout if given.timeout_seconds is None else given.timeout_seconds
        started_at, started = dt.datetime.now(dt.UTC), time.perf_counter()
        thread = ThreadOfAttempt(self.name, limits.executor)
        outcome = await self._attempt(checkpoint_result, timeout, thread)
        attempts = 1
        for delay in _delays(given):
            if outcome.status is not ActionStatus.ERROR:
                break
            if delay:
                await anyio.sleep(delay)
            if isinstance(outcome.exception, TimeoutError) and thread.against_retry:
                reason = f"{outcome.error}; not tried again, since {thread.against_retry}"
                outcome = attrs.evolve(outcome, message=reason, error=reason)
                break
            thread = ThreadOfAttempt(self.name, limits.executor)
            outcome = await self._attempt(checkpoint_result, timeout, thread)
            attempts += 1
        return attrs.evolve(
            outcome,
            started_at=started_at,
            completed_at=dt.datetime.now(dt.UTC),
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            attempts=attempts,
        )

    async def _attempt(
        self, checkpoint_result: CheckpointResult, timeout: float | None, thread: ThreadOfAttempt
    ) -> ActionResult:
        error: BaseException
        with within(timeout) as limit:
            try:
                outcome = await self._perform(checkpoint_result, thread)
            except Exception as exc:  # noqa: BLE001  # an action's failure is a result
                error = exc
            else:
                if isinstance(outcome, ActionResult):
                    return outcome
                error = TypeError(
                    f"{type(self).__name__} must return an ActionResult, got {outcome!r}; "
                    "use `return self.success(...)`"
                )
        details = {}
        if limit.expired:
            error = TimeoutError(f"timed out after {timeout:g} s")
            details = {"abandoned": True} if thread.runs else {}
        kind, text = type(error).__name__, self._texts.hidden(str(error))
        logger.warning("action %s failed: %s: %s", self.name, kind, text)
        shown = text if isinstance(error, SentrioError | TimeoutError) else f"{kind}: {text}"
        return self._result(ActionStatus.ERROR, message=text, error=shown, exception=error, details=details)


class AsyncBaseAction(Action[ConfigT]):
    """Base of asynchronous actions: override :meth:`_execute_async`.

    An action is made as ``Action(config)`` or ``Action(option=value, ...)``. The class of its configuration is
    the type parameter: ``class OpenTicket(AsyncBaseAction[TicketConfig])``.

    :param config: the configuration; ``None``: one made of the options
    :raises UnknownOptionError: for an option that the configuration does not know
    :raises OptionValueError: for a bad value
    """

    @abstractmethod
    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act; return :meth:`success` or :meth:`failure`, or raise."""

    async def _perform(self, checkpoint_result: CheckpointResult, thread: ThreadOfAttempt) -> object:
        return await self._execute_async(checkpoint_result)


class BaseAction(Action[ConfigT]):
    """Base of blocking actions: override :meth:`_execute`.

    In an event loop it runs in a worker thread. A thread can not be stopped: an attempt that times out ends on time
    with status ``error`` and ``details["abandoned"]``, and its thread keeps its slot until it has ended. Such an
    attempt is not made again while it runs, nor if it has succeeded after all, so that nothing is done twice.

    An action is made as :class:`AsyncBaseAction` says.

    :param config: the configuration; ``None``: one made of the options
    :raises UnknownOptionError: for an option that the configuration does not know
    :raises OptionValueError: for a bad value
    """

    @abstractmethod
    def _execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act; return :meth:`success` or :meth:`failure`, or raise."""

    async def _perform(self, checkpoint_result: CheckpointResult, thread: ThreadOfAttempt) -> object:
        return await thread.call(self._execute, checkpoint_result)


def _delays(config: ActionConfig) -> Iterator[float]:
    delay = config.retry_delay_seconds
    for _ in range(config.retry_count):
        yield min(delay, _LONGEST_DELAY_SECONDS)
        delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
