"""Rules about repeated values, exact and in bounded memory.

First pass: 64-bit hashes of the values, 8 bytes a row, in sorted runs that are compared partition by
partition. Equal values have equal hashes, so without an equal pair there is no repeat and nothing else to do.
Otherwise the rows with such hashes are read again and compared by value, so that a collision of hashes never
counts as a repeat.
"""

from __future__ import annotations

__all__ = ("Unique", "UniqueRows")

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation.metrics import Count, Metric, Present, ScanMetric
from sentrio.validation.types import is_pattern
from sentrio.validation.validators._base import Check, Schema, Tolerant, Values

# Hashes are compared in this many partitions, each of them one short query.
_PARTITIONS = 64
# Below this many rows one partition is quick enough.
_ONE_PARTITION = 500_000
# Repeats that are verified in one pass; more take further passes, so that memory stays bounded.
_VERIFIED_AT_ONCE = 1_000_000
# Low bits of a hash that tell whether it is to be verified: 2 MB, and few rows let through by mistake.
_MARK_BITS = 24
# Rows kept as candidates for the sample. A candidate may turn out to be a collision, hence some to spare.
_CANDIDATE_ROWS = 64


def _key(nw: Any, columns: Sequence[str]) -> Any:
    return nw.col(columns[0]) if len(columns) == 1 else nw.struct(*columns)


_HASH = "__sentrio_hash__"


def _mark(hashes: pl.Series) -> pl.Series:
    """Return the low bits, as positions."""
    positions: pl.Series = (hashes % 2**_MARK_BITS).cast(pl.UInt32)
    return positions


def _present(nw: Any, columns: Sequence[str]) -> Any:
    present = nw.col(columns[0]).is_not_null()
    for name in columns[1:]:
        present = present & nw.col(name).is_not_null()
    return present


@attrs.frozen
class _Hashes(Metric):
    """The hashes that occur more than once, as a sorted series."""

    columns: tuple[str, ...]
    nulls_equal: bool

    def expressions(self, nw: Any) -> Sequence[Any]:
        hashes = _key(nw, self.columns).hash()
        if not self.nulls_equal:
            hashes = hashes.filter(_present(nw, self.columns))
        return (hashes.sort().implode(),)

    def state(self, values: Sequence[Any]) -> _Runs:
        return _Runs([values[0]])

    def merge(self, earlier: _Runs, later: _Runs) -> _Runs:
        earlier.runs += later.runs
        return earlier

    def work(self, state: _Runs) -> Iterator[None]:
        rows = sum(map(len, state.runs))
        parts = 1 if rows < _ONE_PARTITION else _PARTITIONS
        width = 2**64 // parts
        edges = [pl.Series([part * width], dtype=pl.UInt64) for part in range(1, parts)]
        cuts = [[0, *(int(run.search_sorted(edge)[0]) for edge in edges), len(run)] for run in state.runs]
        yield
        repeated = [pl.Series([], dtype=pl.UInt64)]
        for part in range(parts):
            slices = [run[cut[part] : cut[part + 1]] for run, cut in zip(state.runs, cuts, strict=True)]
            hashes = pl.concat(slices).sort()
            repeated.append(hashes.filter((hashes == hashes.shift(1)).fill_null(False)).unique().sort())
            yield
        state.repeated = pl.concat(repeated)
        state.runs.clear()

    def finish(self, state: _Runs) -> pl.Series | None:
        return state.repeated


@attrs.define(eq=False)
class _Runs:
    """Sorted runs of hashes, one for each morsel; once compared, the repeated ones."""

    runs: list[pl.Series]
    repeated: pl.Series | None = None


@attrs.define(eq=False)
class _Found:
    """Values that may repeat, with their counts, and the first rows that hold one."""

    counts: list[pl.DataFrame]
    rows: list[tuple[int, tuple[Any, ...]]]


@attrs.define(eq=False)
class Repeats:
    """What the second pass found out about some of the repeated hashes, and which are left to verify."""

    left: pl.Series
    failed: int = 0
    rows: list[tuple[int, tuple[Any, ...]]] = attrs.field(factory=list)


@attrs.frozen(eq=False)
class _Verify(ScanMetric):
    """Count the values behind repeated hashes by the values themselves.

    ``marks`` is true at the low bits of each of these hashes: one look tells whether a row may hold one. A row
    let through by mistake has a value that is counted once and dropped.
    """

    columns: tuple[str, ...]
    nulls_equal: bool
    marks: pl.Series
    before: Repeats

    def scan(self, frame: pl.LazyFrame, row_index: str) -> _Found:
        rows = frame.select(row_index, *self.columns)
        if not self.nulls_equal:
            rows = rows.filter(_present(pl, self.columns))
        whole = rows.with_columns(_key(pl, self.columns).hash().alias(_HASH)).collect(engine="streaming")
        found = whole.filter(self.marks.gather(_mark(whole[_HASH]))).drop(_HASH)
        counts = found.group_by(self.columns).agg(pl.len().alias(row_index))
        first = found.head(_CANDIDATE_ROWS)
        return _Found([counts], [(row[0], tuple(row[1:])) for row in first.iter_rows()])

    def merge(self, earlier: _Found, later: _Found) -> _Found:
        earlier.counts += later.counts
        if len(earlier.rows) < _CANDIDATE_ROWS:
            earlier.rows += later.rows[: _CANDIDATE_ROWS - len(earlier.rows)]
        return earlier

    def work(self, state: _Found) -> Iterator[None]:
        counts = pl.concat(state.counts)
        index = counts.columns[-1]
        yield
        counts = counts.group_by(self.columns).agg(pl.col(index).sum()).filter(pl.col(index) > 1)
        yield
        self.before.failed += int(counts[index].sum())
        if state.rows:
            schema = {name: counts.schema[name] for name in self.columns}
            candidates = pl.DataFrame(
                [values for _, values in state.rows], schema=schema, orient="row"
            ).with_row_index(index)
            kept = candidates.join(counts.drop(index), on=list(self.columns), how="semi", nulls_equal=True)
            self.before.rows += [state.rows[position] for position in kept[index].sort()]
            self.before.rows[:] = heapq.nsmallest(_CANDIDATE_ROWS, self.before.rows, key=lambda row: row[0])
        state.counts.clear()

    def finish(self, state: _Found) -> Repeats:
        return self.before


