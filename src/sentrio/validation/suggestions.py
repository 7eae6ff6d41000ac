"""The checks that hold for some data today."""

from __future__ import annotations

__all__ = ("Suggestion", "proven", "suggestions")

import datetime as dt
import decimal
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.errors import SentrioError
from sentrio.validation.profile import ColumnProfile, Profile, is_text, validated
from sentrio.validation.sources.base import Source
from sentrio.validation.validators import Unique, Validator, make_validator
from sentrio.validation.validators._numbers import extremes_of
from sentrio.validation.wording import count_of, percent

# A value that is longer is a sentence, and no member of a set.
_LONGEST_VALUE = 100
# How far bounds lie outside of what was seen, as a share of its span.
_MARGIN = 0.1
# Digits of a bound: more would claim a precision that a widened bound does not have.
_DIGITS = 6


@attrs.frozen(kw_only=True)
class Suggestion:
    """A check that holds today, or the reason why there is none."""

    name: str = ""  #: of the validator; empty: there is only a remark
    options: Mapping[str, Any] = attrs.field(factory=dict)
    remark: str = ""  #: what was seen


def suggestions(found: Profile) -> list[Suggestion]:
    """Return the check of the table, then those of the columns in their order; each of them holds for the profile."""
    rows = Suggestion(
        name="row_count", options={"min": min(found.rows, 1)}, remark=f"{count_of(found.rows, 'row')} today"
    )
    made = [rows, *_one_column(found)]
    for column in found.columns:
        made += _of_column(column)
    return made


def _one_column(found: Profile) -> Iterator[Suggestion]:
    """Remark that a table may have been taken for one column."""
    names = [column.name for column in found.columns]
    if len(names) == 1 and (other := next((each for each in ";\t|" if each in names[0]), None)):
        yield Suggestion(
            remark=f"one column: if {other!r} separates several, give --source 'separator: {json.dumps(other)}'"
        )


def _of_column(column: ColumnProfile) -> Iterator[Suggestion]:
    if column.problem:
        yield Suggestion(remark=f"{column.name}: {column.problem}")
        return
    if column.nulls == column.rows:
        yield Suggestion(remark=f"{column.name}: no values today")
        return
    yield _type(column)
    yield from _nulls(column)
    if not column.repeats:
        yield Suggestion(name="unique", options={"column": column.name})
    if column.kind is not None:
        yield Suggestion(name="format", options={"column": column.name, "kind": column.kind})
    elif column.values is not None:
        yield from _set(column)
    elif column.low is not None:
        yield from _bounds(column)


def _type(column: ColumnProfile) -> Suggestion:
    return Suggestion(name="type", options={"column": column.name, "dtype": _type_name(column.dtype)})


def _type_name(dtype: pl.DataType) -> str:
    """Return a name that lets a column become wider or narrower without a failure, where there is one."""
    for name, holds in (
        ("integer", dtype.is_integer()),
        ("float", dtype.is_float()),
        ("number", dtype.is_decimal()),
        ("string", is_text(dtype)),
        ("boolean", dtype == pl.Boolean),
        ("date", dtype == pl.Date),
        ("datetime", isinstance(dtype, pl.Datetime)),
    ):
        if holds:
            return name
    return str(dtype)


def _nulls(column: ColumnProfile) -> Iterator[Suggestion]:
    if not column.nulls:
        yield Suggestion(name="not_null", options={"column": column.name})
        return
    share = (column.rows - column.nulls) / column.rows
    remark = f"{count_of(column.nulls, 'null')} today"
    if mostly := math.floor(share * 100) / 100:
        yield Suggestion(name="not_null", options={"column": column.name, "mostly": mostly}, remark=remark)
    else:
        yield Suggestion(remark=f"{column.name}: {remark}, {percent(share)} not null")


def _set(column: ColumnProfile) -> Iterator[Suggestion]:
    assert column.values is not None
    if len(column.values) == column.rows - column.nulls:
        return  # each value once: names, rather than members of a set
    if max(map(len, column.values), default=0) <= _LONGEST_VALUE:
        yield Suggestion(name="in_set", options={"column": column.name, "values": list(column.values)})


