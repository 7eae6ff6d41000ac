"""Repeated values, exact and in bounded memory.

First pass: 64-bit hashes of the values, 8 bytes a row, in sorted runs that are compared part by part. Equal values
have equal hashes, so without an equal pair there is no repeat and nothing else to do. Otherwise a second pass
takes the rows with such hashes and compares them by value, so that a collision of hashes never counts as a repeat.
What it takes is kept in the order of the hashes, past a bound in a temporary file, and compared part by part.
"""

from __future__ import annotations

__all__ = ("Hashes", "Marks", "Repeats", "Verify", "hashed", "present")

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.validation.external import HashedRows, Piece, cuts
from sentrio.validation.metrics import Metric, ScanMetric

# Hashes that are compared in one step.
_COMPARED = 500_000
# Runs of hashes that are cut in one step.
_RUNS_CUT = 64
# A mark takes a bit. With more of them than values few rows are let through by mistake; the most take 32 MB.
_MARKS_PER_VALUE = 8
_LEAST_MARKS, _MOST_MARKS = 2**16, 2**28
# Repeating rows that can be shown.
_SHOWN_ROWS = 64

_HASH = "__sentrio_hash__"
_COUNT = "__sentrio_count__"
_FIRST = "__sentrio_first__"
_ROW = "__sentrio_number__"


def _key(nw: Any, columns: Sequence[str]) -> Any:
    """Return what is compared: a column, or several together."""
    return nw.col(columns[0]) if len(columns) == 1 else nw.struct(*columns)


def hashed(nw: Any, columns: Sequence[str]) -> Any:
    """Return the hashes of what is compared."""
    return _key(nw, columns).hash()


def present(nw: Any, columns: Sequence[str]) -> Any:
    """Return which rows have no null in any of the columns."""
    found = nw.col(columns[0]).is_not_null()
    for name in columns[1:]:
        found = found & nw.col(name).is_not_null()
    return found


@attrs.frozen
class Marks:
    """Which values may repeat: those whose hash has low bits at which there is a mark."""

    bits: pl.Series = attrs.field(eq=attrs.cmp_using(eq=pl.Series.equals), repr=False)
    rows: int  #: that have a repeated hash

    def __bool__(self) -> bool:
        """Tell whether any value may repeat."""
        return self.rows > 0

    def among(self, hashes: pl.Series) -> pl.Series:
        """Tell of each hash whether its value may repeat."""
        found: pl.Series = self.bits.gather((hashes % len(self.bits)).cast(pl.UInt32))
        return found

    def repeating(self, frame: pl.LazyFrame, columns: Sequence[str], *, nulls_equal: bool) -> pl.DataFrame:
        """Return the rows whose values may repeat, with their hashes; all that do repeat are among them."""
        rows = frame if nulls_equal else frame.filter(present(pl, columns))
        whole = rows.with_columns(hashed(pl, columns).alias(_HASH)).collect(engine="streaming")
        return whole.filter(self.among(whole[_HASH]))


@attrs.define(eq=False)
class _Runs:
    """Sorted runs of hashes, one for each morsel; once compared, marks of the repeated ones."""

    runs: list[pl.Series]
    marks: Marks | None = None


