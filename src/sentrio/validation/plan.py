"""From validators and a schema to one fused plan.

All metrics of all checks with the same ``where`` become one ``select`` a morsel, each metric once however
many checks need it. A check may ask for another phase when its metrics are known.
"""

from __future__ import annotations

__all__ = ("Plan",)

import re
from collections.abc import Sequence

import polars as pl

from sentrio.errors import suggestion
from sentrio.validation.conditions import row_condition
from sentrio.validation.measuring import ROW, measure_group, rows_of
from sentrio.validation.phases import Phase
from sentrio.validation.types import is_pattern
from sentrio.validation.validators import Validator
from sentrio.validation.validators._base import Check, Schema
from sentrio.validation.wording import first_line

_LACKS = re.compile(r'unable to find column "(.*)"', re.DOTALL)  # as Polars says it


class Plan:
    """The checks of some validators on one schema, and their first phase. It holds no state of a run.

    :param schema: the columns that validators see
    :param where: a Polars SQL condition; the plan is about the rows for which it is true
    :param extra: checks that the source needs; they see its hidden columns as well
    """

    def __init__(
        self,
        validators: Sequence[Validator],
        schema: Schema,
        *,
        where: str | None = None,
        extra: Sequence[Validator] = (),
        hidden: Schema | None = None,
    ) -> None:
        self.schema = dict(schema)
        self.where = where
        self._whole = {**schema, **(hidden or {})}
        self.checks: list[Check] = []
        self.first = Phase()
        seen: dict[str, int] = {}
        taken = f"rows are numbered in a column {ROW!r}; rename the one of that name" if ROW in self._whole else ""
        for validator in (*validators, *extra):
            for check in _bound(validator, self.schema):
                base = check.rule.name or ":".join(filter(None, (check.rule.validator_name, check.column)))
                seen[base] = seen.get(base, 0) + 1
                check.id = base if seen[base] == 1 else f"{base}#{seen[base]}"
                check.problem = check.problem or _unaddressable((*check.columns, *check.shown)) or taken
                self.checks.append(check)
        self.by_id = {check.id: check for check in self.checks}
        sound = [check for check in self.checks if not check.problem]
        if sound and self._try(sound, self.first):
            # Something is wrong with one of them: try each by itself.
            for check in sound:
                check.problem = self._try([check], Phase())
            self.first = Phase()
            for check in sound:
                if not check.problem:
                    self.first.add(check, check.metrics, where)

    def _try(self, checks: Sequence[Check], trial: Phase) -> str:
        """Have a phase measure checks, and try it on no rows.

        :return: what is wrong with their expressions, so that it shows before any data are read
        """
        empty = pl.DataFrame(schema=self._whole)
        for condition in {self.where, *(check.rule.where for check in checks)} - {None}:
            _, problem = row_condition(str(condition), self._whole)
            if problem:
                return f"where: {problem}"
        try:
            for check in checks:
                trial.add(check, check.metrics, self.where)
            for group in trial.groups:
                measure_group(group, rows_of(empty, group, 0), 0)
        except pl.exceptions.PolarsError as exc:
            # The list of valid columns would show one of ours.
            said = first_line(exc).partition("; valid columns")[0]
            if isinstance(exc, pl.exceptions.ColumnNotFoundError) and (lacks := _LACKS.fullmatch(said)):
                return f"no column {lacks[1]!r}{suggestion(lacks[1], self.schema)}"
            return said
        return ""


def _unaddressable(columns: Sequence[str]) -> str:
    """Return what is wrong with columns whose names Polars takes for patterns, which match other columns too."""
    for name in columns:
        if is_pattern(name):
            return f"Polars takes the name of its column for a pattern; rename column {name!r}"
    return ""


def _bound(validator: Validator, schema: Schema) -> Sequence[Check]:
    """Bind a validator; one whose options and columns Polars can not bring together takes no other one down."""
    try:
        return validator.bind(schema)
    except pl.exceptions.PolarsError as exc:
        return [validator.unmatched(first_line(exc))]
