"""Names of column types, as people write them in configurations."""

from __future__ import annotations

__all__ = ("FAMILIES", "TYPE_NAMES", "TypeName", "is_pattern", "parse_type", "parse_type_name")

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import polars as pl

from sentrio.errors import OptionValueError, suggestion

_ALIASES: dict[str, pl.DataType] = {
    "integer": pl.Int64(),
    "float": pl.Float64(),
    "number": pl.Float64(),
    "string": pl.String(),
    "text": pl.String(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
    "time": pl.Time(),
}
_POLARS: dict[str, pl.DataType] = {
    str(dtype): dtype
    for dtype in (
        pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Int128(),
        pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64(),
        pl.Float32(), pl.Float64(), pl.String(), pl.Boolean(), pl.Date(), pl.Time(),
    )
} | {"Datetime": pl.Datetime("us")}  # fmt: skip

TYPE_NAMES = tuple(sorted(_ALIASES | _POLARS))

# What other languages call these types.
_ELSEWHERE = {
    "int": "integer", "bigint": "integer", "smallint": "integer", "long": "integer", "str": "string",
    "varchar": "string", "char": "string", "object": "string", "bool": "boolean", "double": "float", "real": "float",
    "numeric": "number", "timestamp": "datetime",
}  # fmt: skip


def _unknown(name: str, known: Iterable[str]) -> str:
    meant = _ELSEWHERE.get(name.lower())
    hint = f"; did you mean {meant!r}?" if meant else suggestion(name, known)
    return f"unknown type {name!r}{hint}"


def parse_type(name: Any, owner: str, option: str) -> pl.DataType:
    """Return the Polars type for a name.

    :raises OptionValueError: if there is no such type
    """
    if isinstance(name, pl.DataType):
        return name
    if isinstance(name, type) and issubclass(name, pl.DataType):
        return name()
    if isinstance(name, str):
        if found := _ALIASES.get(name.lower()) or _POLARS.get(name):
            return found
        raise OptionValueError(owner, option, _unknown(name, TYPE_NAMES))
    raise OptionValueError(owner, option, f"{option} must be the name of a type, got {name!r}")


#: names that stand for several types each
FAMILIES: Mapping[str, Callable[[pl.DataType], bool]] = {
    "integer": lambda dtype: dtype.is_integer(),
    "float": lambda dtype: dtype.is_float(),
    "number": lambda dtype: dtype.is_numeric(),
    "string": lambda dtype: isinstance(dtype, pl.String | pl.Categorical | pl.Enum),
    "text": lambda dtype: isinstance(dtype, pl.String | pl.Categorical | pl.Enum),
    "boolean": lambda dtype: dtype == pl.Boolean,
    "date": lambda dtype: dtype == pl.Date,
    "datetime": lambda dtype: isinstance(dtype, pl.Datetime),
    "time": lambda dtype: dtype == pl.Time,
    "temporal": lambda dtype: dtype.is_temporal() and dtype != pl.Duration,
}

_NO_TYPES = {"BaseExtension", "DataType", "Extension", "Unknown", "Utf8"}
_CLASSES = {
    name: cls
    for name, cls in vars(pl).items()
    if isinstance(cls, type) and issubclass(cls, pl.DataType) and name not in _NO_TYPES
}


@attrs.frozen
class TypeName:
    """A type that a column may be asked to have: a family, a Polars type, or one with its parameters."""

    name: str
    dtype: Any = None  #: ``None`` for a family

    def fits(self, dtype: pl.DataType) -> bool:
        """Tell whether a column has the type. One of which all values are null fits every family."""
        if self.dtype is None:
            return FAMILIES[self.name.lower()](dtype) or dtype == pl.Null
        return isinstance(dtype, self.dtype) if isinstance(self.dtype, type) else dtype == self.dtype

    def __str__(self) -> str:
        return self.name


def parse_type_name(name: Any, owner: str, option: str) -> TypeName:
    """Return what a name of a type asks for.

    :param name: a family such as ``integer``; the name of a Polars type, which without its parameters stands for
        all of them (``Datetime``), and with them for one (``Datetime('us', 'UTC')``, ``List(Int64)``); or the type
    :raises OptionValueError: if there is no such type
    """
    if isinstance(name, TypeName):
        return name
    if isinstance(name, pl.DataType):
        return TypeName(str(name), name)
    if isinstance(name, type) and issubclass(name, pl.DataType):
        return TypeName(name.__name__, name)
    if not isinstance(name, str):
        raise OptionValueError(owner, option, f"{option} must be the name of a type, got {name!r}")
    if (found := _CLASSES.get(name)) is not None:
        return TypeName(name, found)
    if name.lower() in FAMILIES:
        return TypeName(name)
    return TypeName(name, _parameterised(name, owner, option))


def _parameterised(text: str, owner: str, option: str) -> pl.DataType:
    """Make a type of text such as ``List(Int64)``, without running it."""
    known = (*FAMILIES, *_CLASSES)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        tree = None
    if not isinstance(tree, ast.Call):
        raise OptionValueError(owner, option, _unknown(text, known))

    def made(node: ast.AST) -> Any:
        match node:
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in _CLASSES:
                return _CLASSES[name](*map(made, args), **{str(each.arg): made(each.value) for each in keywords})
            case ast.Name(id=name) if name in _CLASSES:
                return _CLASSES[name]
            case ast.Name(id=name):
                raise OptionValueError(owner, option, f"unknown type {name!r} in {text!r}{suggestion(name, known)}")
            case ast.Dict(keys=keys, values=values):
                return {made(key): made(value) for key, value in zip(keys, values, strict=True) if key is not None}
            case ast.List(elts=items):
                return [made(item) for item in items]
            case ast.Tuple(elts=items):
                return tuple(made(item) for item in items)
            case ast.Constant(value=value):
                return value
        raise ValueError(f"{ast.unparse(node)} has no place in a type")

    try:
        dtype = made(tree)
        if isinstance(dtype, pl.DataType):
            hash(dtype)
            return dtype
        problem = "it is no type"
    except OptionValueError:
        raise
    except Exception as exc:  # noqa: BLE001  # whatever Polars thinks of the parameters
        problem = str(exc)
    raise OptionValueError(owner, option, f"{text!r} is not a type: {problem}")


def is_pattern(name: str) -> bool:
    """Tell whether Polars takes the name of a column for a pattern, which may match others: ``*`` and ``^...$``."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))