def _bounds(column: ColumnProfile) -> Iterator[Suggestion]:
    if column.dtype.is_temporal():
        low, high = _widened_times(column)
        name = "date_range"
    else:
        low, high = _widened(column)
        name = "range"
    if column.nans:
        yield Suggestion(remark=f"{column.name}: {count_of(column.nans, 'NaN')} today, which no range allows")
        return
    options = {key: bound for key, bound in (("min", low), ("max", high)) if bound is not None}
    if options:
        yield Suggestion(name=name, options={"column": column.name, **options})


def _widened(column: ColumnProfile) -> tuple[Any, Any]:
    """Return bounds that lie a tenth of the span outside; ``None`` where no number of the type lies outside."""
    low, high = column.low, column.high
    if not column.dtype.is_float():
        # In whole numbers, since floats lose digits beyond 2**53.
        margin = -(-(high - low or abs(low)) // 10)
        least, most = extremes_of(column.dtype)
        below, above = low - margin, high + margin
        return _number(below, column.dtype, below < least), _number(above, column.dtype, above > most)
    margin = (high - low or abs(low)) * _MARGIN
    if not math.isfinite(margin):
        return None, None
    return _rounded(low - margin, math.floor), _rounded(high + margin, math.ceil)


def _number(steps: int, dtype: pl.DataType, beyond: bool) -> float | None:
    """Return the number that an integer of a column stands for; of a decimal, the float that is written like it."""
    if beyond:
        return None
    return float(decimal.Decimal(steps).scaleb(-dtype.scale)) if isinstance(dtype, pl.Decimal) else steps


def _rounded(bound: float, outward: Callable[[float], int]) -> float | None:
    """Return a bound with few digits, rounded outward; ``None`` if it is infinite."""
    if not math.isfinite(bound) or bound == 0:
        return None if bound else 0.0
    digits = _DIGITS - 1 - math.floor(math.log10(abs(bound)))
    if abs(digits) > 300:
        return bound  # beyond what a power of ten can scale
    scale = 10.0 ** abs(digits)
    shorter = outward(bound * scale) / scale if digits >= 0 else outward(bound / scale) * scale
    held = shorter <= bound if outward is math.floor else shorter >= bound
    return shorter if held and math.isfinite(shorter) else bound


_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # the integers count from here, whatever the zone
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}


def _widened_times(column: ColumnProfile) -> tuple[Any, Any]:
    """Return ISO texts a tenth of the span outside, in whole days; ``None`` where Python's calendar ends."""
    day = 1
    if isinstance(column.dtype, pl.Datetime):
        day = 86_400 * _PER_SECOND[column.dtype.time_unit]
    first, last = column.low // day, -(-column.high // day)
    margin = max(1, -(-(last - first) // 10))
    low, high = first - margin, last + margin
    # A bound must be a time of the column's type: nanoseconds end in the year 2262.
    return tuple(_date_text(bound) if abs(bound * day) < 2**63 else None for bound in (low, high))  # type: ignore[return-value]


def _date_text(days: int) -> str | None:
    try:
        return (_EPOCH + dt.timedelta(days=days)).date().isoformat()
    except OverflowError:
        return None


async def proven(
    make_source: Callable[[Sequence[str]], Source], found: Profile, suggested: Sequence[Suggestion]
) -> list[Suggestion]:
    """Try suggestions on the data, and keep of those that do not hold the remark that they do not.

    Whatever a profile misses about a type, nobody is given a configuration that fails on the day it is written.
    """
    rules: dict[int, Validator] = {}
    kept = list(suggested)
    for place, each in enumerate(suggested):
        if not each.name:
            continue
        try:
            rules[place] = make_validator({each.name: {**each.options, "name": str(place)}})
        except SentrioError as exc:
            kept[place] = _withdrawn(each, str(exc))
    # Keys were compared exactly a moment ago.
    tried = [rule for rule in rules.values() if not isinstance(rule, Unique)]
    report = await validated(make_source(found.as_text), tried)
    for check in report.checks:
        if not check.passed and check.id.isdecimal():
            kept[int(check.id)] = _withdrawn(suggested[int(check.id)], check.message)
    return kept


def _withdrawn(suggestion: Suggestion, reason: str) -> Suggestion:
    column = suggestion.options.get("column", "table")
    return Suggestion(remark=f"{column}: no {suggestion.name}, since {reason}")
