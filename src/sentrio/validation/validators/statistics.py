"""Rules about one number computed from a column."""

from __future__ import annotations

__all__ = ("Mean",)

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from sentrio.validation import metrics as measured
from sentrio.validation.validators._base import StatisticRule


@attrs.define(kw_only=True)
class Mean(StatisticRule):
    """The mean of the values that are not null lies within ``min`` and ``max``."""

    validator_name: ClassVar[str] = "mean"

    def metrics(self, column: str) -> Mapping[str, measured.Metric]:
        """Return the mean."""
        return {"mean": measured.Mean(column)}

    def observe(self, **values: Any) -> float | None:
        """Return the mean."""
        mean: float | None = values["mean"]
        return mean
