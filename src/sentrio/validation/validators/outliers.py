"""Rules about values far from the others."""

from __future__ import annotations

__all__ = ("Outliers",)

import math
from collections.abc import Mapping
from typing import ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation import wording
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.ranks import quantile, rank_metrics, wanted_metrics
from sentrio.validation.report import CheckOutcome, Severity
from sentrio.validation.validators._base import Check, Values, Verdict, as_severity
from sentrio.validation.validators._rules import ColumnRule

# Tukey, "Exploratory Data Analysis" (1977): beyond three times the interquartile range a value is far out.
_FAR = 3.0
_QUARTILES = (0.25, 0.75)


@attrs.define(kw_only=True)
class Outliers(ColumnRule):
    """At most a share of ``max_outlier_ratio`` of the values is far out.

    A value is far out if it lies more than three interquartile ranges below the first or above the third
    quartile (Tukey's outer fences, 1977; quartiles by linear interpolation). NaN is greater than every number,
    so it is far out unless a quarter of the values is NaN; without finite quartiles the check fails.

    :param max_outlier_ratio: the share allowed, from 0 to 1
    """

    validator_name: ClassVar[str] = "outliers"
    applies_to: ClassVar[str] = "number"
    observes_values: ClassVar[bool] = True
    needs_all_rows: ClassVar[bool] = True

    severity: Severity = attrs.field(
        default=Severity.LOW, converter=as_severity, validator=options.one_of(tuple(Severity))
    )
    max_outlier_ratio: float = attrs.field(default=0.01, validator=options.share())

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        metrics = {"rows": Count(), "evaluated": Count(name), **rank_metrics(name)}
        return Check(rule=self, columns=(name,), metrics=metrics)

    def follow_up(self, check: Check, values: Values) -> Mapping[str, Metric] | None:
        """Find the quartiles, and then count what lies beyond the fences."""
        if check.untyped or not values["evaluated"] or "failed" in values:
            return None
        (column,) = check.columns
        if wanted := wanted_metrics(column, _QUARTILES, values):
            return wanted
        low, high = _fences(values)
        if math.isnan(low) or math.isnan(high) or _holds_all(low, high, values):
            return None
        number = pl.col(column).cast(pl.Float64)
        # NaN is above every number for Polars.
        return {"failed": Matching((number < low) | (number > high))}

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the share of far outliers with what is allowed."""
        evaluated = values["evaluated"]
        if not evaluated:
            return Verdict(outcome=CheckOutcome.FAILED, evaluated=0, message="there are no values")
        low, high = _fences(values)
        if math.isnan(low) or math.isnan(high):
            message = "the quartiles are not finite, so nothing can be said of outliers"
            return Verdict(outcome=CheckOutcome.FAILED, evaluated=evaluated, message=message)
        failed = values.get("failed") or 0
        share = failed / evaluated
        passed = share <= self.max_outlier_ratio
        counted = f"{failed:,} of {wording.count_of(evaluated, 'value')}"
        fences = f"{wording.number_text(low)} to {wording.number_text(high)}"
        return Verdict(
            outcome=CheckOutcome.PASSED if passed else CheckOutcome.FAILED,
            failed=failed,
            evaluated=evaluated,
            observed=f"{wording.percent(share)} outside {fences}" if failed else f"0 % outside {fences}",
            message="" if passed else f"{counted} are far out",
        )

    @property
    def expected(self) -> str:
        """The share allowed."""
        if not self.max_outlier_ratio:
            return "no far outliers"
        return f"at most {wording.percent(self.max_outlier_ratio)} far outliers"


def _fences(values: Values) -> tuple[float, float]:
    """Return the outer fences; NaN if a quartile is not finite."""
    first, third = (quantile(q, values) for q in _QUARTILES)
    if not math.isfinite(first) or not math.isfinite(third):
        return math.nan, math.nan
    reach = _FAR * (third - first)
    return first - reach, third + reach


def _holds_all(low: float, high: float, values: Values) -> bool:
    """Tell whether the extremes lie within the fences, which saves a pass."""
    if values["numbers"] < values["evaluated"]:
        return False
    return low <= float(values["least"]) and float(values["greatest"]) <= high
