"""Rules about one number computed from a column."""

from __future__ import annotations

__all__ = ("Maximum", "Mean", "Median", "Minimum", "Quantile", "Std", "Total")

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation import metrics as measured
from sentrio.validation import wording
from sentrio.validation.ranks import quantile, rank_metrics, wanted_metrics
from sentrio.validation.validators._base import Check, Values
from sentrio.validation.validators._rules import StatisticRule


@attrs.define(kw_only=True)
class Mean(StatisticRule):
    """The mean of the values that are not null lies within ``min`` and ``max``. A NaN makes it NaN, which fails."""

    validator_name: ClassVar[str] = "mean"

    def metrics(self, column: str) -> Mapping[str, measured.Metric]:
        """Return the mean."""
        return {"mean": measured.Mean(column)}

    def observe(self, **values: Any) -> float | None:
        """Return the mean."""
        mean: float | None = values["mean"]
        return mean


@attrs.define(kw_only=True)
class Std(StatisticRule):
    """The standard deviation lies within ``min`` and ``max``: the sample's, with n-1 in the denominator.

    A single value has none, so the check fails as it does without values. A NaN or an infinity makes it NaN, which
    fails.
    """

    validator_name: ClassVar[str] = "std"
    without: ClassVar[str] = "there are fewer than two values"

    def metrics(self, column: str) -> Mapping[str, measured.Metric]:
        """Return the moments."""
        return {"moments": measured.Moments(column)}

    def observe(self, **values: Any) -> float | None:
        """Return the root of the variance."""
        variance = values["moments"].variance
        return None if variance is None else math.sqrt(variance)


@attrs.define(kw_only=True)
class Total(StatisticRule):
    """The sum of the values that are not null lies within ``min`` and ``max``; whole numbers never wrap."""

    validator_name: ClassVar[str] = "sum"

    def metrics(self, column: str) -> Mapping[str, measured.Metric]:
        """Return the sum."""
        return {"sum": measured.Sum(column)}

    def observe(self, **values: Any) -> float | None:
        """Return the sum."""
        total: float | None = values["sum"]
        return total

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        check = super().bind_column(name, dtype)
        huge = isinstance(dtype, pl.Int128 | pl.UInt128)
        check.metrics = {**check.metrics, "sum": measured.Sum(name, huge)}
        return check


@attrs.define(kw_only=True)
class _Extreme(StatisticRule):
    """A statistic that is the value of some row."""

    observes_values: ClassVar[bool] = True

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column, which knows the type that its bounds are compared in."""
        check = super().bind_column(name, dtype)
        check.metrics = {**check.metrics, "type": measured.FromSchema(dtype)}
        return check


@attrs.define(kw_only=True)
class Minimum(_Extreme):
    """The least value lies within ``min`` and ``max``. NaN is passed over unless there is nothing else."""

    validator_name: ClassVar[str] = "min"

    def metrics(self, column: str) -> Mapping[str, measured.Metric]:
        """Return the least value."""
        return {"min": measured.Min(column)}

    def observe(self, **values: Any) -> float | None:
        """Return it."""
        least: float | None = values["min"]
        return least

    def certain(self, check: Check, values: Values) -> bool:
        """Tell whether a value lies below the least allowed; others only make it worse."""
        least = None if check.untyped else values["min"]
        allowed, _ = self.bounds_for(least, values.get("type"))
        return least is not None and allowed is not None and bool(least < allowed)


@attrs.define(kw_only=True)
class Maximum(_Extreme):
    """The greatest value lies within ``min`` and ``max``. NaN is passed over unless there is nothing else."""

    validator_name: ClassVar[str] = "max"

    def metrics(self, column: str) -> Mapping[str, measured.Metric]:
        """Return the greatest value."""
        return {"max": measured.Max(column)}

    def observe(self, **values: Any) -> float | None:
        """Return it."""
        greatest: float | None = values["max"]
        return greatest

    def certain(self, check: Check, values: Values) -> bool:
        """Tell whether a value lies above the greatest allowed; others only make it worse."""
        greatest = None if check.untyped else values["max"]
        _, allowed = self.bounds_for(greatest, values.get("type"))
        return greatest is not None and allowed is not None and bool(greatest > allowed)


@attrs.define(kw_only=True)
class _Ranked(StatisticRule):
    """A statistic of the sorted values, which takes several passes."""

    observes_values: ClassVar[bool] = True
    needs_all_rows: ClassVar[bool] = True

    @property
    def share(self) -> float:
        """The share of the values that lies below."""
        return 0.5

    def metrics(self, column: str) -> Mapping[str, measured.Metric]:
        """Return what the first pass measures."""
        return rank_metrics(column)

    def follow_up(self, check: Check, values: Values) -> Mapping[str, measured.Metric] | None:
        """Close in on the ranks."""
        if check.untyped:
            return None
        return wanted_metrics(check.columns[0], (self.share,), values) or None

    def observe(self, **values: Any) -> float | None:
        """Return the quantile."""
        return quantile(self.share, values) if values["evaluated"] else None

    def value(self, check: Check, values: Values) -> float | None:
        """Return the quantile, from what all passes measured."""
        return None if check.untyped else self.observe(**values)


@attrs.define(kw_only=True)
class Median(_Ranked):
    """The median lies within ``min`` and ``max``; see :class:`Quantile`, of which it is the middle one."""

    validator_name: ClassVar[str] = "median"


@attrs.define(kw_only=True)
class Quantile(_Ranked):
    """The quantile ``q`` lies within ``min`` and ``max``, by linear interpolation between the closest ranks.

    It is exact, whatever the number of values. NaN is greater than every number.

    :param q: the share of the values that lies below it, from 0 (the least value) to 1 (the greatest)
    """

    validator_name: ClassVar[str] = "quantile"

    q: float = attrs.field(validator=options.share())

    @property
    def share(self) -> float:
        """The share of the values that lies below."""
        return self.q

    @property
    def expected(self) -> str:
        """The bounds, and what is bounded."""
        return f"{wording.number_text(self.q)} quantile {super().expected}"
