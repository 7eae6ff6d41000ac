"""Rules about the order of rows."""

from __future__ import annotations

__all__ = ("Monotonic",)

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation.metrics import Count, ScanMetric
from sentrio.validation.validators._base import Check, Values
from sentrio.validation.validators._rules import Tolerant
from sentrio.validation.values import python_rows

# Failing rows kept for the sample, which never shows more.
_KEPT_ROWS = 64

_VALUE, _SHOWN = "__sentrio_value__", "__sentrio_shown__"


@attrs.define(eq=False)
class _Part:
    """What one part of the data has to say to its neighbours."""

    failed: int = 0
    first: Any = None
    last: Any = None
    first_row: tuple[int, Any] | None = None
    rows: list[tuple[int, Any]] = attrs.field(factory=list)


@attrs.frozen
class _Steps(ScanMetric):
    """The rows that stand in the wrong order to their predecessor."""

    column: str
    decreasing: bool
    strict: bool
    physical: bool  #: compare as integers, since Python's times are coarser than those of Polars

    def scan(self, frame: pl.LazyFrame, row_index: str) -> _Part:
        value = pl.col(self.column)
        compared = (value.to_physical() if self.physical else value).alias(_VALUE)
        shown = value.alias(_SHOWN)
        found = (
            frame.select(row_index, shown, compared).filter(pl.col(_SHOWN).is_not_null()).collect(engine="streaming")
        )
        if found.is_empty():
            return _Part()
        values = found[_VALUE]
        wrong = self._wrong(values.shift(1), values)
        rows = found.filter(wrong.fill_null(False)).head(_KEPT_ROWS).select(row_index, _SHOWN)
        return _Part(
            failed=int(wrong.sum()),
            first=values[:1],
            last=values[-1:],
            first_row=python_rows(found.select(row_index, _SHOWN).head(1))[0],
            rows=python_rows(rows),
        )

    def _wrong(self, before: pl.Series, value: pl.Series) -> pl.Series:
        if self.decreasing:
            return value >= before if self.strict else value > before
        return value <= before if self.strict else value < before

    def merge(self, earlier: _Part, later: _Part) -> _Part:
        if earlier.first_row is None or later.first_row is None:
            return later if earlier.first_row is None else earlier
        if self._wrong(earlier.last, later.first)[0]:
            later.failed += 1
            later.rows.insert(0, later.first_row)
        earlier.failed += later.failed
        if len(earlier.rows) < _KEPT_ROWS:
            earlier.rows += later.rows[: _KEPT_ROWS - len(earlier.rows)]
        earlier.last = later.last
        return earlier


@attrs.define(kw_only=True)
class Monotonic(Tolerant):
    """No value is below the one before it; with ``direction="decreasing"``, none is above.

    The row before is the last one that is not null. Each row that stands wrong to the one before fails, the others
    do not. NaN is greater than every number and equal to itself.

    :param direction: ``increasing`` or ``decreasing``
    :param strict: refuse equal values as well
    """

    validator_name: ClassVar[str] = "monotonic"
    applies_to: ClassVar[str] = "ordered"

    direction: str = attrs.field(default="increasing", validator=options.one_of(("increasing", "decreasing")))
    strict: bool = attrs.field(default=False, validator=options.flag())

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        steps = _Steps(name, self.direction == "decreasing", self.strict, dtype.is_temporal())
        metrics = {"rows": Count(), "evaluated": Count(name), "steps": steps}
        return Check(rule=self, columns=(name,), metrics=metrics)

    def judge(self, check: Check, values: Values) -> Any:
        """Compare the number of rows that stand wrong with what is tolerated."""
        return super().judge(check, self._counted(check, values))

    def certain(self, check: Check, values: Values) -> bool:
        """Tell whether more rows failed than can be tolerated, however many follow."""
        return super().certain(check, self._counted(check, values))

    def _counted(self, check: Check, values: Values) -> Mapping[str, Any]:
        return {**values, "failed": 0 if check.untyped else values["steps"].failed}

    def sample(self, check: Check, values: Values) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Return the first rows that stand wrong."""
        if not check.untyped:
            for row, value in values["steps"].rows:
                yield row, {check.columns[0]: value}

    @property
    def requirement(self) -> str:
        """The direction."""
        return f"{'strictly ' if self.strict else ''}{self.direction}"
