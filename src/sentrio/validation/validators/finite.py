"""Rules about numbers that are none."""

from __future__ import annotations

__all__ = ("Finite",)

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.validators._rules import RowRule


@attrs.define(kw_only=True)
class Finite(RowRule):
    """No number is NaN or infinite."""

    validator_name: ClassVar[str] = "finite"
    applies_to: ClassVar[str] = "number"

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the number is finite."""
        value = nw.col(column)
        # Only floats can be anything else, and not every other type knows the question.
        return value.is_finite() if dtype.is_float() else nw.when(value.is_not_null()).then(nw.lit(True))

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; the count of values costs less than that of the answers."""
        return {"failed": Matching(~passes), "evaluated": Count(column)}

    @property
    def requirement(self) -> str:
        """Neither NaN nor infinite."""
        return "finite"