@attrs.define(kw_only=True)
class Unique(Tolerant):
    """No value occurs twice; with ``columns``, no combination of values does.

    Every row that shares its value with another one counts as failed. Rows with a null are passed over.

    :param nulls_equal: compare nulls as well: they are all the same value
    """

    validator_name: ClassVar[str] = "unique"
    untyped_values: ClassVar[tuple[str, ...]] = ("hashes",)
    needs_all_rows: ClassVar[bool] = True

    nulls_equal: bool = attrs.field(default=False, validator=options.flag())

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return one check of the combination, or one for each column."""
        if self.columns is None:
            return super().bind(schema)
        return [self._combination(self.columns, schema)]

    def _combination(self, columns: tuple[str, ...], schema: Schema) -> Check:
        problems = (self.column_problem(name, schema) for name in columns)
        if problem := next(filter(None, problems), None):
            return self.unmatched(problem, columns)
        return self._check(columns)

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        return self._check((name,))

    def _check(self, columns: tuple[str, ...]) -> Check:
        evaluated: Metric = Count()
        if not self.nulls_equal:
            evaluated = (
                Count(columns[0])
                if len(columns) == 1
                else Present(pl.when(_present(pl, columns)).then(True))  # null where a part is null
            )
        metrics = {
            "rows": Count(),
            "evaluated": evaluated,
            "hashes": _Hashes(columns, self.nulls_equal),
        }
        return Check(rule=self, columns=columns, metrics=metrics)

    def follow_up(self, check: Check, values: Values) -> Mapping[str, Metric] | None:
        """Verify the repeated hashes against the values, as many in one pass as memory allows."""
        repeats: Repeats | None = values.get("repeats")
        if repeats is None:
            hashes = values["hashes"]
            repeats = Repeats(pl.Series([], dtype=pl.UInt64) if hashes is None else hashes)
        if repeats.left.is_empty():
            return None
        hashes, left = repeats.left[:_VERIFIED_AT_ONCE], repeats.left[_VERIFIED_AT_ONCE:]
        before = Repeats(left, repeats.failed, list(repeats.rows))
        marks = pl.repeat(False, 2**_MARK_BITS, eager=True).scatter(_mark(hashes), True)
        return {"repeats": _Verify(_compared(check), self.nulls_equal, marks, before)}

    def judge(self, check: Check, values: Values) -> Any:
        """Compare the number of rows that repeat with what is tolerated."""
        repeats: Repeats | None = values.get("repeats")
        return super().judge(check, {**values, "failed": repeats.failed if repeats else 0})

    def certain(self, check: Check, values: Values) -> bool:
        """Tell nothing early: hashes are compared once all are there."""
        return False

    def sample(self, check: Check, values: Values) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Return the first rows that share their value with another."""
        repeats: Repeats | None = values.get("repeats")
        for row, cells in repeats.rows if repeats else ():
            yield row, dict(zip(_compared(check), cells, strict=True))

    @property
    def requirement(self) -> str:
        """No value twice."""
        return "no value twice"


def _compared(check: Check) -> tuple[str, ...]:
    """Return the columns whose values are compared, which reports do not name if they are all there are."""
    hashes = check.metrics["hashes"]
    assert isinstance(hashes, _Hashes)
    return hashes.columns


@attrs.define(kw_only=True)
class UniqueRows(Unique):
    """No whole row occurs twice; with ``column`` or ``columns``, no row is like another in these.

    Every row that is like another one counts as failed.

    :param nulls_equal: compare nulls as well: they are all the same value; without, a row with a null is passed over
    """

    validator_name: ClassVar[str] = "unique_rows"
    aliases: ClassVar[tuple[str, ...]] = ("duplicate",)

    nulls_equal: bool = attrs.field(default=True, validator=options.flag())

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return the one check of the rows."""
        if self.column is not None or self.columns is not None:
            return [self._combination(self.columns or (self.column or "",), schema)]
        if not schema:
            return [self.unmatched("the table has no columns")]
        check = self._check(tuple(schema))
        check.columns = tuple(filter(is_pattern, schema))  # these it can not see; without them it is the table's
        return [check]

    @property
    def requirement(self) -> str:
        """No row twice."""
        return "no row twice"
