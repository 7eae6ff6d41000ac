"""Rules about the size of numbers."""

from __future__ import annotations

__all__ = ("InRange",)

import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError
from sentrio.validation import wording
from sentrio.validation.facts import Outside
from sentrio.validation.metrics import Count, Matching, Max, Metric, Min
from sentrio.validation.validators._base import Values
from sentrio.validation.validators._numbers import interval_of
from sentrio.validation.validators._rules import RowRule

_INCLUSIVE = ("both", "left", "right", "neither")


def _bound(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    try:
        options.number()(owner, field, value)
    except OptionValueError as exc:
        if isinstance(value, str | dt.date | dt.time):
            problem = f"{exc.problem}; for dates and times there is date_range"
            raise OptionValueError(exc.owner, exc.option, problem) from None
        raise


@attrs.define(kw_only=True)
class InRange(RowRule):
    """Every number lies within ``min`` and ``max``; NaN does not. Without bounds, every number is finite.

    :param min: the least number allowed; ``None`` is an open end
    :param max: the greatest number allowed; ``None`` is an open end
    :param inclusive: which bounds themselves are allowed: ``both``, ``left``, ``right`` or ``neither``
    """

    validator_name: ClassVar[str] = "range"
    aliases: ClassVar[tuple[str, ...]] = ("between",)
    applies_to: ClassVar[str] = "number"
    observes_values: ClassVar[bool] = True

    min: float | None = attrs.field(default=None, validator=options.optional(_bound))
    max: float | None = attrs.field(default=None, validator=options.optional(_bound))
    inclusive: str = attrs.field(default="both", validator=options.one_of(_INCLUSIVE))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.min is None or self.max is None:
            return
        if self.min > self.max or (self.min == self.max and self.inclusive != "both"):
            problem = f"no number lies in it: min is {self.min!r}, max {self.max!r}, inclusive {self.inclusive}"
            raise OptionValueError(self.validator_name, "min", problem)

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the number lies within the bounds."""
        value = nw.col(column)
        if self.min is None and self.max is None:
            # Only floats can be anything but finite, and not every other type knows the question.
            return value.is_finite() if dtype.is_float() else _same(nw, value, True)
        within = interval_of(self.min, self.max, self.inclusive, dtype, nw)
        if within.empty:
            return _same(nw, value, False)
        if within.wide:
            value = value.cast(nw.Float64)
        low, high, closed = within.low, within.high, within.closed
        if low is not None and high is not None:
            return value.is_between(low, high, closed="none" if closed == "neither" else closed)
        if low is not None:
            above = value >= low if closed in {"both", "left"} else value > low
            # NaN sorts above every number, so an open upper end must refuse it by name.
            return above & value.is_not_nan() if dtype.is_float() else above
        if high is not None:
            return value <= high if closed in {"both", "right"} else value < high
        return _same(nw, value, True)

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts, and the extremes for the report."""
        return {
            "failed": Matching(~passes, Outside(column, self.min, self.max, self.inclusive)),
            "evaluated": Count(column),
            "min": Min(column),
            "max": Max(column),
        }

    @property
    def requirement(self) -> str:
        """The interval."""
        return wording.between(self.min, self.max, self.inclusive)

    def observed(self, failed: int, evaluated: int, values: Values) -> str | None:
        """Return the extremes."""
        low, high = values.get("min"), values.get("max")
        if low is None or high is None:
            return None
        return f"{wording.number_text(low)} to {wording.number_text(high)}"


def _same(nw: Any, value: Any, answer: bool) -> Any:
    """Return an expression with the same answer for each value, and null for null."""
    return nw.when(value.is_not_null()).then(nw.lit(answer))
