"""The data plane: sources are cut into morsels, measured in one fused plan, and reported on."""

from __future__ import annotations

__all__ = (
    "Compare",
    "Completeness",
    "Count",
    "DateRange",
    "Distribution",
    "Expression",
    "Finite",
    "ForeignKey",
    "Format",
    "Freshness",
    "HasSchema",
    "HasType",
    "Histogram",
    "InRange",
    "InSet",
    "Length",
    "MatchesRegex",
    "Max",
    "Maximum",
    "Mean",
    "Median",
    "Metric",
    "Min",
    "Minimum",
    "Moments",
    "Monotonic",
    "NotInSet",
    "NotMatchesRegex",
    "NotNull",
    "NullCount",
    "Outliers",
    "Quantile",
    "RowCount",
    "RowRule",
    "StatisticRule",
    "Std",
    "Sum",
    "Total",
    "Unique",
    "UniqueRows",
    "Validator",
    "make_validator",
    "row_rule",
)

from typing import TYPE_CHECKING

from sentrio._lazy import lazily

if TYPE_CHECKING:
    from sentrio.validation.metrics import Count, Histogram, Max, Metric, Min, Moments, NullCount, Sum
    from sentrio.validation.validators import (
        Compare,
        Completeness,
        DateRange,
        Distribution,
        Expression,
        Finite,
        ForeignKey,
        Format,
        Freshness,
        HasSchema,
        HasType,
        InRange,
        InSet,
        Length,
        MatchesRegex,
        Maximum,
        Mean,
        Median,
        Minimum,
        Monotonic,
        NotInSet,
        NotMatchesRegex,
        NotNull,
        Outliers,
        Quantile,
        RowCount,
        RowRule,
        StatisticRule,
        Std,
        Total,
        Unique,
        UniqueRows,
        Validator,
        make_validator,
        row_rule,
    )

_METRICS = frozenset({"Count", "Histogram", "Max", "Metric", "Min", "Moments", "NullCount", "Sum"})
# Late, since the validators load Polars and the report's classes next door do not need it.
_HOMES = {name: f"sentrio.validation.{'metrics' if name in _METRICS else 'validators'}" for name in __all__}

__getattr__, __dir__ = lazily(__name__, _HOMES)
