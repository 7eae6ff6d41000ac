"""Cells as Python and JSON know them."""

from __future__ import annotations

__all__ = ("STEPS", "json_ready", "moment_text", "python_cells", "python_holds", "python_rows")

import datetime as dt
import decimal
import math
from collections.abc import Mapping
from typing import Any

import polars as pl

# A cell longer than this is cut: a report is no place for documents.
_LONGEST_TEXT = 1000

#: of each unit of time, in a second
STEPS = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = (dt.date.min - _EPOCH).days, (dt.date.max - _EPOCH).days
# Days of the calendar that repeats itself, from its beginning on 1 March of a year that 400 divides.
_ERA, _CENTURY, _FOUR_YEARS, _YEAR = 146_097, 36_524, 1_461, 365
_ERA_TO_EPOCH = 719_468


def moment_text(value: int, dtype: pl.DataType) -> str:
    """Write a date or datetime as ISO text, also one whose year has more than four digits.

    Polars panics beyond the year 262142, Python's calendar ends with 9999, and wrong units lead to such years.

    :param value: the integer that stands for it
    """
    if isinstance(dtype, pl.Date):
        return _day_text(value)
    assert isinstance(dtype, pl.Datetime)
    steps = STEPS[dtype.time_unit]
    days, rest = divmod(value, _DAY * steps)
    seconds, fraction = divmod(rest, steps)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    digits = f".{fraction:0{len(str(steps)) - 1}}" if fraction else ""
    return f"{_day_text(days)}T{clock}{digits}{'Z' if dtype.time_zone else ''}"


def _day_text(days: int) -> str:
    """Return the day of the Gregorian calendar, by the arithmetic of eras of 400 years (Hinnant, 2013)."""
    era, day = divmod(days + _ERA_TO_EPOCH, _ERA)
    year = (day - day // (_FOUR_YEARS - 1) + day // _CENTURY - day // (_ERA - 1)) // _YEAR
    day -= _YEAR * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += era * 400 + (month <= 2)
    return f"{year:04}-{month:02}-{day:02}" if 0 <= year <= 9999 else f"{year:+05}-{month:02}-{day:02}"


def python_rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Return the rows of a few rows' frame as :func:`python_cells` shows them."""
    return list(zip(*(python_cells(series) for series in frame.iter_columns()), strict=True))


def python_cells(series: pl.Series) -> list[Any]:
    """Return the values of a series for Python; what Python has no value for, such as the year 10000, as text."""
    dtype = series.dtype
    if isinstance(dtype, pl.Date | pl.Datetime | pl.Duration):
        physical = series.to_physical().to_list()
        if all(value is None or python_holds(value, dtype) for value in physical):
            return series.to_list()
        return [
            series[place] if value is None or python_holds(value, dtype) else _time_text(value, dtype)
            for place, value in enumerate(physical)
        ]
    if not dtype.is_nested():
        return series.to_list()
    try:
        return series.to_list()
    except (ValueError, OverflowError, pl.exceptions.PanicException):
        return series.to_physical().to_list()


def python_holds(value: int, dtype: pl.DataType) -> bool:
    """Tell whether Python has a value for the integer that stands for a date, a datetime or a duration."""
    if isinstance(dtype, pl.Date):
        return _FIRST_DAY <= value <= _LAST_DAY
    assert isinstance(dtype, pl.Datetime | pl.Duration)
    if dtype.time_unit == "ns" and value % 1000:
        return False  # finer than Python's
    days = value // (_DAY * STEPS[dtype.time_unit])
    if isinstance(dtype, pl.Duration):
        return dt.timedelta.min.days <= days < dt.timedelta.max.days
    return _FIRST_DAY < days < _LAST_DAY  # with room for the offset of any zone


def _time_text(value: int, dtype: pl.DataType) -> str:
    return f"{value} {dtype.time_unit}" if isinstance(dtype, pl.Duration) else moment_text(value, dtype)


def json_ready(value: Any) -> Any:
    """Return a value that JSON can hold: times as ISO text, NaN and infinities as text, long text cut."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}... ({len(value):,} characters)"
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta() | decimal.Decimal():
            return str(value)
        case bytes():
            return json_ready(value.hex())
        case Mapping():
            return {str(key): json_ready(each) for key, each in value.items()}
        case list() | tuple():
            return [json_ready(each) for each in value]
        case _:
            return json_ready(str(value))
