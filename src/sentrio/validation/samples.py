"""Failing rows to be shown, taken from one morsel."""

from __future__ import annotations

__all__ = ("Row", "SampleOptions", "Wanted", "pick_samples", "take_samples")

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.validation.validators._base import Check
from sentrio.validation.values import python_cells, python_rows

Row = tuple[int, Mapping[str, Any]]


@attrs.frozen(kw_only=True)
class SampleOptions:
    """Which failing rows are shown, and how much of them."""

    most: int = 5  #: rows a check
    key_columns: tuple[str, ...] = ()
    redact_columns: tuple[str, ...] = ()

    @property
    def discreet(self) -> bool:
        """Whether some values must not be seen, so that messages say less."""
        return bool(self.redact_columns) or not self.most


@attrs.frozen(eq=False)
class Wanted:
    """A check with failing rows in a morsel."""

    check: Check
    fails: pl.Expr
    most: int  #: rows to take

    def cells(self, keys: Sequence[str]) -> dict[str, pl.Expr]:
        """Return what is shown of a row."""
        names = dict.fromkeys((*keys, *self.check.columns, *self.check.shown))
        return {name: self.check.shown.get(name, pl.col(name)) for name in names}


def pick_samples(
    wanted: Sequence[Wanted], frame: pl.DataFrame, first_row: int, options: SampleOptions
) -> dict[str, list[Row]]:
    """Return what :func:`take_samples` does, of a frame so small that most of a query is the query's own cost.

    :param first_row: the number of the frame's first row within the source
    """
    samples: dict[str, list[Row]] = {}
    numbers = pl.int_range(first_row, first_row + frame.height, eager=True)
    for each in wanted:
        fails = frame.select(each.fails).to_series()
        cells = each.cells(options.key_columns)
        columns = (
            frame.select(cell).to_series() if name in each.check.shown else frame.get_column(name)
            for name, cell in cells.items()
        )
        # What a series does by itself is no query: that would cost more than it finds.
        shown = [python_cells(series.filter(fails).head(each.most)) for series in (numbers, *columns)]
        samples[each.check.id] = [
            (row, dict(zip(cells, values, strict=True))) for row, *values in zip(*shown, strict=True)
        ]
    return samples


def take_samples(
    wanted: Sequence[Wanted], rows: pl.LazyFrame, row_index: str, options: SampleOptions
) -> dict[str, list[Row]]:
    """Return the first failing rows of each check: their numbers, and the cells of the columns to be shown.

    :param rows: the morsel, whose column ``row_index`` numbers the rows of the source
    """
    if len(wanted) == 1:  # which may end as soon as there are enough
        cells = wanted[0].cells(options.key_columns)
        shown = [cell.alias(f"c{number}") for number, cell in enumerate(cells.values())]
        found = rows.filter(wanted[0].fails).head(wanted[0].most).select(row_index, *shown)
        return {wanted[0].check.id: _rows(found.collect(engine="streaming"), list(cells))}
    masks = [each.fails.fill_null(False).alias(f"f{number}") for number, each in enumerate(wanted)]
    columns: list[pl.Expr] = []
    places: dict[str, int] = {}  # where the cells of a column stand that is shown as it is
    shown_in: list[dict[str, int]] = []
    for each in wanted:
        mine: dict[str, int] = {}
        for name, cell in each.cells(options.key_columns).items():
            own = name in each.check.shown
            if own or name not in places:
                columns.append(cell.alias(f"c{len(columns)}"))
                mine[name] = len(columns) - 1
                if not own:
                    places[name] = mine[name]
            else:
                mine[name] = places[name]
        shown_in.append(mine)
    # One query for all of them reads each column once.
    failing = rows.select(row_index, *masks, *columns).filter(pl.any_horizontal(f"f{i}" for i in range(len(masks))))
    table = failing.collect(engine="streaming")
    return {
        each.check.id: _rows(
            table.filter(table[f"f{number}"]).head(each.most).select(row_index, *(f"c{i}" for i in mine.values())),
            list(mine),
        )
        for number, (each, mine) in enumerate(zip(wanted, shown_in, strict=True))
    }


def _rows(found: pl.DataFrame, names: list[str]) -> list[Row]:
    return [(row[0], dict(zip(names, row[1:], strict=True))) for row in python_rows(found)]
