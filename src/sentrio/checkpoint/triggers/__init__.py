"""When a checkpoint runs."""

from __future__ import annotations

__all__ = (
    "AsyncBaseTrigger",
    "BaseTrigger",
    "CronTrigger",
    "MissedPolicy",
    "ScheduleTrigger",
    "Trigger",
    "TriggerConfig",
    "TriggerResult",
    "TriggerStatistics",
    "TriggerWatch",
    "make_trigger",
)

from collections.abc import Iterable, Mapping
from typing import Any

from sentrio._plugins import Registry
from sentrio.checkpoint.triggers.base import (
    AsyncBaseTrigger,
    BaseTrigger,
    MissedPolicy,
    Trigger,
    TriggerConfig,
    TriggerResult,
    TriggerStatistics,
    TriggerWatch,
)
from sentrio.checkpoint.triggers.cron import CronTrigger
from sentrio.checkpoint.triggers.schedule import ScheduleTrigger
from sentrio.errors import OptionValueError

_CLASSES: dict[str, type[Trigger[Any]]] = {cls.trigger_type: cls for cls in (ScheduleTrigger, CronTrigger)}


def _names(cls: type[Trigger[Any]]) -> Iterable[str]:
    return (cls.trigger_type,) if "trigger_type" in cls.__dict__ else ()


#: Trigger types by name: the built-in ones, those of plugins, and those that installed packages offer.
REGISTRY: Registry[Trigger[Any]] = Registry("trigger", Trigger, _names)
REGISTRY.build_in(_CLASSES.values())


def make_trigger(entry: object) -> Trigger[Any]:
    """Make a trigger of an entry.

    :param entry: a trigger; the name of a trigger type; or a mapping of one such name to its options
    :raises UnknownNameError: if there is no such type
    :raises PluginError: if an installed package offers it, and it can not be used
    :raises UnknownOptionError: if it does not know an option
    :raises OptionValueError: if an option has a bad value
    :raises TypeError: if the entry is none of these
    """
    if isinstance(entry, Trigger):
        return entry
    if isinstance(entry, str):
        return _named(entry, {})
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, given),) = entry.items()
        if isinstance(name, str) and (given is None or isinstance(given, Mapping)):
            return _named(name, dict(given or {}))
        raise OptionValueError(
            "triggers", "triggers", f"an entry must be a name, or one name with its options, got {entry!r}"
        )
    raise TypeError(
        "a trigger must be a trigger object, or a name with options like {schedule: {interval_minutes: 15}}, "
        f"got {entry!r}"
    )


def _named(name: str, given: dict[str, Any]) -> Trigger[Any]:
    return REGISTRY.find(name)(**given)
