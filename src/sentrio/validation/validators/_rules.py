"""The kinds of validators: rules on columns, that each row passes or fails, on one statistic, on the whole table."""

from __future__ import annotations

__all__ = ("Bounded", "ColumnRule", "RowRule", "StatisticRule", "TableRule", "Tolerance", "Tolerant")

import decimal
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError, suggestion
from sentrio.validation import wording
from sentrio.validation.metrics import Count, Matching, Metric, Present
from sentrio.validation.report import CheckOutcome
from sentrio.validation.validators._base import Check, Schema, Validator, Values, Verdict
from sentrio.validation.validators._kinds import KINDS, fits
from sentrio.validation.validators._numbers import decimal_of, rounded

_NO_VALUES = "there are no values"


def _describe(schema: Schema) -> str:
    return wording.listed([f"{name} ({dtype})" for name, dtype in schema.items()]) or "none"


@attrs.define(kw_only=True)
class ColumnRule(Validator):
    """A rule on columns: on one, on several, or on every column whose type it fits."""

    applies_to: ClassVar[str] = "any"

    # A column may have an empty name, as in what a spreadsheet saves.
    column: str | None = attrs.field(default=None, validator=options.optional(options.text(empty=True)))
    columns: tuple[str, ...] | None = attrs.field(
        default=None, converter=options.as_tuple, validator=options.optional(options.texts(minimum=1, empty=True))
    )

    def __attrs_post_init__(self) -> None:
        if self.column is not None and self.columns is not None:
            raise OptionValueError(self.validator_name, "columns", "give either 'column' or 'columns', not both")

    @property
    def column_kind(self) -> str:
        """The kind of columns that this rule applies to with its options."""
        return self.applies_to

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return one check for each column."""
        if self.column is not None or self.columns is not None:
            names = self.columns or (self.column or "",)
            return [self._bind_named(name, schema) for name in names]
        fitting = [name for name, dtype in schema.items() if fits(self.column_kind, dtype)]
        if not fitting:
            wanted = KINDS[self.column_kind]
            problem = f"no column fits: it applies to {wanted} columns; there are {_describe(schema)}"
            return [self.unmatched(problem)]
        return [self._bind_named(name, schema) for name in fitting]

    def _bind_named(self, name: str, schema: Schema) -> Check:
        if problem := self.column_problem(name, schema):
            return self.unmatched(problem, (name,))
        dtype = schema[name]
        if dtype == pl.Null and self.column_kind != "any":
            metrics = {"rows": Count(), "evaluated": Count(name)}
            return Check(rule=self, columns=(name,), metrics=metrics, untyped=True)
        return self.bind_column(name, dtype)

    def column_problem(self, name: str, schema: Schema) -> str:
        """Say why the rule can not be applied to a column; empty if it can."""
        if name not in schema:
            return f"no column {name!r}{suggestion(name, tuple(schema))}"
        if not fits(self.column_kind, schema[name]):
            problem = f"column {name!r} is {schema[name]}; the rule applies to {KINDS[self.column_kind]} columns"
            if schema[name] == pl.String and self.column_kind in {"temporal", "moment"}:
                problem += f" (a text file's is read as one with the source's option `schema: {{{name}: date}}`)"
            return problem
        return ""

    @abstractmethod
    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column whose type fits."""


