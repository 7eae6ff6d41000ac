"""Rules about text."""

from __future__ import annotations

__all__ = ("Length", "MatchesRegex", "NotMatchesRegex", "as_text")

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation import wording
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.validators._base import Schema
from sentrio.validation.validators._rules import Bounded, RowRule
from sentrio.validation.wording import first_line


def as_text(nw: Any, column: str, dtype: pl.DataType) -> Any:
    """Return the texts of a column; categories are texts as well."""
    value = nw.col(column)
    return value if dtype == pl.String else value.cast(nw.String)


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
            told = [line.strip() for line in str(exc).splitlines() if line.startswith("error:")]
            reason = " ".join(line.removeprefix("error:").strip() for line in told)
            return f"pattern {self.pattern!r} is not a regular expression: {reason or first_line(exc)}"
        return ""

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the text matches."""
        return as_text(nw, column, dtype).str.contains(self.pattern)

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; the count of values costs less than that of the answers."""
        return {"failed": Matching(~passes), "evaluated": Count(column)}

    @property
    def requirement(self) -> str:
        """The pattern."""
        return f"matches {self.pattern}"


@attrs.define(kw_only=True)
class NotMatchesRegex(MatchesRegex):
    """No text matches ``pattern`` anywhere.

    :param pattern: a regular expression of the Rust ``regex`` crate: no look-around, no back-references
    """

    validator_name: ClassVar[str] = "not_regex"

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the text does not match."""
        return ~super().passes(nw, column, dtype)

    @property
    def requirement(self) -> str:
        """The pattern."""
        return f"does not match {self.pattern}"


@attrs.define(kw_only=True)
class Length(RowRule, Bounded):
    """Every text has at least ``min`` and at most ``max`` characters, counted as Unicode code points.

    :param min: the least number of characters; ``None`` is an open end
    :param max: the greatest number of characters; ``None`` is an open end
    """

    validator_name: ClassVar[str] = "length"
    applies_to: ClassVar[str] = "string"

    min: int | None = attrs.field(default=None, validator=options.optional(options.integer(minimum=0)))
    max: int | None = attrs.field(default=None, validator=options.optional(options.integer(minimum=0)))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.check_bounds()

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the text has the length."""
        length = as_text(nw, column, dtype).str.len_chars()
        if self.min is not None and self.max is not None:
            return length.is_between(self.min, self.max)
        return length >= self.min if self.min is not None else length <= self.max

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; the count of values costs less than that of the answers."""
        return {"failed": Matching(~passes), "evaluated": Count(column)}

    @property
    def requirement(self) -> str:
        """The bounds."""
        return f"{wording.between(self.min, self.max)} characters"