@attrs.frozen
class Hashes(Metric):
    """Marks of the values that may occur more than once."""

    columns: tuple[str, ...]
    nulls_equal: bool

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the sorted hashes, as one list."""
        hashes = hashed(nw, self.columns)
        if not self.nulls_equal:
            hashes = hashes.filter(present(nw, self.columns))
        return (hashes.sort().implode(),)

    def state(self, values: Sequence[Any]) -> _Runs:
        """Return the run of one morsel."""
        return _Runs([values[0]])

    def merge(self, earlier: _Runs, later: _Runs) -> _Runs:
        """Keep both."""
        earlier.runs += later.runs
        return earlier

    def work(self, state: _Runs) -> Iterator[None]:
        """Compare all hashes, one part of their range after another."""
        values = sum(map(len, state.runs))
        parts = -(-values // _COMPARED) or 1
        bounds = []
        for number, run in enumerate(state.runs):
            if number % _RUNS_CUT == 0:
                yield
            bounds.append(cuts(run, parts))
        wide = max(_LEAST_MARKS, min(_MOST_MARKS, 2 ** (values * _MARKS_PER_VALUE - 1).bit_length()))
        rows, repeated = 0, [pl.Series([], dtype=pl.UInt32)]
        for part in range(parts):
            slices = [run[cut[part] : cut[part + 1]] for run, cut in zip(state.runs, bounds, strict=True)]
            found, more = _repeated(pl.concat(slices).sort())
            repeated.append((found % wide).cast(pl.UInt32))
            rows += more
            yield
        state.runs.clear()
        del slices, found
        bits = pl.repeat(False, wide if rows else 1, dtype=pl.Boolean, eager=True)
        while repeated:  # each of them is given back as soon as it is marked
            yield
            bits = bits.scatter(repeated.pop(), True)
        state.marks = Marks(bits, rows)

    def finish(self, state: _Runs) -> Marks | None:
        """Return the marks, ``None`` while there are none yet."""
        return state.marks


def _again(hashes: pl.Series) -> pl.Series:
    """Tell of each of some sorted hashes whether it is like the one before."""
    return (hashes == hashes.shift(1)).fill_null(False)


def _repeated(hashes: pl.Series) -> tuple[pl.Series, int]:
    """Return which of some sorted hashes occur more than once, and how many rows have one of them."""
    again = _again(hashes)
    last = again & ~again.shift(-1, fill_value=False)
    found = hashes.filter(last)
    return found, int(again.sum()) + len(found)


@attrs.frozen
class Repeats:
    """What was found out about the values that may repeat."""

    failed: int  #: rows that share their value with another one
    rows: list[tuple[int, tuple[Any, ...]]]  #: the first of them, with their values


@attrs.define(eq=False)
class _Found:
    pieces: list[Piece]
    repeats: Repeats = attrs.field(factory=lambda: Repeats(0, []))


class Verify(ScanMetric):
    """The values that may repeat, compared by the values themselves.

    A row let through by mistake has a value that is counted once and dropped.
    """

    def __init__(self, columns: tuple[str, ...], nulls_equal: bool, marks: Marks) -> None:
        self._columns, self._nulls_equal, self._marks = columns, nulls_equal, marks
        self._rows = HashedRows(_HASH, marks.rows)

    def scan(self, frame: pl.LazyFrame, row_index: str) -> _Found:
        """Return rows of one morsel, each with a count: how many rows it stands for, itself included."""
        rows = frame.select(pl.col(row_index).alias(_ROW), *self._columns)
        found = self._marks.repeating(rows, self._columns, nulls_equal=self._nulls_equal).sort(_HASH)
        found = found.with_columns(pl.lit(1, pl.UInt32).alias(_COUNT))
        again = _again(found[_HASH])
        if again.any():
            several = again | again.shift(-1, fill_value=False)
            found = pl.concat([found.filter(~several), self._folded(found.filter(several))]).sort(_HASH)
        return _Found([self._rows.add(found)])

    def _folded(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the first rows of each value; the first one stands for all that follow."""
        values = rows.group_by(self._columns).agg(
            pl.col(_ROW).sort().head(_SHOWN_ROWS), pl.col(_HASH).first(), pl.len().alias(_COUNT)
        )
        first = values.with_columns(pl.col(_ROW).list.first().alias(_FIRST)).explode(_ROW)
        return first.select(
            *(_ROW, *self._columns, _HASH),
            pl.when(pl.col(_ROW) == pl.col(_FIRST)).then(_COUNT).otherwise(0).cast(pl.UInt32).alias(_COUNT),
        )

    def merge(self, earlier: _Found, later: _Found) -> _Found:
        """Keep both."""
        earlier.pieces += later.pieces
        return earlier

    def work(self, state: _Found) -> Iterator[None]:
        """Compare all rows, one part of the range of their hashes after another."""
        yield
        failed, first = 0, state.repeats.rows
        for part in self._rows.parts(state.pieces):
            yield
            if not part.height:
                continue
            repeated = self._repeated(part)
            del part  # the next one is read before this name stands for it
            failed += int(repeated[_COUNT].cast(pl.UInt64).sum())
            shown = repeated.bottom_k(_SHOWN_ROWS, by=_ROW).select(_ROW, *self._columns)
            rows = [*first, *((row[0], tuple(row[1:])) for row in shown.iter_rows())]
            first = heapq.nsmallest(_SHOWN_ROWS, rows, key=lambda row: row[0])
            yield
        state.repeats = Repeats(failed, first)
        state.pieces.clear()
        self.close()

    def _repeated(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return those of some rows, sorted by hash, whose values occur more than once."""
        again = _again(rows[_HASH])
        several = again | again.shift(-1, fill_value=False) | (rows[_COUNT] > 1)
        if not several.any():
            return rows.clear()
        found = rows.filter(several)
        unlike = [pl.col(name).ne_missing(pl.col(name).shift(1)) for name in self._columns]
        collides = found.select((pl.any_horizontal(unlike) & pl.lit(again.filter(several))).any()).item()
        return found.filter(pl.col(_COUNT).sum().over(self._columns) > 1) if collides else found

    def finish(self, state: _Found) -> Repeats:
        """Return what was found."""
        return state.repeats

    def close(self) -> None:
        """Remove the temporary file."""
        self._rows.close()
