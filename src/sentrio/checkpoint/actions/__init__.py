"""What is done about a result."""

from __future__ import annotations

__all__ = (
    "Action",
    "ActionConfig",
    "ActionResult",
    "ActionStatus",
    "AsyncBaseAction",
    "AsyncExecutable",
    "BaseAction",
    "CustomAction",
    "NotificationConfig",
    "NotifyCondition",
    "SlackNotification",
    "StoreValidationResult",
    "SyncActionAdapter",
    "SyncExecutable",
    "WebhookAction",
    "adapt_to_async",
    "make_action",
)

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sentrio._plugins import Registry
from sentrio.checkpoint.actions.adapters import SyncActionAdapter, adapt_to_async
from sentrio.checkpoint.actions.base import Action, AsyncBaseAction, AsyncExecutable, BaseAction, SyncExecutable
from sentrio.checkpoint.actions.config import ActionConfig, NotificationConfig, NotifyCondition
from sentrio.checkpoint.actions.custom import CustomAction
from sentrio.checkpoint.actions.slack import SlackNotification
from sentrio.checkpoint.actions.store import StoreValidationResult
from sentrio.checkpoint.actions.webhook import WebhookAction
from sentrio.checkpoint.result import ActionResult, ActionStatus
from sentrio.errors import OptionValueError

_CLASSES: tuple[type[Action[Any]], ...] = (StoreValidationResult, SlackNotification, WebhookAction, CustomAction)


def _names(cls: type[Action[Any]]) -> Iterable[str]:
    return (cls.action_type,) if "action_type" in cls.__dict__ else ()


#: Action types by name: the built-in ones, those of plugins, and those that installed packages offer.
REGISTRY: Registry[Action[Any]] = Registry("action", Action, _names)
REGISTRY.build_in(_CLASSES)


def make_action(entry: object, base_dir: Path | None = None) -> AsyncExecutable:
    """Make an action of an entry.

    :param entry: an action or a function, async or blocking; the name of an action type; or a mapping of one
        such name to its options
    :param base_dir: the folder that relative paths in an entry's options start from
    :raises UnknownNameError: if there is no such type
    :raises PluginError: if an installed package offers it, and it can not be used
    :raises UnknownOptionError: if it does not know an option
    :raises OptionValueError: if an option has a bad value
    :raises TypeError: if the entry is none of these
    """
    if isinstance(entry, str):
        return _named(entry, {}, base_dir)
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, given),) = entry.items()
        if isinstance(name, str) and (given is None or isinstance(given, Mapping)):
            return _named(name, dict(given or {}), base_dir)
        # Nothing of it is shown but the name: a URL that stands where its option should be is secret all the same.
        problem = f"an entry must be a name, or one name with its options in a mapping; that of {name!r} is none"
        raise OptionValueError("actions", "actions", problem)
    if not isinstance(entry, type) and (isinstance(entry, AsyncExecutable | SyncExecutable) or callable(entry)):
        return adapt_to_async(entry)
    got = f"a mapping of {', '.join(map(repr, entry))}" if isinstance(entry, Mapping) else repr(entry)
    raise TypeError(
        "an action must be an action, a function, or a name with options like {store: {path: results}}, "
        f"got {got}"
    )


def _named(name: str, given: dict[str, Any], base_dir: Path | None) -> AsyncExecutable:
    if "://" in name:
        problem = "an entry begins with the name of an action; this one is a URL, and not shown, as it may be secret"
        raise OptionValueError("actions", "actions", problem)
    action = REGISTRY.find(name)(**given)
    action.base_dir = base_dir
    return action
