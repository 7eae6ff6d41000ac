"""Failing rows to be shown, taken from one morsel."""

from __future__ import annotations

__all__ = ("Failing", "SampleOptions", "sample_numbered", "take_samples")

from collections.abc import Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.validation.validators._base import Check

# Up to so many rows, a query costs more for itself than for its rows.
_SMALL_FRAME = 10_000

Row = tuple[int, dict[str, Any]]


@attrs.frozen(kw_only=True)
class SampleOptions:
    """Which failing rows are shown, and how much of them."""

    most: int = 5  #: rows a check
    key_columns: tuple[str, ...] = ()
    redact_columns: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class Failing:
    """A check with failing rows in a morsel."""

    check: Check
    fails: pl.Expr
    most: int  #: rows to take

    def cells(self, keys: Sequence[str]) -> dict[str, pl.Expr]:
        """Return what is shown of a row."""
        names = dict.fromkeys((*keys, *self.check.columns, *self.check.shown))
        return {name: self.check.shown.get(name, pl.col(name)) for name in names}


def take_samples(
    wanted: Sequence[Failing],
    frame: pl.DataFrame | pl.LazyFrame,
    first_row: int,
    row_index: str,
    options: SampleOptions,
) -> dict[str, list[Row]]:
    """Return the first failing rows of each check: their numbers, and the cells of the columns to be shown.

    :param first_row: number of the first row of the morsel within the source
    :param row_index: a name that no column has
    """
    if (
        isinstance(frame, pl.DataFrame)
        and frame.height < _SMALL_FRAME
        and not any(each.check.shown for each in wanted)
    ):
        return {each.check.id: _picked(each, frame, first_row, options) for each in wanted}
    return sample_numbered(wanted, frame.lazy().with_row_index(row_index, offset=first_row), row_index, options)


def _picked(wanted: Failing, frame: pl.DataFrame, first_row: int, options: SampleOptions) -> list[Row]:
    # A fifth of the time that a query takes, most of which is the query's own.
    places = frame.select(wanted.fails).to_series().arg_true().head(wanted.most)
    names = list(wanted.cells(options.key_columns))
    columns = [frame.get_column(name).gather(places).to_list() for name in names]
    numbers = [first_row + place for place in places.to_list()]
    return [(row, dict(zip(names, values, strict=True))) for row, *values in zip(numbers, *columns, strict=True)]


def sample_numbered(
    wanted: Sequence[Failing], rows: pl.LazyFrame, row_index: str, options: SampleOptions
) -> dict[str, list[Row]]:
    """Do the same for rows that are numbered by a column."""
    if not wanted:
        return {}
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
    return [(row[0], dict(zip(names, row[1:], strict=True))) for row in found.iter_rows()]