@attrs.define(kw_only=True, slots=False)  # a second base: slots of two would collide
class Tolerance(Validator):
    """A rule that each row passes or fails, and that tolerates some failures.

    A check passes if no row fails; or with ``mostly``, if at least that share of the rows evaluated pass; or
    with ``max_failed``, if at most that many rows fail. With both, both must hold.
    """

    mostly: float = attrs.field(default=1.0, validator=options.share())
    max_failed: int | None = attrs.field(default=None, validator=options.optional(options.integer(minimum=0)))

    def tolerates(self, failed: int, evaluated: int) -> bool:
        """Tell whether so many failures among so many rows are tolerated."""
        if not failed:
            return True
        if self.max_failed is not None and failed > self.max_failed:
            return False
        if self.max_failed is not None and self.mostly == 1.0:
            return True
        return (evaluated - failed) / evaluated >= self.mostly

    @property
    def tolerance(self) -> str:
        """What is tolerated, for people; empty if nothing is."""
        parts = [wording.at_least_share(self.mostly)] if self.mostly < 1 else []
        if self.max_failed is not None:
            parts.append(f"at most {wording.count_of(self.max_failed, 'row')} failing")
        return ", ".join(parts)

    @property
    def requirement(self) -> str:
        """What a row must satisfy, for people."""
        return ""

    @property
    def expected(self) -> str:
        """The requirement, with what is tolerated."""
        if not self.tolerance:
            return self.requirement
        return f"{self.requirement} ({self.tolerance})" if self.requirement else self.tolerance

    def observed(self, failed: int, evaluated: int, values: Values) -> int | float | str | None:
        """What was seen, for the report."""
        return None

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the number of failing rows with what is tolerated."""
        failed, evaluated = values.get("failed") or 0, values["evaluated"]
        passed = self.tolerates(failed, evaluated)
        return Verdict(
            outcome=CheckOutcome.PASSED if passed else CheckOutcome.FAILED,
            failed=failed,
            evaluated=evaluated,
            observed=self.observed(failed, evaluated, values),
            message="" if passed else f"{failed:,} of {wording.count_of(evaluated, 'row')} failed",
        )

    def certain(self, check: Check, values: Values) -> bool:
        """Tell whether more rows failed than can be tolerated, however many follow."""
        failed = values.get("failed") or 0
        if self.max_failed is not None:
            return bool(failed > self.max_failed)
        return bool(failed) and self.mostly == 1.0


@attrs.define(kw_only=True)
class Tolerant(Tolerance, ColumnRule):
    """A rule on columns that each row passes or fails."""


@attrs.define(kw_only=True)
class RowRule(Tolerant):
    """A rule that a boolean expression decides for each row."""

    @abstractmethod
    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return an expression: true where the row passes, false where it fails, null: passed over."""

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the metrics ``failed`` and ``evaluated``."""
        return {"failed": Matching(~passes), "evaluated": Present(passes)}

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        passes = self.passes(pl, name, dtype)
        metrics = {"rows": Count(), **self.counts(pl, name, passes)}
        return Check(rule=self, columns=(name,), metrics=metrics, passes=passes)


@attrs.define(kw_only=True, slots=False)  # a second base: slots of two would collide
class Bounded(Validator):
    """A rule that bounds one number by ``min`` and ``max``, both inclusive; at least one is given."""

    min: float | None = attrs.field(default=None, validator=options.optional(options.number()))
    max: float | None = attrs.field(default=None, validator=options.optional(options.number()))

    def check_bounds(self) -> None:
        """Refuse bounds that nothing can satisfy, and none at all."""
        if self.min is None and self.max is None:
            raise OptionValueError(self.validator_name, "min", "give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise OptionValueError(
                self.validator_name, "min", f"min must not be above max, got {self.min!r} and {self.max!r}"
            )

    @property
    def expected(self) -> str:
        """The bounds."""
        return wording.between(self.min, self.max)

    def bounds_for(self, value: Any, dtype: pl.DataType | None = None) -> tuple[Any, Any]:
        """Return the bounds as they compare with a value: a decimal's in decimals, a narrow float's as it holds them.

        :param dtype: the type of the column, if the value is one of its cells
        """
        low, high = self.min, self.max
        if isinstance(value, decimal.Decimal):
            return (None if low is None else decimal_of(low)), (None if high is None else decimal_of(high))
        if dtype is None:
            return low, high
        return (None if low is None else rounded(low, dtype)), (None if high is None else rounded(high, dtype))

    def within(self, value: Any, dtype: pl.DataType | None = None) -> bool:
        """Tell whether a value lies within the bounds; NaN does not."""
        low, high = self.bounds_for(value, dtype)
        return (low is None or value >= low) and (high is None or value <= high)


@attrs.define(kw_only=True)
class StatisticRule(ColumnRule, Bounded):
    """One number computed from a column, which must lie within ``min`` and ``max``."""

    applies_to: ClassVar[str] = "number"
    #: what is said where there are values and yet no statistic of them
    without: ClassVar[str] = _NO_VALUES

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.check_bounds()

    @abstractmethod
    def metrics(self, column: str) -> Mapping[str, Metric]:
        """Return the metrics that the statistic is computed from."""

    @abstractmethod
    def observe(self, *args: Any, **values: Any) -> float | None:
        """Compute the statistic from the values of the metrics; ``None`` if there were no values."""

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        metrics = {"rows": Count(), "evaluated": Count(name)}
        return Check(rule=self, columns=(name,), metrics={**self.metrics(name), **metrics})

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the statistic with the bounds; a statistic of no values fails."""
        return self.verdict(self.value(check, values), values["evaluated"], values.get("type"))

    def verdict(self, value: Any, evaluated: int | None, dtype: pl.DataType | None = None) -> Verdict:
        """Compare a value with the bounds.

        :param dtype: the type of the column, if the value is one of its cells
        """
        if value is None:
            message = self.without if evaluated else _NO_VALUES
            return Verdict(outcome=CheckOutcome.FAILED, evaluated=evaluated, message=message)
        shown = float(value) if isinstance(value, decimal.Decimal) else value
        if self.within(value, dtype):
            return Verdict(outcome=CheckOutcome.PASSED, evaluated=evaluated, observed=shown)
        said = wording.number_text(shown)
        if said in {wording.number_text(bound) for bound in (self.min, self.max) if bound is not None}:
            said = str(value)  # in full, or it would seem to be what was expected
        message = f"{self.validator_name} is {said}, expected {wording.between(self.min, self.max)}"
        return Verdict(outcome=CheckOutcome.FAILED, evaluated=evaluated, observed=shown, message=message)

    def value(self, check: Check, values: Values) -> Any:
        """Return the statistic, from the values of all metrics of the check; ``None`` if there is none."""
        if check.untyped:
            return None
        return self.observe(**{name: values[name] for name in self.metrics(check.columns[0])})


@attrs.define(kw_only=True)
class TableRule(Validator):
    """A rule about the table as a whole."""

    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Return the metrics that the rule needs."""

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return the one check of the table."""
        return [Check(rule=self, metrics={"rows": Count(), **self.metrics()})]
