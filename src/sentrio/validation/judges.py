"""How the rows of a split are judged: by what a check says of each, or by the values that repeat."""

from __future__ import annotations

__all__ = ("Judge", "RepeatedKeys")

from collections.abc import Iterator

import attrs
import polars as pl

from sentrio.validation.measuring import ROW
from sentrio.validation.metrics import ScanMetric
from sentrio.validation.validators._base import Check
from sentrio.validation.validators._repeats import Marks
from sentrio.validation.validators.uniqueness import Unique


@attrs.define(eq=False)
class _Keys:
    """Values that may repeat, with how often they do, one frame for each morsel; then those that do repeat."""

    counts: list[pl.DataFrame]
    repeated: pl.DataFrame | None = None


@attrs.frozen(eq=False)
class RepeatedKeys(ScanMetric):
    """The values that occur more than once, exactly; without marks there are none."""

    columns: tuple[str, ...]
    nulls_equal: bool
    marks: Marks | None

    def scan(self, frame: pl.LazyFrame, row_index: str) -> _Keys:
        rows = frame.select(self.columns)
        if not self.marks:
            return _Keys([rows.head(0).select(pl.all(), pl.lit(0, pl.UInt32).alias(row_index)).collect()])
        found = self.marks.repeating(rows, self.columns, nulls_equal=self.nulls_equal)
        return _Keys([some.group_by(self.columns).agg(pl.len().alias(row_index)) for some in found])

    def merge(self, earlier: _Keys, later: _Keys) -> _Keys:
        earlier.counts += later.counts
        return earlier

    def work(self, state: _Keys) -> Iterator[None]:
        yield
        counts = pl.concat(state.counts)
        state.counts.clear()
        yield
        count = pl.col(counts.columns[-1])
        repeated = counts.group_by(self.columns).agg(count.sum()).filter(count > 1)
        state.repeated = repeated.select(repeated.columns[:-1])

    def finish(self, state: _Keys) -> pl.DataFrame | None:
        return state.repeated


@attrs.define(eq=False)
class Judge:
    """How one check judges rows: by an expression, or by the values that repeat."""

    check: Check
    condition: pl.Expr | None  #: the rows that the check is about; ``None``: all
    fails: pl.Expr | None
    keys: pl.DataFrame | None = None
    later: pl.Expr | None = None  #: as ``fails``, known once all rows were read

    @property
    def flag(self) -> pl.Expr | None:
        """An expression that tells of each row whether it fails; ``None`` if no expression can."""
        told = self.later if self.fails is None else self.fails
        if told is None:
            return None
        fails = told.fill_null(False)
        return fails if self.condition is None else fails & self.condition.fill_null(False)

    def among_keys(self, rows: pl.DataFrame) -> pl.Series:
        """Tell of each row whether it has one of the values that repeat."""
        assert self.keys is not None
        rule = self.check.rule
        assert isinstance(rule, Unique)
        about = rows if self.condition is None else rows.filter(self.condition)
        found = about.join(self.keys, on=self.keys.columns, how="semi", nulls_equal=rule.nulls_equal)[ROW]
        return rows[ROW].is_in(found.implode())
