"""Functions as actions."""

from __future__ import annotations

__all__ = ("CustomAction", "CustomConfig")

import importlib
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from sentrio.checkpoint.actions.base import Action, ThreadOfAttempt
from sentrio.checkpoint.actions.config import ActionConfig
from sentrio.checkpoint.result import ActionResult, CheckpointResult
from sentrio.errors import OptionValueError
from sentrio.validation.values import json_ready


def _resolved(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    module, _, name = value.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as exc:  # somebody's module may raise anything
        said = exc if isinstance(exc, ImportError | AttributeError | ValueError) else f"{type(exc).__name__}: {exc}"
        problem = f"callback {value!r} can not be imported ({said}); write it as 'package.module:function'"
        raise OptionValueError("custom", "callback", problem) from exc
    return found


def _callable(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if not callable(value):
        raise OptionValueError("custom", "callback", f"callback must be a function or 'pkg.mod:func', got {value!r}")


@attrs.define(kw_only=True)
class CustomConfig(ActionConfig):
    """Options of :class:`CustomAction`.

    :param callback: called with the result; sync (then in a worker thread) or async; or ``"pkg.mod:func"``
    """

    callback: Callable[[CheckpointResult], Any] = attrs.field(converter=_resolved, validator=_callable)


class CustomAction(Action[CustomConfig]):
    """Call a function with the result. What it returns becomes ``details["returned"]``."""

    action_type: ClassVar[str] = "custom"

    @property
    def name(self) -> str:
        """The name given, else that of the function."""
        return self._given.name or str(getattr(self._given.callback, "__name__", self.action_type))

    async def _perform(self, checkpoint_result: CheckpointResult, thread: ThreadOfAttempt) -> ActionResult:
        callback = self.config.callback
        if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(getattr(callback, "__call__", None)):  # noqa: B004
            returned = await callback(checkpoint_result)
        else:
            returned = await thread.call(callback, checkpoint_result)
            if inspect.isawaitable(returned):
                returned = await returned
        if isinstance(returned, ActionResult):
            return returned
        return self.success(**({} if returned is None else {"returned": json_ready(returned)}))
