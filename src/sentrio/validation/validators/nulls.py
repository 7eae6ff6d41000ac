"""Rules about missing values."""

from __future__ import annotations

__all__ = ("NotNull",)

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio.validation import wording
from sentrio.validation.metrics import Count, Metric, NullCount
from sentrio.validation.validators._base import RowRule, Values


@attrs.define(kw_only=True)
class NotNull(RowRule):
    """No value is null. NaN is a value."""

    validator_name: ClassVar[str] = "not_null"
    aliases: ClassVar[tuple[str, ...]] = ("null",)

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the value is there."""
        return nw.col(column).is_not_null()

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the null count, which needs no pass over the values; every row is evaluated."""
        return {"failed": NullCount(column), "evaluated": Count()}

    @property
    def expected(self) -> str:
        """No nulls, or what is tolerated."""
        return self.tolerance or "no nulls"

    def observed(self, failed: int, evaluated: int, values: Values) -> str | None:
        """Return the share that is there, unless that is all."""
        return f"{wording.percent((evaluated - failed) / evaluated)} not null" if failed else None
