"""Rules about missing values."""

from __future__ import annotations

__all__ = ("Completeness", "NotNull")

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation import wording
from sentrio.validation.metrics import Count, Metric, NullCount
from sentrio.validation.report import CheckOutcome
from sentrio.validation.validators._base import Check, Values, Verdict
from sentrio.validation.validators._rules import ColumnRule, RowRule


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


@attrs.define(kw_only=True)
class Completeness(ColumnRule):
    """At least a share of ``min_ratio`` of the rows has a value. NaN is a value; a table without rows is complete.

    :param min_ratio: the least share that must not be null, from 0 to 1
    """

    validator_name: ClassVar[str] = "completeness"

    min_ratio: float = attrs.field(validator=options.share())

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        metrics = {"rows": Count(), "failed": NullCount(name)}
        return Check(rule=self, columns=(name,), metrics=metrics, passes=pl.col(name).is_not_null())

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the share that is there with what is asked for."""
        rows, nulls = values["rows"], values["failed"]
        share = (rows - nulls) / rows if rows else 1.0
        passed = share >= self.min_ratio
        return Verdict(
            outcome=CheckOutcome.PASSED if passed else CheckOutcome.FAILED,
            failed=nulls,
            evaluated=rows,
            observed=f"{wording.percent(share)} not null",
            message="" if passed else f"{nulls:,} of {wording.count_of(rows, 'row')} are null",
        )

    @property
    def expected(self) -> str:
        """The least share."""
        return f"{wording.at_least_share(self.min_ratio)} not null"
