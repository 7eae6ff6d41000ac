"""Rules about membership in a set of values."""

from __future__ import annotations

__all__ = ("InSet", "NotInSet")

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio.errors import OptionValueError
from sentrio.validation import wording
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.validators._base import Check, RowRule, Schema, fits

_FEW = 8


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
    kinds = {bool if isinstance(v, bool) else float if isinstance(v, int | float) else type(v) for v in values}
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise OptionValueError(owner, "values", f"values must be of one type, got {names}")


def _sequence(values: Any) -> Any:
    return tuple(values) if isinstance(values, list | tuple | set | frozenset | range) else values


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
        first = self.values[0]
        if isinstance(first, bool):
            return "boolean"
        if isinstance(first, int | float):
            return "number"
        return "string" if isinstance(first, str) else "temporal"

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
        target = pl.String() if isinstance(dtype, pl.Categorical | pl.Enum) else dtype
        try:
            # Not strict, since 1 and 2.0 may stand side by side; what a cast would change is refused below.
            series = pl.Series("values", self.values, strict=self.column_kind != "number")
            if self.column_kind == "string" and target.is_temporal():
                return _times(series, target)
            series = series.cast(target, strict=True)
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
            return None
        return series if self.column_kind != "number" or list(series) == list(self.values) else None

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
    return (times if aware else times.dt.replace_time_zone(None)).cast(dtype)
