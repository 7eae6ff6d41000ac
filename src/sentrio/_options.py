"""Options of public objects: unknown ones and bad values are errors that say what would be right.

Classes whose options people write by hand (in Python, YAML or on a command line) use :class:`OptionsMeta`.
It looks at the arguments before the constructor does, so that a misspelt option is answered with the nearest
known one. The functions below make attrs validators whose errors name the owner, the option and the value.
"""

from __future__ import annotations

__all__ = (
    "OptionsMeta",
    "as_member",
    "as_tuple",
    "flag",
    "integer",
    "known_options",
    "local_path",
    "mapping",
    "number",
    "one_of",
    "optional",
    "owner_of",
    "share",
    "shown",
    "text",
    "texts",
)

import math
import re
from abc import ABCMeta
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any

import attrs

from sentrio.errors import OptionValueError, UnknownOptionError

AttrsValidator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def owner_of(cls: type) -> str:
    """Return the name under which users know a class: its short name if it has one."""
    name = cls.__dict__.get("option_owner") or getattr(cls, "option_owner", None)
    return str(name or cls.__name__)


def known_options(cls: type) -> tuple[str, ...]:
    """Return the names of the options of an attrs class, in the order of their definition."""
    return tuple(field.alias or field.name for field in attrs.fields(cls) if field.init)


class OptionsMeta(ABCMeta):
    """Refuses unknown and missing options before an attrs class is made."""

    def __call__(cls, /, *args: Any, **options: Any) -> Any:
        if attrs.has(cls):
            known = known_options(cls)
            for name in options:
                if name not in known:
                    raise UnknownOptionError(owner_of(cls), name, known)
            required = [
                field.alias or field.name
                for field in attrs.fields(cls)
                if field.init and field.default is attrs.NOTHING
            ]
            for name in required[len(args) :]:
                if name not in options:
                    _check_given(cls, options)
                    raise OptionValueError(owner_of(cls), name, f"option {name!r} is missing")
        return super().__call__(*args, **options)


def _check_given(cls: Any, options: Mapping[str, Any]) -> None:
    """Check the options that are there, one by one, so that none of their faults hides behind one that is missing."""
    blank = cls.__new__(cls)
    for field in attrs.fields(cls):
        name = field.alias or field.name
        if name in options and field.validator is not None:
            value = options[name] if field.converter is None else field.converter(options[name])
            field.validator(blank, field, value)


def _refuse(owner: Any, field: attrs.Attribute[Any], value: object, allowed: str) -> None:
    name = field.alias or field.name
    raise OptionValueError(owner_of(type(owner)), name, f"{name} must be {allowed}, got {shown(value)}")


# A drive of Windows is one letter.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def shown(value: object) -> str:
    """Return a value as messages show it, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def optional(validator: AttrsValidator) -> AttrsValidator:
    """Allow ``None`` besides what ``validator`` allows."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None:
            validator(owner, field, value)

    return check


def text(*, empty: bool = False) -> AttrsValidator:
    """Allow text, by default not the empty one."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str):
            _refuse(owner, field, value, "text")
        if not value and not empty:
            _refuse(owner, field, value, "text that is not empty")

    return check


def local_path() -> AttrsValidator:
    """Allow what can name a file or folder of this machine: a URL would become folders named like it."""
    is_text = text()

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        is_text(owner, field, value)
        assert isinstance(value, str)
        if (found := _SCHEME.match(value)) is not None:
            # Without the rest, which may hold a password.
            problem = f"{field.name} must be a path on this machine, got a URL that begins with {found[0]}"
            raise OptionValueError(owner_of(type(owner)), field.name, problem)
        if "\0" in value:
            _refuse(owner, field, value, "a path without zero characters")

    return check


def texts(*, minimum: int = 0, empty: bool = False) -> AttrsValidator:
    """Allow a tuple of texts, none of them twice; by default none of them empty."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, tuple) or not all(isinstance(item, str) and (item or empty) for item in value):
            _refuse(owner, field, value, "a list of names")
        assert isinstance(value, tuple)
        if len(set(value)) < len(value):
            _refuse(owner, field, value, "a list without repeats")
        if len(value) < minimum:
            _refuse(owner, field, value, f"a list of at least {minimum} names")

    return check


def flag() -> AttrsValidator:
    """Allow ``True`` and ``False``."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, bool):
            _refuse(owner, field, value, "true or false")

    return check


def integer(*, minimum: int | None = None) -> AttrsValidator:
    """Allow whole numbers of at least ``minimum``; a boolean is none."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        allowed = "a whole number" if minimum is None else f"a whole number of at least {minimum}"
        if not isinstance(value, int) or isinstance(value, bool) or (minimum is not None and value < minimum):
            _refuse(owner, field, value, allowed)

    return check


def number(*, minimum: float | None = None, above: float | None = None, finite: bool = False) -> AttrsValidator:
    """Allow numbers within bounds, infinite ones too unless ``finite``; neither a boolean nor NaN is one."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        allowed = "a finite number" if finite else "a number"
        if minimum is not None:
            allowed += f" of at least {minimum:g}"
        if above is not None:
            allowed += f" above {above:g}"
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            _refuse(owner, field, value, allowed)
        assert isinstance(value, int | float)
        try:
            infinite = math.isinf(value)
        except OverflowError:  # an integer of hundreds of digits
            _refuse(owner, field, value, f"{allowed}, as a float can hold it")
        if finite and infinite:
            _refuse(owner, field, value, allowed)
        if (minimum is not None and value < minimum) or (above is not None and value <= above):
            _refuse(owner, field, value, allowed)

    return check


def share() -> AttrsValidator:
    """Allow numbers from 0 to 1."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            _refuse(owner, field, value, "a share from 0 to 1")

    return check


def one_of(values: Collection[str]) -> AttrsValidator:
    """Allow one of the given texts."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        if value not in values:
            _refuse(owner, field, value, f"one of {', '.join(values)}")

    return check


def mapping() -> AttrsValidator:
    """Allow mappings with text keys."""

    def check(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            _refuse(owner, field, value, "a mapping with text keys")

    return check


def as_tuple(value: Any) -> Any:
    """Make a tuple of a list; leave everything else to the validator."""
    return tuple(value) if isinstance(value, list) else value


def as_member(enum: type[StrEnum], value: Any) -> Any:
    """Make a member of a text; leave what names none to the validator."""
    try:
        return enum(value)
    except ValueError:
        return value
