"""Repeated values, exact and in bounded memory.

First pass: 64-bit hashes of the values, in sorted runs that are compared part by part. Equal values have equal
hashes, so without an equal pair there is no repeat and nothing else to do. Otherwise a second pass takes the rows
with such hashes and compares them by value, so that a collision of hashes never counts as a repeat. What a pass
takes is kept in the order of the hashes, past a bound in a temporary file, and compared part by part.
"""

from __future__ import annotations

__all__ = ("Hashes", "Marks", "Repeats", "Verify", "hashed", "present")

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio.validation.external import HashedRows, Piece
from sentrio.validation.metrics import Metric, ScanMetric
from sentrio.validation.values import python_rows

# A mark takes a bit. With more of them than values few rows are let through by mistake; the most take 32 MB.
_MARKS_PER_VALUE = 2
_LEAST_MARKS, _MOST_MARKS = 2**16, 2**28
# Hashes that are sorted together: more of them take memory for a copy, fewer make many small writes.
_RUN = 2**18
# For a moment there are several copies of a hash. Of numbers, half a million rows are few enough.
_WORKING_BYTES = 56
# Repeating rows that can be shown.
_SHOWN_ROWS = 64
# Rows that may repeat are worked on in steps of this size, since for a moment there are several copies.
_WORKED_BYTES = 2 * 2**20

_HASH = "__sentrio_hash__"
_COUNT = "__sentrio_count__"
_FIRST = "__sentrio_first__"
_ROW = "__sentrio_number__"


def hashed(nw: Any, columns: Sequence[str]) -> Any:
    """Return the hashes of what is compared: a column, or several together."""
    first, *others = columns
    found = nw.col(first).hash()
    for name in others:
        # In a third of the time that the hash of a struct takes, and of its memory.
        found = (found ^ nw.col(name).hash(seed=1)).hash(seed=2)
    return found


def present(nw: Any, columns: Sequence[str]) -> Any:
    """Return which rows have no null in any of the columns."""
    found = nw.col(columns[0]).is_not_null()
    for name in columns[1:]:
        found = found & nw.col(name).is_not_null()
    return found


@attrs.frozen
class Marks:
    """Which values may repeat: those whose hash has leading bits at which there is a mark."""

    bits: pl.Series = attrs.field(eq=attrs.cmp_using(eq=pl.Series.equals), repr=False)
    rows: int  #: that have a repeated hash

    def __bool__(self) -> bool:
        """Tell whether any value may repeat."""
        return self.rows > 0

    def among(self, hashes: pl.Series) -> pl.Series:
        """Tell of each hash whether its value may repeat."""
        found: pl.Series = self.bits.gather(_places(hashes, len(self.bits)))
        return found

    def repeating(self, frame: pl.LazyFrame, columns: Sequence[str], *, nulls_equal: bool) -> Iterator[pl.DataFrame]:
        """Return the rows whose values may repeat, with their hashes, some at a time; all that do repeat are in."""
        rows = frame if nulls_equal else frame.filter(present(pl, columns))
        whole = rows.with_columns(hashed(pl, columns).alias(_HASH)).collect(engine="streaming")
        height = max(1, int(_WORKED_BYTES / max(whole.estimated_size(), 1) * whole.height))
        for start in range(0, max(whole.height, 1), height):
            some = whole[start : start + height]
            yield some.filter(self.among(some[_HASH]))


