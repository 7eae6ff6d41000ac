"""Bodies made of a result: texts in which ``{status}`` stands for a field."""

from __future__ import annotations

__all__ = ("check_template", "fill")

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from sentrio._environment import Environment
from sentrio._options import owner_of
from sentrio.checkpoint.result import CheckpointResult
from sentrio.errors import OptionValueError, UnsetVariableError, suggestion
from sentrio.validation.report import ValidationReport

_PART = re.compile(
    r"(?P<variable>\$+\{[^{}]*\})|(?P<double>\{\{|\}\})|\{(?P<path>[^{}]*)\}|(?P<lone>[{}])|(?P<text>[^{}$]+|\$)"
)

#: Names besides the fields of a result, as they are called elsewhere.
_MORE = ("checkpoint", "date", "summary")


def _known(path: str) -> tuple[str, tuple[str, ...]]:
    """Return a part of ``path`` that has to be one of some names, and these; no names: anything will do."""
    first, _, rest = path.partition(".")
    if first == "report" and rest:
        return rest.partition(".")[0], tuple(field.name for field in attrs.fields(ValidationReport))
    return first, (*(field.name for field in attrs.fields(CheckpointResult)), "schema_version", *_MORE)


def check_template(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    """Allow templates that can be filled, and ``None``."""

    def refuse(problem: str) -> None:
        raise OptionValueError(owner_of(type(owner)), field.name, f"{field.name} {problem}")

    if not isinstance(value, str | Mapping | list | tuple | None):
        refuse(f"must be a text, a mapping or a list, got {value!r}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as exc:
        refuse(f"must hold nothing that JSON can not: {exc}")
    for text in _texts(value):
        for part in _PART.finditer(text):
            if part["lone"]:
                refuse(f"has a lone brace in {text!r}; write {{{{ or }}}} for one")
            if part["path"] is not None:
                name, known = _known(part["path"])
                if name not in known:
                    refuse(f"names {name!r}, which no result has{suggestion(name, known)}")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def fill(template: Any, result: CheckpointResult) -> Any:
    """Return the template with the fields of a result, and variables of the environment, in their places.

    :raises UnsetVariableError: if such a variable is not set
    :raises OptionValueError: if the result has no such field
    """
    fields = result.to_dict()
    fields["checkpoint"] = result.checkpoint_name
    fields["date"] = result.run_time.date().isoformat()
    fields["summary"] = result.summary()
    return _filled(template, fields)


def _filled(template: Any, fields: Mapping[str, Any]) -> Any:
    if isinstance(template, str):
        return _filled_text(template, fields)
    if isinstance(template, Mapping):
        return {str(_text_of(_filled(key, fields))): _filled(item, fields) for key, item in template.items()}
    if isinstance(template, list | tuple):
        return [_filled(item, fields) for item in template]
    return template


def _filled_text(text: str, fields: Mapping[str, Any]) -> Any:
    parts = list(_PART.finditer(text))
    if len(parts) == 1 and parts[0]["path"] is not None:
        return _field(parts[0]["path"], fields)
    return "".join(_filled_part(part, fields) for part in parts)


def _filled_part(part: re.Match[str], fields: Mapping[str, Any]) -> str:
    if part["variable"]:
        # What a variable holds is never looked into.
        value, problems = Environment(os.environ).fill(part["variable"])
        if problems:
            raise UnsetVariableError("template", problems[0])
        return value
    if part["double"]:
        return part["double"][0]
    return _text_of(_field(part["path"], fields)) if part["path"] is not None else part.group()


def _field(path: str, fields: Mapping[str, Any]) -> Any:
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise OptionValueError("WebhookAction", "template", f"template names {{{path}}}, and the result has none")
        value = value[name]
    return value


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
