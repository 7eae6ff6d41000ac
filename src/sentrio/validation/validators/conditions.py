"""Rules that compare cells of the same row."""

from __future__ import annotations

__all__ = ("Compare", "Expression")

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError, suggestion
from sentrio.validation.metrics import Count, Matching, Present
from sentrio.validation.validators._base import Check, Schema, Tolerance
from sentrio.validation.wording import first_line

_OPERATORS = {"<": "lt", "<=": "le", "==": "eq", "!=": "ne", ">=": "ge", ">": "gt"}


@attrs.define(kw_only=True)
class Compare(Tolerance):
    """In every row ``left`` stands to ``right`` as ``operator`` says. A row in which one is null is passed over.

    Numbers are compared with numbers, texts with texts (by their characters), dates and times with their like. A
    datetime without a zone is UTC, and a date is its midnight. NaN is greater than every number and equal to itself.

    :param left: the name of a column
    :param operator: ``<``, ``<=``, ``==``, ``!=``, ``>=`` or ``>``
    :param right: the name of a column
    """

    validator_name: ClassVar[str] = "compare"

    left: str = attrs.field(validator=options.text(empty=True))
    operator: str = attrs.field(validator=options.one_of(tuple(_OPERATORS)))
    right: str = attrs.field(validator=options.text(empty=True))

    def __attrs_post_init__(self) -> None:
        if self.left == self.right:
            problem = f"'left' and 'right' are the same column {self.left!r}"
            raise OptionValueError(self.validator_name, "right", problem)

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return the one check of the two columns."""
        names = (self.left, self.right)
        for name in names:
            if name not in schema:
                return [self.unmatched(f"no column {name!r}{suggestion(name, tuple(schema))}", names)]
        sides = _alike(self.left, schema[self.left], self.right, schema[self.right])
        if sides is None:
            shown = ", ".join(f"{name!r} is {schema[name]}" for name in names)
            return [self.unmatched(f"columns of different kinds can not be compared: {shown}", names)]
        passes = getattr(sides[0], _OPERATORS[self.operator])(sides[1])
        metrics = {"rows": Count(), "failed": Matching(~passes), "evaluated": Present(passes)}
        return [Check(rule=self, columns=names, metrics=metrics, passes=passes)]

    @property
    def requirement(self) -> str:
        """The comparison."""
        return f"{self.left} {self.operator} {self.right}"


def _alike(left: str, left_type: pl.DataType, right: str, right_type: pl.DataType) -> tuple[pl.Expr, pl.Expr] | None:
    """Return the two columns as one type, so that nothing is lost by comparing them; ``None`` if there is none."""
    types = (left_type, right_type)
    values = (pl.col(left), pl.col(right))
    if any(dtype == pl.Null for dtype in types):
        other = right_type if left_type == pl.Null else left_type
        return values[0].cast(other), values[1].cast(other)
    if all(dtype.is_integer() for dtype in types):
        if any(isinstance(dtype, pl.UInt128) for dtype in types):
            return values if left_type == right_type else None
        return values[0].cast(pl.Int128), values[1].cast(pl.Int128)
    if all(dtype.is_numeric() for dtype in types):
        return values
    if all(isinstance(dtype, pl.String | pl.Categorical | pl.Enum) for dtype in types):
        return values[0].cast(pl.String), values[1].cast(pl.String)
    if all(isinstance(dtype, pl.Date | pl.Datetime) for dtype in types):
        if all(isinstance(dtype, pl.Date) for dtype in types):
            return values
        return _instant(values[0], left_type), _instant(values[1], right_type)
    comparable = isinstance(left_type, pl.Boolean | pl.Time | pl.Duration | pl.Binary)
    return values if comparable and type(left_type) is type(right_type) else None


# Nanoseconds of one step of each type; all moments fit into 128 bits.
_STEPS = {"ns": 1, "us": 1_000, "ms": 1_000_000}
_DAY = 86_400 * 10**9


def _instant(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return moments as nanoseconds in UTC, since Polars would compare in the coarser of two units."""
    step = _STEPS[dtype.time_unit] if isinstance(dtype, pl.Datetime) else _DAY
    return value.to_physical().cast(pl.Int128) * pl.lit(step, dtype=pl.Int128)


@attrs.define(kw_only=True)
class Expression(Tolerance):
    """``condition`` holds for every row. A row for which it is null is passed over.

    The condition looks at one row at a time: sums, ranks, neighbours and other things that depend on other rows are
    refused, since the answer would depend on how the data are cut.

    :param condition: a Polars SQL text such as ``"price >= cost AND currency IN ('EUR', 'USD')"``, or a
        :class:`polars.Expr`
    """

    validator_name: ClassVar[str] = "expression"

    condition: str | pl.Expr = attrs.field(eq=str)

    @condition.validator
    def _check_condition(self, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, pl.Expr) or (isinstance(value, str) and value.strip()):
            return
        problem = f"condition must be a Polars SQL text or a polars.Expr, got {value!r}"
        raise OptionValueError(self.validator_name, "condition", problem)

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return the one check of the rows."""
        try:
            passes = pl.sql_expr(self.condition) if isinstance(self.condition, str) else self.condition
            if passes.meta.has_multiple_outputs():
                return [self.unmatched("the condition has more than one answer; join them with pl.all_horizontal")]
            names = list(dict.fromkeys(passes.meta.root_names()))
            for name in names:
                if name not in schema:
                    return [self.unmatched(f"no column {name!r}{suggestion(name, tuple(schema))}")]
            if not names:
                return [self.unmatched("the condition names no column")]
            found = pl.LazyFrame(schema=dict(schema)).select(passes.alias("condition")).collect_schema()["condition"]
            alone = _by_row(passes, schema)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as exc:
            return [self.unmatched(f"the condition can not be evaluated: {first_line(exc).partition('; valid')[0]}")]
        if found != pl.Boolean:
            return [self.unmatched(f"the condition gives {found}, not true or false")]
        if not alone:
            return [self.unmatched("the condition depends on other rows; only a single row can be looked at")]
        metrics = {"rows": Count(), "failed": Matching(~passes), "evaluated": Present(passes)}
        shown: Mapping[str, pl.Expr] = {name: pl.col(name) for name in names}
        return [Check(rule=self, metrics=metrics, passes=passes, shown=shown)]

    @property
    def requirement(self) -> str:
        """The condition."""
        return str(self.condition)


def _by_row(expr: pl.Expr, schema: Schema) -> bool:
    """Tell whether an expression looks at one row at a time; of a Python function that is taken on trust."""
    meta = expr.meta
    if not meta.root_names():
        return meta.is_literal() or (meta.is_row_separable() and all(_by_row(each, schema) for each in meta.pop()))
    inputs = meta.pop(schema=dict(schema))
    try:
        if not meta.is_row_separable() or not meta.is_length_preserving():
            return False
    except pl.exceptions.PolarsError:
        pass  # it does not say without knowing the types; its inputs do
    return all(_by_row(each, schema) for each in inputs)
