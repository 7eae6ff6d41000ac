"""Kinds of columns that rules apply to."""

from __future__ import annotations

__all__ = ("KINDS", "fits")

import polars as pl

#: each kind, as messages call it
KINDS = {
    "any": "any",
    "number": "numeric",
    "float": "float",
    "string": "text",
    "temporal": "date or time",
    "moment": "date or datetime",
    "ordered": "numeric, date or time",
    "category": "text, integer or boolean",
    "distributed": "numeric, text or boolean",
    "boolean": "boolean",
    "duration": "duration",
    "binary": "binary",
}


def fits(kind: str, dtype: pl.DataType) -> bool:
    """Tell whether a column of ``dtype`` is of the kind that a rule applies to.

    A column without a type (all of its values null) fits every kind.
    """
    match kind:
        case "any":
            return True
        case "number":
            found = dtype.is_numeric()
        case "float":
            found = dtype.is_float()
        case "string":
            found = isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
        case "temporal":
            found = dtype.is_temporal() and dtype != pl.Duration
        case "moment":
            found = isinstance(dtype, pl.Date | pl.Datetime)
        case "ordered":
            found = dtype.is_numeric() or dtype.is_temporal()
        case "category":
            found = isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Boolean) or dtype.is_integer()
        case "distributed":
            found = isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Boolean) or dtype.is_numeric()
        case "boolean":
            found = dtype == pl.Boolean
        case "duration":
            found = isinstance(dtype, pl.Duration)
        case "binary":
            found = dtype == pl.Binary
        case _:
            raise ValueError(f"unknown kind of column {kind!r}")
    return found or dtype == pl.Null
