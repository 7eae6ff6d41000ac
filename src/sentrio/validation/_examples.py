"""A few values of each type, chosen so that rules which look at neighbouring rows give themselves away."""

from __future__ import annotations

__all__ = ("example_frame", "example_values")

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import polars as pl

_DAYS = [dt.date(2024, 2, 29), dt.date(1999, 12, 31), dt.date(2024, 2, 29), dt.date(1970, 1, 1), dt.date(2031, 7, 1)]
_TIMES = [dt.datetime(day.year, day.month, day.day, hour, 30) for hour, day in enumerate(_DAYS)]  # noqa: DTZ001
_TEXTS = ["b", "a", "b", "", "A1", "é 日本", "7", "2024-02-29", "a@b.example"]


def example_values(dtype: pl.DataType) -> list[Any] | None:
    """Return values of a type, some of them twice and not in order; ``None`` for types that are nested or rare."""
    if dtype.is_unsigned_integer():
        return [3, 1, 3, 0, 100, 7]
    if dtype.is_signed_integer():
        return [3, 1, 3, 0, -5, 100, 7]
    if dtype.is_float():
        return [1.5, 0.5, 1.5, 0.0, -2.0, 100.25, math.inf, math.nan]
    if isinstance(dtype, pl.String | pl.Categorical):
        return list(_TEXTS)
    if isinstance(dtype, pl.Enum):
        return dtype.categories.to_list()[:5]
    if dtype == pl.Boolean:
        return [True, False, True, True]
    if dtype == pl.Date:
        return list(_DAYS)
    if isinstance(dtype, pl.Datetime):
        return list(_TIMES)
    if dtype == pl.Time:
        return [time.time() for time in _TIMES]
    if dtype == pl.Duration:
        return [dt.timedelta(seconds=each) for each in (3, 1, 3, 0, -5)]
    return None


def example_frame(schema: Mapping[str, pl.DataType], rows: int = 12) -> pl.DataFrame:
    """Return a frame with values of each type and a null in each column, at places that differ."""
    columns = []
    for number, (name, dtype) in enumerate(schema.items()):
        values = example_values(dtype) or [None]
        cells = [values[(row + number) % len(values)] for row in range(rows)]
        cells[(3 + 2 * number) % rows] = None
        if isinstance(dtype, pl.Datetime):
            # Built without a zone: Python's own datetimes would need one each.
            series = pl.Series(name, cells, dtype=pl.Datetime(dtype.time_unit))
            columns.append(series.dt.replace_time_zone(dtype.time_zone, ambiguous="earliest", non_existent="null"))
        else:
            columns.append(pl.Series(name, cells, dtype=dtype))
    return pl.DataFrame(columns)
