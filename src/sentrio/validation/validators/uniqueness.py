"""Rules about repeated values."""

from __future__ import annotations

__all__ = ("Unique", "UniqueRows", "compared")

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation.metrics import Count, Metric, Present
from sentrio.validation.types import is_pattern
from sentrio.validation.validators._base import Check, Schema, Values
from sentrio.validation.validators._repeats import Hashes, Marks, Repeats, Verify, present
from sentrio.validation.validators._rules import Tolerant


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
                else Present(pl.when(present(pl, columns)).then(True))  # null where a part is null
            )
        metrics = {
            "rows": Count(),
            "evaluated": evaluated,
            "hashes": Hashes(columns, self.nulls_equal),
        }
        return Check(rule=self, columns=columns, metrics=metrics)

    def follow_up(self, check: Check, values: Values) -> Mapping[str, Metric] | None:
        """Compare the values that may repeat."""
        marks: Marks | None = values["hashes"]
        if not marks or "repeats" in values:
            return None
        return {"repeats": Verify(compared(check), self.nulls_equal, marks)}

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
            yield row, dict(zip(compared(check), cells, strict=True))

    @property
    def requirement(self) -> str:
        """No value twice."""
        return "no value twice"


def compared(check: Check) -> tuple[str, ...]:
    """Return the columns whose values are compared, which reports do not name if they are all there are."""
    hashes = check.metrics["hashes"]
    assert isinstance(hashes, Hashes)
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