def _places(hashes: pl.Series, marks: int) -> pl.Series:
    """Return the places of the marks of hashes, among so many marks, which are a power of two."""
    return (hashes // (2**64 // marks)).cast(pl.UInt32)


@attrs.define(eq=False)
class _Runs:
    """Sorted runs of hashes; once compared, marks of the repeated ones."""

    runs: list[Piece] = attrs.field(factory=list)
    values: int = 0  #: in the runs
    dropped: int = 0  #: more values, whose hashes are in the runs twice
    marks: Marks | None = None


@attrs.frozen
class Hashes(Metric):
    """Marks of the values that may occur more than once."""

    working_bytes: ClassVar[int] = _WORKING_BYTES

    columns: tuple[str, ...]
    nulls_equal: bool
    kept: HashedRows | None = attrs.field(default=None, eq=False, repr=False)  #: in a run

    def begin(self, rows: int | None) -> Hashes:
        """Return one that keeps hashes."""
        # Memory would do for them where nothing can be written: it is the values that are large.
        return attrs.evolve(self, kept=HashedRows(_HASH, rows, needs_file=False))

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the hashes, as one list."""
        hashes = hashed(nw, self.columns)
        if not self.nulls_equal:
            hashes = hashes.filter(present(nw, self.columns))
        return (hashes.implode(),)

    def state(self, values: Sequence[Any]) -> _Runs:
        """Return the run of one morsel."""
        state = _Runs()
        for start in range(0, max(len(values[0]), 1), _RUN):
            if self.kept is not None and self.kept.closed:
                break
            # Sorted here, since an expression sorts in all threads of Polars, which takes twice the time in sum.
            run: pl.Series = values[0][start : start + _RUN].sort(multithreaded=False)
            height = len(run)
            third = run[2:] == run[:-2]
            if third.any():  # two rows with one hash tell as much as a thousand
                run = pl.concat([run[:2], run[2:].filter(~third)], rechunk=True)
            frame = run.to_frame(_HASH)
            state.runs.append(Piece(frame) if self.kept is None else self.kept.add(frame))
            state.values += len(run)
            state.dropped += height - len(run)
        return state

    def merge(self, earlier: _Runs, later: _Runs) -> _Runs:
        """Keep both."""
        earlier.runs += later.runs
        earlier.values += later.values
        earlier.dropped += later.dropped
        return earlier

    def work(self, state: _Runs) -> Iterator[None]:
        """Compare all hashes, one part of their range after another."""
        kept = self.kept or HashedRows(_HASH, state.values)  # outside of a run all runs are in memory
        yield
        count = kept.count
        wide = max(_LEAST_MARKS, min(_MOST_MARKS, 2 ** (state.values * _MARKS_PER_VALUE - 1).bit_length()), 2 * count)
        each = wide // count
        unmarked = pl.repeat(False, each, dtype=pl.Boolean, eager=True)
        rows, marks = 0, []
        for part in kept.parts(state.runs):
            if part is not None:
                found, more = _repeated(part[_HASH]) if part.height else (None, 0)
                rows += more
                marks.append(unmarked)  # one for all
                if found is not None and more:
                    places = _places(found, wide) - (len(marks) - 1) * each
                    marks[-1] = pl.repeat(False, each, dtype=pl.Boolean, eager=True).scatter(places, True)
                del found
            del part  # the next one is read before this name stands for it
            yield
        state.runs.clear()
        kept.close()
        kept.free()
        yield
        bits = pl.concat(marks, rechunk=True) if rows else unmarked
        state.marks = Marks(bits, rows + state.dropped)

    def finish(self, state: _Runs) -> Marks | None:
        """Return the marks, ``None`` while there are none yet."""
        return state.marks

    def close(self) -> None:
        """Take the name of the temporary file away."""
        if self.kept is not None:
            self.kept.close()

    @property
    def needs_free(self) -> bool:
        """Whether there is a file."""
        return self.kept is not None and self.kept.needs_free

    def free(self) -> None:
        """Give the room of the file back."""
        if self.kept is not None:
            self.kept.free()


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

    working_bytes: ClassVar[int] = _WORKING_BYTES

    def __init__(self, columns: tuple[str, ...], nulls_equal: bool, marks: Marks) -> None:
        self._columns, self._nulls_equal, self._marks = columns, nulls_equal, marks
        self._rows = HashedRows(_HASH, marks.rows)

    def scan(self, frame: pl.LazyFrame, row_index: str) -> _Found:
        """Return rows of one morsel, each with a count: how many rows it stands for, itself included."""
        rows = frame.select(pl.col(row_index).alias(_ROW), *self._columns)
        state = _Found([])
        for found in self._marks.repeating(rows, self._columns, nulls_equal=self._nulls_equal):
            if self._rows.closed:
                break
            counted = self._counted(found)
            del found
            state.pieces.append(self._rows.add(counted))
        return state

    def _counted(self, found: pl.DataFrame) -> pl.DataFrame:
        """Return rows in the order of their hashes, with counts."""
        found = found.sort(_HASH, multithreaded=False)  # as the hashes alone
        found = found.with_columns(pl.lit(1, pl.UInt32).alias(_COUNT))
        again = _again(found[_HASH])
        if not again.any():
            return found
        several = again | again.shift(-1, fill_value=False)
        found = pl.concat([found.filter(~several), self._folded(found.filter(several))])
        return found.sort(_HASH, multithreaded=False)

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
            if part is None or not part.height:
                continue
            repeated = self._repeated(part)
            del part  # the next one is read before this name stands for it
            failed += int(repeated[_COUNT].cast(pl.UInt64).sum())
            shown = repeated.bottom_k(_SHOWN_ROWS, by=_ROW).select(_ROW, *self._columns)
            del repeated
            rows = [*first, *((row[0], tuple(row[1:])) for row in python_rows(shown))]
            first = heapq.nsmallest(_SHOWN_ROWS, rows, key=lambda row: row[0])
            yield
        state.repeats = Repeats(failed, first)
        state.pieces.clear()
        self.close()
        self.free()

    def _repeated(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return those of some rows, sorted by hash, whose values occur more than once."""
        again = _again(rows[_HASH])
        several = again | again.shift(-1, fill_value=False) | (rows[_COUNT] > 1)
        if not several.any():
            return rows.clear()
        if not several.all():
            rows, again = rows.filter(several), again.filter(several)
        unlike = [pl.col(name).ne_missing(pl.col(name).shift(1)) for name in self._columns]
        collides = rows.select((pl.any_horizontal(unlike) & pl.lit(again)).any()).item()
        return rows.filter(pl.col(_COUNT).sum().over(self._columns) > 1) if collides else rows

    def finish(self, state: _Found) -> Repeats:
        """Return what was found."""
        return state.repeats

    def close(self) -> None:
        """Take the name of the temporary file away."""
        self._rows.close()

    @property
    def needs_free(self) -> bool:
        """Whether there is a file."""
        return self._rows.needs_free

    def free(self) -> None:
        """Give the room of the file back."""
        self._rows.free()
