"""How often each value of a column occurs, for columns with few different ones."""

from __future__ import annotations

__all__ = ("MOST_CATEGORIES", "Categories")

from collections.abc import Mapping

import attrs
import polars as pl

from sentrio.validation.metrics import ScanMetric

# A column with more different values than this holds no categories, and counting them would take memory without end.
MOST_CATEGORIES = 10_000

_LABEL = "__sentrio_label__"


@attrs.frozen
class Categories(ScanMetric):
    """The count of each value that is not null, by its text; ``None`` if there are more than 10,000 of them."""

    column: str

    def scan(self, frame: pl.LazyFrame, row_index: str) -> Mapping[str, int] | None:
        """Count the values of one morsel."""
        label = pl.col(self.column).cast(pl.String).alias(_LABEL)
        found = frame.select(label).drop_nulls().group_by(_LABEL).len().collect(engine="streaming")
        return dict(found.iter_rows()) if found.height <= MOST_CATEGORIES else None

    def merge(self, earlier: Mapping[str, int] | None, later: Mapping[str, int] | None) -> Mapping[str, int] | None:
        """Add up."""
        if earlier is None or later is None:
            return None
        merged = dict(earlier)
        for label, count in later.items():
            merged[label] = merged.get(label, 0) + count
        return merged if len(merged) <= MOST_CATEGORIES else None
