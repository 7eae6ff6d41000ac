"""What all validators share: options, binding to a schema, and judging what was measured.

A :class:`Validator` is configuration. Bound to the schema of a source it gives one :class:`Check` for each
column that it applies to. A check names the metrics that it needs; after the data were read it is judged by
their values.
"""

from __future__ import annotations

__all__ = ("Check", "Gather", "Reference", "Schema", "Validator", "Values", "Verdict", "as_severity")

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import suggestion
from sentrio.validation.metrics import FromSchema, Metric
from sentrio.validation.report import CheckOutcome, Severity

Schema = Mapping[str, pl.DataType]
Values = Mapping[str, Any]


def as_severity(value: Any) -> Any:
    """Return the severity of that name; leave what names none to the validator."""
    return options.as_member(Severity, value)


@attrs.frozen(kw_only=True)
class Verdict:
    """How a check was judged."""

    outcome: CheckOutcome
    failed: int | None = None
    evaluated: int | None = None
    observed: int | float | str | None = None
    message: str = ""


@attrs.define(eq=False, kw_only=True)
class Check:
    """One rule on one column (or set of columns, or table) of one schema, ready to run."""

    rule: Validator
    columns: tuple[str, ...] = ()
    metrics: Mapping[str, Metric] = attrs.field(factory=dict)
    passes: pl.Expr | None = None  #: true, false or null (passed over) for each row; ``None``: not about rows
    shown: Mapping[str, pl.Expr] = attrs.field(factory=dict)  #: cells of samples that are not the column's own
    problem: str = ""  #: why it can not be evaluated
    untyped: bool = False  #: its column has no type, since all values seen while planning are null
    id: str = ""

    @property
    def column(self) -> str | None:
        """The column as reports show it."""
        return ",".join(self.columns) if self.columns else None

    def judge(self, values: Values) -> Verdict:
        """Judge the values of the metrics."""
        if self.untyped and values["evaluated"]:
            problem = (
                f"column {self.column!r} had no values while its type was looked for, "
                "and has some later; give its type in the source's `schema` option"
            )
            return Verdict(outcome=CheckOutcome.ERROR, message=problem)
        if self.untyped:
            values = dict.fromkeys(self.rule.untyped_values) | dict(values)
        return self.rule.judge(self, values)


@attrs.define(kw_only=True)
class Validator(metaclass=options.OptionsMeta):
    """The options that every validator has."""

    validator_name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    #: names of metrics that are ``None`` for a column without a type
    untyped_values: ClassVar[tuple[str, ...]] = ()
    #: whether what it observes are values of rows, which some people must not see
    observes_values: ClassVar[bool] = False
    #: whether nothing can be said before all rows were read
    needs_all_rows: ClassVar[bool] = False

    severity: Severity = attrs.field(
        default=Severity.HIGH, converter=as_severity, validator=options.one_of(tuple(Severity))
    )
    where: str | None = attrs.field(default=None, validator=options.optional(options.text()))
    name: str | None = attrs.field(default=None, validator=options.optional(options.text()))
    description: str | None = attrs.field(default=None, validator=options.optional(options.text()))
    dimension: str | None = attrs.field(default=None, validator=options.optional(options.text()))

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "validator_name" in cls.__dict__:
            cls.option_owner = cls.validator_name  # type: ignore[attr-defined]

    @abstractmethod
    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return the checks of this validator on a source with this schema."""

    @abstractmethod
    def judge(self, check: Check, values: Values) -> Verdict:
        """Judge the finished values of the metrics of a check."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What must hold, for people."""

    def certain(self, check: Check, values: Values) -> bool:
        """Tell from what was seen so far whether the check has failed, whatever follows."""
        return False

    def follow_up(self, check: Check, values: Values) -> Mapping[str, Metric] | None:
        """Return the metrics that another pass over the data must measure, or ``None`` to be judged."""
        return None

    def refer(self, check: Check, values: Values) -> Reference | None:
        """Return what is to be read of other data before :meth:`follow_up`, or ``None`` if all is known.

        What was read stands in ``values["reference"]`` by the names of its metrics.
        """
        return None

    def sample(self, check: Check, values: Values) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Return failing rows that the metrics found, for rules that no filter can express."""
        return iter(())

    def unmatched(self, problem: str, columns: Sequence[str] = ()) -> Check:
        """Return a check that only says why it can not be evaluated."""
        return Check(rule=self, columns=tuple(columns), problem=problem)


def _pairs(metrics: Mapping[str, Metric]) -> tuple[tuple[str, Metric], ...]:
    return tuple(metrics.items())


@attrs.frozen(kw_only=True)
class Reference:
    """Other data that a check compares with, and what is to be measured of one of its columns."""

    data: Any = attrs.field(eq=False)
    column: str
    metrics: Mapping[str, Metric] = attrs.field(eq=_pairs, hash=True)
    #: says what is wrong with a type of the column; empty if nothing is
    refuses: Callable[[pl.DataType], str] = attrs.field(eq=False)


@attrs.define(kw_only=True)
class Gather(Validator):
    """A rule that holds always and only measures; it reads references."""

    validator_name: ClassVar[str] = "reference"

    wanted: Reference

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return the one check of the column."""
        column = self.wanted.column
        if column not in schema:
            return [self.unmatched(f"no column {column!r}{suggestion(column, tuple(schema))}", (column,))]
        if problem := self.wanted.refuses(schema[column]):
            return [self.unmatched(problem, (column,))]
        metrics = {"dtype": FromSchema(schema[column]), **self.wanted.metrics}
        return [Check(rule=self, columns=(column,), metrics=metrics)]

    def judge(self, check: Check, values: Values) -> Verdict:
        """Find nothing wrong."""
        return Verdict(outcome=CheckOutcome.PASSED)

    @property
    def expected(self) -> str:
        """Nothing."""
        return ""
