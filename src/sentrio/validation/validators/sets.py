"""Rules about membership in a set of values."""

from __future__ import annotations

__all__ = ("InSet", "NotInSet")

import decimal
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio.errors import OptionValueError
from sentrio.validation import wording
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.validators._base import Check, Schema
from sentrio.validation.validators._kinds import fits
from sentrio.validation.validators._numbers import members_of
from sentrio.validation.validators._rules import RowRule

_FEW = 8

# The kinds of columns that hold kinds of values, but for dates and times.
_COLUMNS = {"boolean": "boolean", "number": "number", "text": "string", "timedelta": "duration", "bytes": "binary"}


def _values(owner: Any, field: attrs.Attribute[Any], values: object) -> None:
    owner = owner.validator_name
    if not isinstance(values, tuple):
        raise OptionValueError(owner, "values", f"values must be a list, got {values!r}")
    if not values:
        raise OptionValueError(owner, "values", "values must not be empty")
    if None in values:
        raise OptionValueError(
            owner, "values", "values must not contain null: nulls are passed over; use not_null as well"
        )
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1:
        names = ", ".join(sorted(kinds))
        raise OptionValueError(owner, "values", f"values must be of one type, got {names}")


def _kind(value: object) -> str:
    """Return what values must have in common to stand in one set."""
    match value:
        case bool():
            return "boolean"
        case int() | float() | decimal.Decimal():
            return "number"
        case str():
            return "text"
        case _:
            return type(value).__name__


def _sequence(values: Any) -> Any:
    if isinstance(values, list | tuple | set | frozenset | range):
        # A number of NumPy's is no number to Python, and says itself which one it is.
        return tuple(value.item() if hasattr(value, "item") else value for value in values)
    # A series, or an array of NumPy's.
    listed = values.tolist() if hasattr(values, "dtype") and hasattr(values, "tolist") else None
    listed = values.to_list() if isinstance(values, pl.Series) else listed
    return tuple(listed) if isinstance(listed, list) else values


@attrs.define(kw_only=True)
class InSet(RowRule):
    """Every value is one of ``values``.

    :param values: the values allowed, all of one type; it must be the column's
    """

    validator_name: ClassVar[str] = "in_set"
    aliases: ClassVar[tuple[str, ...]] = ("accepted_values",)
    refuses: ClassVar[bool] = False  #: whether the values are those that fail

    values: tuple[Any, ...] = attrs.field(converter=_sequence, validator=_values)

    @property
    def column_kind(self) -> str:
        """The kind of column that holds such values."""
        kinds = {
            "boolean": "boolean",
            "number": "number",
            "text": "string",
            "timedelta": "duration",
            "bytes": "binary",
        }
        return kinds.get(_kind(self.values[0]), "temporal")

    def column_problem(self, name: str, schema: Schema) -> str:
        """Say why the values can not be compared with the column."""
        if name in schema and schema[name] != pl.Null:
            return "" if self._as(schema[name]) is not None else self._unfit(name, schema[name])
        return super().column_problem(name, schema)

    def _unfit(self, name: str, dtype: pl.DataType) -> str:
        values = wording.listed([repr(value) for value in self.values])
        return f"column {name!r} is {dtype}, which can not hold the values {values}"

    def _as(self, dtype: pl.DataType) -> pl.Series | None:
        """Return the values as the column's type, or ``None`` if they do not fit."""
        if not fits(self.column_kind, dtype) and not (self.column_kind == "string" and dtype.is_temporal()):
            return None
        if self.column_kind == "number":
            return members_of(self.values, dtype)
        target = pl.String() if isinstance(dtype, pl.Categorical | pl.Enum) else dtype
        try:
            series = pl.Series("values", self.values)
            if self.column_kind == "string" and target.is_temporal():
                series = _times(series, target)
            held = series.cast(target, strict=True)
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
            return None
        # A cast drops what the type has no place for, and then it is another value.
        return held if held.cast(series.dtype).equals(series) else None

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the value is in the set."""
        value = nw.col(column)
        if isinstance(dtype, pl.Categorical | pl.Enum):
            value = value.cast(nw.String)
        series = self._as(dtype)
        assert series is not None
        return value.is_in(series.implode())

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; the count of values costs less than that of the answers."""
        return {"failed": Matching(~passes), "evaluated": Count(column)}

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        check = super().bind_column(name, dtype)
        if isinstance(dtype, pl.String) and len(self.values) <= _FEW:
            # Comparisons with a few texts take half the time of a look into a list.
            found = pl.any_horizontal(pl.col(name) == value for value in self.values)
            summed = found if self.refuses else ~found
            check.metrics = {**check.metrics, "failed": Matching(~self.passes(pl, name, dtype), summed=summed)}
        return check

    @property
    def requirement(self) -> str:
        """The values."""
        return wording.listed(self.values)


@attrs.define(kw_only=True)
class NotInSet(InSet):
    """No value is one of ``values``.

    :param values: the values refused, all of one type; it must be the column's
    """

    validator_name: ClassVar[str] = "not_in_set"
    aliases: ClassVar[tuple[str, ...]] = ()
    refuses: ClassVar[bool] = True

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the value is outside the set."""
        return ~super().passes(nw, column, dtype)

    @property
    def requirement(self) -> str:
        """The values."""
        return f"none of {wording.listed(self.values)}"


def _times(texts: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Parse ISO texts as the type of a temporal column; texts without a zone are UTC."""
    if dtype == pl.Date:
        return texts.str.to_date(strict=True)
    if dtype == pl.Time:
        return texts.str.to_time(strict=True)
    times = texts.str.to_datetime(time_zone="UTC", strict=True)
    aware = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return times if aware else times.dt.replace_time_zone(None)
