"""Options of a rule that is a function: its keyword-only parameters, with kinds and defaults."""

from __future__ import annotations

__all__ = ("options_of",)

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any

import attrs

from sentrio._options import shown
from sentrio.errors import OptionValueError

_NO_DEFAULT = inspect.Parameter.empty
_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


def options_of(function: Callable[..., Any], owner: str, reserved: Collection[str]) -> dict[str, Any]:
    """Return an attrs field for each option of ``f(nw, column, *, option=default)``.

    The kind of an option is its annotation, else the type of its default.

    :param reserved: names of options that every rule has
    :raises OptionValueError: if the function is not of this form, or an option can not be one
    """
    parameters = list(inspect.signature(function).parameters.values())
    if inspect.iscoroutinefunction(function):
        raise OptionValueError(owner, "function", "a row rule returns an expression, so it can not be async")
    if len(parameters) < 2 or any(each.kind not in _POSITIONAL for each in parameters[:2]):
        raise _form(owner, function)
    fields: dict[str, Any] = {}
    for parameter in parameters[2:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise _form(owner, function)
        if parameter.name in reserved or parameter.name.startswith("_"):
            problem = f"no option can be called {parameter.name!r}: every rule has options of its own with such names"
            raise OptionValueError(owner, parameter.name, problem)
        fields[parameter.name] = _field(function, owner, parameter)
    return fields


def _form(owner: str, function: Callable[..., Any]) -> OptionValueError:
    problem = (
        "a row rule has the form `def rule(nw, column, *, option=default)`: two arguments, then options; "
        f"got {getattr(function, '__name__', 'rule')}{inspect.signature(function)}"
    )
    return OptionValueError(owner, "function", problem)


def _field(function: Callable[..., Any], owner: str, parameter: inspect.Parameter) -> Any:
    default = parameter.default
    kind = _annotation(function, owner, parameter)
    if kind is Any and default is not _NO_DEFAULT and default is not None:
        kind = _kind_of(default)
    try:
        allowed = _allowed(kind)
    except TypeError:
        problem = (
            f"values of option {parameter.name!r} can not be checked against {kind!r}; annotate it with plain types, "
            "as in `int | None`, `list[str]` or `Literal['a', 'b']`"
        )
        raise OptionValueError(owner, parameter.name, problem) from None

    def check(rule: Any, field: attrs.Attribute[Any], value: object) -> None:
        if not allowed.holds(value):
            problem = f"{field.name} must be {allowed.text}, got {shown(value)}"
            raise OptionValueError(owner, field.name, problem)

    given: Any = attrs.NOTHING if default is _NO_DEFAULT else default
    if isinstance(given, list | dict | set):
        given = attrs.Factory(given.copy)
    elif given is not attrs.NOTHING and not allowed.holds(allowed.convert(given)):
        problem = f"the default of option {parameter.name!r} must be {allowed.text}, got {shown(given)}"
        raise OptionValueError(owner, parameter.name, problem)
    return attrs.field(default=given, converter=allowed.convert, validator=check, kw_only=True)


def _annotation(function: Callable[..., Any], owner: str, parameter: inspect.Parameter) -> Any:
    if parameter.annotation is _NO_DEFAULT:
        return Any
    # Only this one: annotations of `nw` may name what is imported for type checkers alone.
    holder = type("Holder", (), {"__annotations__": {parameter.name: parameter.annotation}})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=names)[parameter.name]
    except Exception as exc:
        problem = f"the annotation of option {parameter.name!r} means nothing here: {exc}"
        raise OptionValueError(owner, parameter.name, problem) from exc


def _kind_of(default: object) -> Any:
    # An unannotated 1 may well mean 1.5 next time.
    return float if type(default) is int else type(default)


@attrs.frozen
class _Allowed:
    """What an option takes: a test, words for it, and what becomes of a value that nearly fits."""

    holds: Callable[[Any], bool]
    text: str
    convert: Callable[[Any], Any] = lambda value: value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


_PLAIN: dict[Any, _Allowed] = {
    Any: _Allowed(lambda value: True, "anything"),
    object: _Allowed(lambda value: True, "anything"),
    None: _Allowed(lambda value: value is None, "null"),
    type(None): _Allowed(lambda value: value is None, "null"),
    bool: _Allowed(lambda value: isinstance(value, bool), "true or false"),
    int: _Allowed(lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    float: _Allowed(_is_number, "a number"),
    str: _Allowed(lambda value: isinstance(value, str), "text"),
}
_LISTS: dict[Any, Callable[[Any], Any]] = {
    **{kind: kind for kind in (list, tuple, set, frozenset)},
    Sequence: tuple,
    Collection: tuple,
    AbstractSet: frozenset,
}


def _allowed(kind: Any) -> _Allowed:
    """Return what a kind allows.

    :raises TypeError: if values can not be checked against it
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is typing.Union or origin is types.UnionType:
        return _one_of_kinds([_allowed(part) for part in parts])
    if origin is typing.Literal:
        # True equals 1, and is not the same option.
        exact = {(type(part), part) for part in parts}
        return _Allowed(
            lambda value: value.__hash__ is not None and (type(value), value) in exact,
            f"one of {', '.join(map(str, parts))}",
        )
    if origin in _LISTS:
        return _list_of(_LISTS[origin], parts)
    if origin in {dict, Mapping}:
        return _Allowed(lambda value: isinstance(value, Mapping), "a mapping")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member_of(kind)
    if isinstance(kind, type):
        return _Allowed(lambda value: isinstance(value, kind), f"a {kind.__name__}")
    raise TypeError(kind)


def _one_of_kinds(kinds: Sequence[_Allowed]) -> _Allowed:
    def convert(value: Any) -> Any:
        if any(kind.holds(value) for kind in kinds):
            return value
        made = (kind.convert(value) for kind in kinds)
        return next((each for kind, each in zip(kinds, made, strict=True) if kind.holds(each)), value)

    return _Allowed(
        lambda value: any(kind.holds(value) for kind in kinds), " or ".join(kind.text for kind in kinds), convert
    )


def _list_of(make: Callable[[Any], Any], parts: tuple[Any, ...]) -> _Allowed:
    kinds = [part for part in parts if part is not Ellipsis]
    if len(kinds) > 1:
        raise TypeError(kinds)  # a tuple with a kind for each place is no list
    item = _allowed(kinds[0]) if kinds else _PLAIN[Any]
    text = "a list" if not kinds or kinds[0] is Any else f"a list in which each item is {item.text}"

    def convert(value: Any) -> Any:
        # Configurations know lists only, whatever the function asks for.
        if not isinstance(value, list | tuple | set | frozenset):
            return value
        try:
            return make([item.convert(each) for each in value])
        except TypeError:  # what is to be a set holds something that no set can
            return value

    expected: Any = type(make(()))
    return _Allowed(
        lambda value: isinstance(value, expected) and all(item.holds(each) for each in value), text, convert
    )


def _member_of(enum: type[Enum]) -> _Allowed:
    def convert(value: Any) -> Any:
        try:
            return enum(value)
        except ValueError:
            return value

    members = ", ".join(str(member.value) for member in enum)
    return _Allowed(lambda value: isinstance(value, enum), f"one of {members}", convert)
