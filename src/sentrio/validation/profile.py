"""What holds for some data today: facts about each column, and the checks that follow from them."""

from __future__ import annotations

__all__ = ("ColumnProfile", "Profile", "is_text", "profile", "validated")

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio.validation.metrics import Count, Matching, Metric, NullCount
from sentrio.validation.report import CheckOutcome, ValidationReport
from sentrio.validation.run import Validation
from sentrio.validation.samples import SampleOptions
from sentrio.validation.sources.base import Source
from sentrio.validation.types import is_pattern
from sentrio.validation.validators import Unique, Validator
from sentrio.validation.validators._base import Check, Schema, Values, Verdict
from sentrio.validation.written import Examples, kind_of

#: A set of values with more members than this is rather free text or a number.
MOST_VALUES = 20
# Columns whose values are compared in one pass: each takes memory for all of its rows.
_KEYS_AT_ONCE = 4


@attrs.frozen(kw_only=True)
class ColumnProfile:
    """What was seen in one column."""

    name: str
    dtype: pl.DataType
    rows: int
    nulls: int = 0
    nans: int = 0
    #: the least value, of dates, times and decimals as the integer that stands for it; ``None``: there is none
    low: Any = None
    high: Any = None
    values: tuple[str, ...] | None = None  #: all texts, if there are at most :data:`MOST_VALUES`, in order
    kind: str | None = None  #: the format that all texts seem to be written in
    repeats: bool = True  #: whether some value occurs twice; for columns that may be keys
    problem: str = ""  #: why it could not be looked at


@attrs.frozen(kw_only=True)
class Profile:
    """What was seen in some data."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    as_text: tuple[str, ...] = ()  #: columns of text files with values that their first rows did not announce


@attrs.frozen
class _Extremes(Metric):
    """Least and greatest value; of dates, times and decimals as integers: Python's dates end with 9999."""

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        values = nw.col(self.column).to_physical()
        return (values.min(), values.max())

    def state(self, values: Sequence[Any]) -> list[Any]:
        # A part of nothing but NaN answers NaN.
        return [value for value in values if value is not None and value == value]

    def merge(self, earlier: list[Any], later: list[Any]) -> list[Any]:
        both = earlier + later
        return [min(both), max(both)] if both else []


@attrs.frozen
class _Distinct(Metric):
    """The values of a column as long as they are few, and whether one occurs twice within a part."""

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        values = nw.col(self.column).drop_nulls()
        return (values.n_unique(), values.count(), values.cast(nw.String).unique().head(MOST_VALUES + 1).implode())

    def state(self, values: Sequence[Any]) -> tuple[set[str] | None, bool]:
        distinct, count, few = values
        return (set(few) if distinct <= MOST_VALUES else None), distinct < count

    def merge(self, earlier: tuple[set[str] | None, bool], later: tuple[set[str] | None, bool]) -> Any:
        (mine, repeats), (others, more) = earlier, later
        both = None if mine is None or others is None else mine | others
        return (None if both is None or len(both) > MOST_VALUES else both), repeats or more


@attrs.define(kw_only=True, eq=False)
class _Describe(Validator):
    """Measures what a profile needs, and keeps it."""

    validator_name: ClassVar[str] = "profile"

    found: dict[tuple[str, ...], Mapping[str, Any]] = attrs.field(factory=dict, init=False)
    schema: Schema = attrs.field(factory=dict, init=False)

    def bind(self, schema: Schema) -> Sequence[Check]:
        self.schema = schema
        columns = [
            Check(rule=self, columns=(name,), metrics=_metrics(name, dtype))
            for name, dtype in schema.items()
            if not is_pattern(name)
        ]
        return [Check(rule=self, metrics={"rows": Count()}), *columns]

    def judge(self, check: Check, values: Values) -> Verdict:
        self.found[check.columns] = dict(values)
        return Verdict(outcome=CheckOutcome.PASSED)

    @property
    def expected(self) -> str:
        return ""


def is_text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _has_order(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or isinstance(dtype, pl.Date | pl.Datetime)


def _metrics(name: str, dtype: pl.DataType) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {"rows": Count(), "nulls": NullCount(name)}
    if _has_order(dtype):
        metrics["extremes"] = _Extremes(name)
    if dtype.is_float():
        metrics["nans"] = Matching(pl.col(name).is_nan())
    if is_text(dtype):
        metrics["examples"] = Examples(name)
    if is_text(dtype) or dtype.is_integer():
        metrics["distinct"] = _Distinct(name)
    return metrics


async def validated(source: Source, validators: Sequence[Validator]) -> ValidationReport:
    validation = Validation(source, validators, samples=SampleOptions(most=0))
    await validation.run()
    return validation.report()


async def profile(make_source: Callable[[Sequence[str]], Source]) -> Profile:
    """Read data once, in slices; a few columns that may be keys once more.

    :param make_source: returns the source, anew for each pass, with some columns read as text
    :raises SourceError: if the data can not be read
    """
    found = await _described(make_source, ())
    if found.as_text:
        found = await _described(make_source, found.as_text)
    keys = [each.name for each in found.columns if not each.repeats]
    unique: set[str] = set()
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        rules = [Unique(column=name) for name in keys[start : start + _KEYS_AT_ONCE]]
        report = await validated(make_source(found.as_text), rules)
        unique |= {check.column for check in report.checks if check.passed and check.column is not None}
    columns = (attrs.evolve(each, repeats=each.name not in unique) for each in found.columns)
    return attrs.evolve(found, columns=tuple(columns))


async def _described(make_source: Callable[[Sequence[str]], Source], as_text: Sequence[str]) -> Profile:
    describe = _Describe()
    report = await validated(make_source(as_text), [describe])
    problems = {check.column: check.message for check in report.errors}
    problems |= {name: "Polars takes this name for a pattern" for name in describe.schema if is_pattern(name)}
    columns = [
        _column(name, dtype, describe.found.get((name,)), problems.get(name, ""))
        for name, dtype in describe.schema.items()
    ]
    misfits = {check.column for check in report.failed}
    # Without a value where its type was looked for, and with one later.
    misfits |= {each.name for each in columns if each.dtype == pl.Null and each.nulls < each.rows}
    return Profile(
        rows=describe.found[()]["rows"],
        columns=tuple(columns),
        as_text=tuple(as_text) or tuple(name for name in describe.schema if name in misfits),
    )


def _column(name: str, dtype: pl.DataType, values: Mapping[str, Any] | None, problem: str) -> ColumnProfile:
    if values is None:
        return ColumnProfile(name=name, dtype=dtype, rows=0, problem=problem)
    low, high = values.get("extremes") or (None, None)
    few, repeats = values.get("distinct") or (None, True)
    return ColumnProfile(
        name=name,
        dtype=dtype,
        rows=values["rows"],
        nulls=values["nulls"],
        nans=values.get("nans") or 0,
        low=low,
        high=high,
        values=None if few is None or not is_text(dtype) else tuple(sorted(few)),
        kind=kind_of(few or values["examples"]) if is_text(dtype) else None,
        repeats=repeats or bool(values["nulls"]) or values["rows"] < 2,
    )
