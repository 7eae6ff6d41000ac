"""Cells of rows that are known by their numbers."""

from __future__ import annotations

__all__ = ("Wanted",)

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.validation.measuring import ROW, MorselResult
from sentrio.validation.sources.base import Morsel
from sentrio.validation.values import python_rows


@attrs.define(eq=False)
class Wanted:
    """Some rows of a source, and what was found in them so far."""

    rows: set[int]
    columns: Sequence[str]
    cells: dict[int, Mapping[str, Any]] = attrs.field(factory=dict)

    def look(self, morsel: Morsel) -> MorselResult:
        """Find the rows of one morsel; runs in a worker thread."""
        here = [row for row in self.rows if morsel.first_row <= row < morsel.first_row + morsel.rows]
        result = MorselResult(morsel.rows, [], {})
        if here:
            numbered = morsel.frame.lazy().select(self.columns).with_row_index(ROW, offset=morsel.first_row)
            found = numbered.filter(pl.col(ROW).is_in(here)).collect(engine="streaming")
            result.samples[""] = [
                (row[0], dict(zip(self.columns, row[1:], strict=True))) for row in python_rows(found)
            ]
        return result

    def take(self, morsel: Morsel, result: MorselResult) -> bool:
        """Keep what was found; return whether that is all."""
        self.cells.update(result.samples.get("", ()))
        return len(self.cells) == len(self.rows)
