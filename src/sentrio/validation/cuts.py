"""Cuts of their own: checks that a filter counts, in slices that reach beyond one morsel.

Polars asks a filter only of the dictionary of a column, and of the statistics of its row groups, not of each row.
So where nothing fails, one filter answers for many morsels in the time that it takes to be set up.
"""

from __future__ import annotations

__all__ = ("Cut", "Learnt", "filtered")

import time

import attrs
import polars as pl

from sentrio.validation.facts import Known
from sentrio.validation.metrics import Metric

# A slice grows by this factor while it answers within the time, which is about that of a morsel.
_GROWTH = 4
_QUICK_SECONDS = 0.03


@attrs.define(eq=False)
class Cut:
    """Where one condition is known to be true for no row, and how many rows to look at next.

    Several threads share one. What one of them overwrites is looked at again, nothing worse.
    """

    clear: tuple[int, int] = (0, 0)
    rows: int = 0


@attrs.define(eq=False)
class Learnt:
    """What one pass has found out from some morsels that is of use for others; shared by threads."""

    cuts: dict[Metric, Cut] = attrs.field(factory=dict)  #: by identity: no two of these metrics are equal
    full: dict[str, int] = attrs.field(factory=dict)  #: checks, and the morsel that has enough failing rows to show

    def cut(self, metric: Metric) -> Cut:
        """Return the cut of a metric."""
        return self.cuts.setdefault(metric, Cut())

    def want(self, check_id: str, first_row: int, enough: bool) -> bool:
        """Tell whether failing rows of a morsel are wanted: no morsel before it has enough of them.

        :param enough: whether this one has
        """
        before = self.full.get(check_id, first_row)
        if before < first_row:
            return False
        if enough:
            self.full[check_id] = first_row
        return True


def filtered(condition: pl.Expr, frame: pl.DataFrame | pl.LazyFrame, known: Known, cut: Cut) -> int:
    """Return the number of rows of a morsel for which a condition is true."""
    begin, end = known.first_row, known.first_row + known.rows
    clear = cut.clear
    if clear[0] <= begin and end <= clear[1]:
        return 0
    part, rows = frame.lazy(), known.rows
    if cut.rows > rows and known.ahead is not None:
        part, rows = known.ahead(cut.rows)
    started = time.perf_counter()
    found = _count(condition, part)
    seconds = time.perf_counter() - started
    if not found:
        cut.clear = begin, begin + rows
        cut.rows = int(rows * min(_GROWTH, _QUICK_SECONDS / max(seconds, 1e-6)))
        return 0
    cut.rows = 0
    return found if rows == known.rows else _count(condition, frame.lazy())


def _count(condition: pl.Expr, frame: pl.LazyFrame) -> int:
    found: int = frame.filter(condition).select(pl.len()).collect(engine="streaming").item()
    return found
