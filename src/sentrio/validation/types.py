"""Names of column types, as people write them in configurations."""

from __future__ import annotations

__all__ = ("TYPE_NAMES", "parse_type")

from typing import Any

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
        raise OptionValueError(owner, option, f"unknown type {name!r}{suggestion(name, TYPE_NAMES)}")
    raise OptionValueError(owner, option, f"{option} must be the name of a type, got {name!r}")
