"""Numbers as the types of columns know them: bounds and members that lose no digit by being written in them."""

from __future__ import annotations

__all__ = ("Interval", "decimal_of", "extremes_of", "interval_of", "members_of", "rounded")

import decimal
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import attrs
import polars as pl

# Digits of the longest finite float, and more than any column has.
_EXACT = decimal.Context(prec=1_000)


def decimal_of(number: float | decimal.Decimal) -> decimal.Decimal:
    """Return a number as a decimal; a float as the shortest one that reads as it: who writes 0.1 means a tenth."""
    return decimal.Decimal(repr(number)) if isinstance(number, float) else decimal.Decimal(number)


def rounded(number: float, dtype: pl.DataType) -> float:
    """Return a bound as a column of floats holds it; one that is too great for the type as it is."""
    if not isinstance(dtype, pl.Float16 | pl.Float32):
        return number
    held: float = pl.Series([float(number)]).cast(dtype).item()
    return held if math.isfinite(held) else number


@attrs.frozen(kw_only=True)
class Interval:
    """Bounds as literals of a column's type; ``None`` is an open end."""

    low: Any = None
    high: Any = None
    closed: str = "both"
    empty: bool = False  #: no value of the type lies within
    wide: bool = False  #: a bound is beyond the type, so that values must be compared as 64-bit floats


def interval_of(low: float | None, high: float | None, inclusive: str, dtype: pl.DataType, nw: Any) -> Interval:
    """Return the bounds for a column of a type.

    Columns of whole numbers and of decimals get such bounds, rounded inwards, so that no digit is lost beyond 2**53.
    """
    if not (dtype.is_integer() or isinstance(dtype, pl.Decimal)):
        low, high = _float(low, math.inf), _float(high, -math.inf)
        beyond = [bound for bound in (low, high) if bound is not None and math.isfinite(bound)]
        if any(_overflows(bound, dtype) for bound in beyond):
            low, high = (None if bound is None else rounded(bound, dtype) for bound in (low, high))
            return Interval(low=low, high=high, closed=inclusive, wide=True)
        return Interval(low=low, high=high, closed=inclusive)
    scale = dtype.scale if isinstance(dtype, pl.Decimal) else 0
    least, most = extremes_of(dtype)
    first = _step(low, scale, math.ceil, 0 if inclusive in {"both", "left"} else 1, least)
    last = _step(high, scale, math.floor, 0 if inclusive in {"both", "right"} else -1, most)
    if first > min(last, most) or last < least:
        return Interval(empty=True)
    return Interval(
        low=None if first <= least else nw.lit(_value(first, dtype), dtype=dtype),
        high=None if last >= most else nw.lit(_value(last, dtype), dtype=dtype),
    )


def _float(bound: float | None, inwards: float) -> float | None:
    """Return a bound as a float; a whole number that no float is as the next one inwards."""
    if bound is None:
        return None
    near = float(bound)
    outside = near < bound if inwards > 0 else near > bound
    return math.nextafter(near, inwards) if outside else near


def _overflows(bound: float, dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Float16 | pl.Float32) and not math.isfinite(pl.Series([bound]).cast(dtype).item())


@cache
def extremes_of(dtype: pl.DataType) -> tuple[int, int]:
    """Return the least and the greatest number of a type, counted in its smallest steps."""
    if isinstance(dtype, pl.Decimal):
        most = 10 ** (dtype.precision or 38) - 1
        return -most, most
    zero = pl.Series([0], dtype=dtype)
    return zero.lower_bound().item(), zero.upper_bound().item()


def _step(bound: float | None, scale: int, inward: Callable[[Any], int], beside: int, end: int) -> int:
    """Return the innermost step that a bound allows; an open end is that of the type."""
    if bound is None:
        return end
    if math.isinf(bound):
        # One step beyond every number of the type, on the side of the bound.
        return 10**40 if bound > 0 else -(10**40)
    exact = Fraction(decimal_of(bound)) * 10**scale if scale else Fraction(bound)
    step = inward(exact)
    return step + beside if step == exact else step


def _value(step: int, dtype: pl.DataType) -> Any:
    if not isinstance(dtype, pl.Decimal):
        return step
    return decimal.Decimal(step).scaleb(-dtype.scale, _EXACT)


def members_of(values: Sequence[Any], dtype: pl.DataType) -> pl.Series | None:
    """Return numbers as a series of a column's type, or ``None`` if the type can not hold one of them.

    Narrow floats hold what comes closest, as they do when data are written in them.
    """
    try:
        if isinstance(dtype, pl.Decimal):
            exact = [decimal_of(value) for value in values]
            if not all(value.is_finite() for value in exact):
                return None
            series = pl.Series("values", exact, dtype=dtype)
            return series if series.to_list() == exact else None
        if not dtype.is_float():
            if any(value != int(value) for value in values):
                return None
            return pl.Series("values", [int(value) for value in values], dtype=dtype)
        floats = [float(value) for value in values]
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        return None
    series = pl.Series("values", floats, dtype=pl.Float64).cast(dtype)
    for given, held in zip(values, series.to_list(), strict=True):
        lost = isinstance(given, int) and given != held
        if lost or math.isinf(held) != math.isinf(given):
            return None
    return series
