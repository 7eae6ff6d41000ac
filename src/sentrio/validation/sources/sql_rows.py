"""From rows of Python values, as database drivers give them, to frames."""

from __future__ import annotations

__all__ = ("frame_of", "told_type", "typed_frame")

import datetime as dt
import decimal
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sentrio.validation.sources.base import ReadAsText
from sentrio.validation.sources.typed import TEXT, cast_text, is_cast

Rows = Sequence[Sequence[Any]]

# Digits after the point that decimals are given at least: the first rows may have fewer than those that follow.
_LEAST_SCALE = 9
_DIGITS = 38
_INT64 = range(-(2**63), 2**63)


def told_type(values: Sequence[Any]) -> pl.DataType:
    """Return the type that fits the values of a column; Null if there are none, text if they have several types."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Null()
    if kinds == {bool}:
        return pl.Boolean()
    if kinds == {int}:
        fits = all(value is None or value in _INT64 for value in values)
        return pl.Int64() if fits else pl.Int128()
    if kinds <= {int, float}:
        return pl.Float64()
    if kinds <= {int, decimal.Decimal}:
        scales = [-_exponent(value) for value in values if isinstance(value, decimal.Decimal)]
        return pl.Decimal(_DIGITS, min(max(_LEAST_SCALE, *scales, 0), _DIGITS))
    if kinds == {dt.datetime}:
        aware = any(value is not None and value.tzinfo is not None for value in values)
        return pl.Datetime("us", "UTC" if aware else None)
    simple = {dt.date: pl.Date(), dt.time: pl.Time(), dt.timedelta: pl.Duration("us")}
    if len(kinds) == 1 and (found := simple.get(next(iter(kinds)))) is not None:
        return found
    if kinds <= {bytes, bytearray, memoryview}:
        return pl.Binary()
    return pl.String()


def _exponent(value: decimal.Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def frame_of(rows: Rows, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return rows as a frame.

    :raises ReadAsText: if a value does not fit the type of its column
    """
    columns = zip(*rows, strict=True) if rows else ((),) * len(types)
    return pl.DataFrame(
        [_column(name, values, dtype) for (name, dtype), values in zip(types.items(), columns, strict=True)]
    )


def _column(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.String | pl.Null):
        return _texts(name, values)
    if isinstance(dtype, pl.Decimal) and not all(_holds(dtype, value) for value in values):
        raise ReadAsText
    if isinstance(dtype, pl.Decimal):
        values = [decimal.Decimal(value) if isinstance(value, int) else value for value in values]
    if isinstance(dtype, pl.Binary):
        values = [bytes(value) if isinstance(value, bytearray | memoryview) else value for value in values]
    try:
        column = pl.Series(name, values, dtype=dtype, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        raise ReadAsText from None
    if column.dtype != dtype or (dtype.is_temporal() and any(isinstance(value, str) for value in values)):
        raise ReadAsText
    return column


def _holds(dtype: pl.Decimal, value: Any) -> bool:
    if value is None or (isinstance(value, int) and abs(value) < 10 ** (_DIGITS - dtype.scale)):
        return True
    return isinstance(value, decimal.Decimal) and -_exponent(value) <= dtype.scale and value.is_finite()


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return value.isoformat() if isinstance(value, dt.date | dt.datetime | dt.time) else str(value)


def _texts(name: str, values: Sequence[Any]) -> pl.Series:
    # A database may hold what is no text in any encoding: half of a surrogate pair.
    texts = (_text(value) for value in values)
    return pl.Series(
        name,
        [text if text is None or text.isascii() else text.encode("utf-8", "replace").decode() for text in texts],
        dtype=pl.String,
    )


def typed_frame(rows: Rows, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return rows as a frame in which a value that does not fit is null, with its text in a hidden column."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
    values, texts = [], []
    for (name, dtype), cells in zip(types.items(), columns, strict=True):
        text = _texts(name, cells)
        if not is_cast(dtype):
            values.append(text)
            continue
        texts.append(text.alias(TEXT + name))
        kept = pl.Series(name, [_kept(cell, dtype) for cell in cells], dtype=dtype, strict=False)
        # What is no value of the type may still be written as one: dates in SQLite are text.
        if isinstance(dtype, pl.Decimal):  # the cast would round
            text = _texts(name, [cell if isinstance(cell, str) else None for cell in cells])
        cast = pl.DataFrame([text]).select(cast_text(pl.col(name), dtype))[name]
        values.append(kept.zip_with(kept.is_not_null(), cast))
    return pl.DataFrame([*values, *texts])


def _kept(value: Any, dtype: pl.DataType) -> Any:
    """Return a value if a column of this type holds it as it is, else ``None``."""
    if value is None or isinstance(value, str):
        return None
    if isinstance(dtype, pl.Boolean):
        return bool(value) if isinstance(value, bool | int) and value in {0, 1} else None
    if isinstance(dtype, pl.Decimal):
        return decimal.Decimal(value) if _holds(dtype, value) else None
    if isinstance(dtype, pl.Binary):
        return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None
    if isinstance(dtype, pl.Duration):
        return value if isinstance(value, dt.timedelta) else None
    return None
