"""Rules about text."""

from __future__ import annotations

__all__ = ("MatchesRegex",)

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.validators._base import RowRule, Schema


@attrs.define(kw_only=True)
class MatchesRegex(RowRule):
    """Every text matches ``pattern`` somewhere; anchor it with ``^`` and ``$`` to match the whole text.

    :param pattern: a regular expression of the Rust ``regex`` crate: no look-around, no back-references
    """

    validator_name: ClassVar[str] = "regex"
    applies_to: ClassVar[str] = "string"

    pattern: str = attrs.field(validator=options.text())

    def column_problem(self, name: str, schema: Schema) -> str:
        """Say what is wrong with the column or the pattern."""
        if problem := super().column_problem(name, schema):
            return problem
        try:
            pl.Series([""]).str.contains(self.pattern)
        except pl.exceptions.PolarsError as exc:
            reason = " ".join(line.strip() for line in str(exc).splitlines() if line.startswith("error:"))
            return f"pattern {self.pattern!r} is not a regular expression: {reason or exc}"
        return ""

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the text matches."""
        value = nw.col(column)
        return (value if dtype == pl.String else value.cast(nw.String)).str.contains(self.pattern)

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; the count of values costs less than that of the answers."""
        return {"failed": Matching(~passes), "evaluated": Count(column)}

    @property
    def requirement(self) -> str:
        """The pattern."""
        return f"matches {self.pattern}"
