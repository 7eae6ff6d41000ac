"""The data plane: sources are cut into morsels, measured in one fused plan, and reported on."""

from __future__ import annotations

__all__ = (
    "Count",
    "Distribution",
    "Finite",
    "InRange",
    "InSet",
    "MatchesRegex",
    "Max",
    "Mean",
    "Metric",
    "Min",
    "NotNull",
    "NullCount",
    "Outliers",
    "RowCount",
    "RowRule",
    "StatisticRule",
    "Unique",
    "Validator",
    "make_validator",
)

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentrio.validation.metrics import Count, Max, Metric, Min, NullCount
    from sentrio.validation.validators import (
        Distribution,
        Finite,
        InRange,
        InSet,
        MatchesRegex,
        Mean,
        NotNull,
        Outliers,
        RowCount,
        RowRule,
        StatisticRule,
        Unique,
        Validator,
        make_validator,
    )

_METRICS = frozenset({"Count", "Max", "Metric", "Min", "NullCount"})


def __getattr__(name: str) -> Any:
    # Late, since the validators load Polars and the report's classes next door do not need it.
    if name not in __all__:
        raise AttributeError(f"module 'sentrio.validation' has no attribute {name!r}")
    from importlib import import_module

    home = "sentrio.validation.metrics" if name in _METRICS else "sentrio.validation.validators"
    value = globals()[name] = getattr(import_module(home), name)
    return value
