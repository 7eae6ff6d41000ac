"""The options of actions, and for which results they run."""

from __future__ import annotations

__all__ = (
    "AS_IT_IS",
    "FILLED_LATER",
    "ActionConfig",
    "NotificationConfig",
    "NotifyCondition",
    "OptionTexts",
)

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from sentrio import _options as options
from sentrio._environment import Environment, faults, refers
from sentrio.checkpoint.result import CheckpointStatus
from sentrio.errors import OptionValueError, UnsetVariableError

#: Metadata of a field whose texts are not filled from the environment.
AS_IT_IS = {"sentrio_environment": "never"}

#: Metadata of a field whose texts the action fills by itself.
FILLED_LATER = {"sentrio_environment": "later"}


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

    name: str | None = attrs.field(default=None, validator=options.optional(options.text()), metadata=AS_IT_IS)
    enabled: bool = attrs.field(default=True, validator=options.flag())
    notify_on: str = attrs.field(default="always", validator=options.one_of(tuple(NotifyCondition)))
    timeout_seconds: float | None = attrs.field(default=None, validator=options.optional(options.number(above=0)))
    retry_count: int = attrs.field(default=0, validator=options.integer(minimum=0))
    retry_delay_seconds: float = attrs.field(default=1.0, validator=options.number(minimum=0))
    fail_checkpoint_on_error: bool = attrs.field(default=False, validator=options.flag())
    metadata: Mapping[str, Any] = attrs.field(factory=dict, validator=options.mapping(), metadata=AS_IT_IS)


@attrs.define(kw_only=True)
class NotificationConfig(ActionConfig):
    """The options of what tells people: it runs when there is something to tell.

    :param notify_on: the results for which it runs
    """

    notify_on: str = attrs.field(default="failure_or_error", validator=options.one_of(tuple(NotifyCondition)))


@attrs.frozen
class OptionTexts:
    """The options of one action that have something to be filled in from the environment."""

    _found: Mapping[str, Any]
    _later: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Any, owner: str) -> OptionTexts:
        """Look for them.

        :raises OptionValueError: if one can not be filled in whatever the environment holds
        """
        found, later = {}, set()
        for field in attrs.fields(type(config)):
            value, when = getattr(config, field.name), field.metadata.get("sentrio_environment")
            if when == "never" or not any(map(refers, _texts_in(value))):
                continue
            if when == "later":
                later.add(field.alias or field.name)
            for problem in (problem for text in _texts_in(value) for problem in faults(text)):
                raise OptionValueError(owner, field.alias or field.name, f"option {field.name!r}: {problem}")
            found[field.alias or field.name] = value
        return cls(found, frozenset(later))

    def __bool__(self) -> bool:
        return bool(self._found)

    def problems(self) -> list[str]:
        """Return what can not be filled in now."""
        environment = Environment(os.environ)
        found = ((name, text) for name, value in self._found.items() for text in _texts_in(value))
        return [
            str(UnsetVariableError(name, problem)) for name, text in found for problem in environment.fill(text)[1]
        ]

    def filled(self) -> dict[str, Any]:
        """Return the options, filled in.

        :raises UnsetVariableError: if such a variable is not set
        """
        environment = Environment(os.environ)
        found = self._found.items()
        return {name: _filled(name, value, environment) for name, value in found if name not in self._later}

    def hidden(self, message: str) -> str:
        """Return a message in which the values of the variables are written as their names."""
        if not self._found:
            return message
        environment = Environment(os.environ)
        for value in self._found.values():
            for text in _texts_in(value):
                environment.fill(text)
        return environment.hidden(message)


def _texts_in(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts_in(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts_in(item)]
    return []


def _filled(option: str, value: Any, environment: Environment) -> Any:
    if isinstance(value, str):
        text, problems = environment.fill(value)
        if problems:
            raise UnsetVariableError(option, problems[0])
        return text
    if isinstance(value, Mapping):
        return {key: _filled(option, item, environment) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_filled(option, item, environment) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value
