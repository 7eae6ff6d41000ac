"""Anything that can act, as an asynchronous action."""

from __future__ import annotations

__all__ = ("SyncActionAdapter", "adapt_to_async")

from concurrent.futures import Executor
from typing import Any

from sentrio.checkpoint.actions.base import (
    Action,
    AsyncExecutable,
    BaseAction,
    SyncExecutable,
    acting_within,
    default_limits,
    require_executor,
)
from sentrio.checkpoint.actions.config import ActionConfig
from sentrio.checkpoint.actions.custom import CustomAction
from sentrio.checkpoint.result import ActionResult, CheckpointResult


class _Foreign(BaseAction[ActionConfig]):
    """Somebody's object with a blocking ``execute``, with the limits of the context that it runs in."""

    def __init__(self, action: Any) -> None:
        super().__init__(name=str(getattr(action, "name", type(action).__name__)))
        self._action = action
        # On the object: what results say of it is what it says of itself.
        self.action_type = str(getattr(action, "action_type", type(action).__name__))  # type: ignore[misc]

    def _execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        result: ActionResult = self._action.execute(checkpoint_result)
        return result


class SyncActionAdapter:
    """A blocking action as an asynchronous one: it runs in a worker thread, or in an executor.

    A time limit (of the action, or of the execution context) is kept, although a thread can not be stopped: the
    result is ``error``, and the thread keeps its slot until it has ended.

    :param action: an object with a method ``execute(checkpoint_result)``, or a function; one that is
        asynchronous already works as it is
    :param executor: where it runs; ``None``: in the executor of the execution context, else in a worker thread
    :raises TypeError: if it can not act at all
    :raises OptionValueError: if ``executor`` is none
    """

    def __init__(self, action: Any, executor: Executor | None = None) -> None:
        require_executor("SyncActionAdapter", executor)
        self.action = action
        self._executor = executor
        self._async = _as_async(action)

    @property
    def limits_itself(self) -> bool:
        """Whether it keeps the time limits of the execution context for each of its attempts."""
        return isinstance(self._async, Action)

    @property
    def name(self) -> str:
        """How results and logs call the action."""
        return str(getattr(self._async, "name", type(self.action).__name__))

    @property
    def action_type(self) -> str:
        """The type of the action."""
        return str(getattr(self._async, "action_type", type(self.action).__name__))

    @property
    def _given(self) -> Any:
        return getattr(self._async, "_given", None)

    def __repr__(self) -> str:
        return f"<SyncActionAdapter of {self.action!r}>"

    def validate(self) -> list[str]:
        """Return what is wrong with the action's configuration, as far as it can tell."""
        return list(getattr(self.action, "validate", list)())

    async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        """Act on a result; whatever a blocking action raises becomes a result with status ``error``."""
        if self._executor is None:
            return await self._async.execute_async(checkpoint_result)
        with acting_within(default_limits.get().timeout, self._executor):
            return await self._async.execute_async(checkpoint_result)


def adapt_to_async(action: Any, executor: Executor | None = None) -> AsyncExecutable:
    """Return an action that can be awaited.

    What has an asynchronous ``execute_async`` comes back as it is, a function becomes a :class:`CustomAction`,
    and an object with a blocking ``execute`` is wrapped in a :class:`SyncActionAdapter`.

    :param action: an action of any kind, or a function, sync or async
    :param executor: where blocking code runs; ``None``: in a worker thread
    :raises TypeError: if it can not act at all
    :raises OptionValueError: if ``executor`` is none
    """
    found = _as_async(action)
    if executor is None or (found is action and not isinstance(action, BaseAction)):
        return SyncActionAdapter(action) if isinstance(found, _Foreign) else found
    return SyncActionAdapter(action, executor)


def _as_async(action: Any) -> AsyncExecutable:
    if not isinstance(action, type):
        if isinstance(action, AsyncExecutable):
            return action
        if isinstance(action, SyncExecutable):
            return _Foreign(action)
        if callable(action):
            return CustomAction(callback=action)
    raise TypeError(
        "an action must be a function, or an object with a method execute_async(checkpoint_result) or "
        f"execute(checkpoint_result), got {action!r}"
    )
