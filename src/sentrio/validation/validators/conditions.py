"""Rules that compare cells of the same row."""

from __future__ import annotations

__all__ = ("Compare", "Expression")

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError, suggestion
from sentrio.validation.conditions import row_condition
from sentrio.validation.metrics import Count, Matching, Present
from sentrio.validation.validators._base import Check, Schema
from sentrio.validation.validators._rules import Tolerance

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
    if {_machine_number(dtype) for dtype in types} == {"integer", "float"}:
        return _halves(values[0], left_type), _halves(values[1], right_type)
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


def _machine_number(dtype: pl.DataType) -> str:
    """Return what kind of number a type is, for those of at most 64 bits."""
    if isinstance(dtype, pl.Int128 | pl.UInt128):
        return ""
    return "integer" if dtype.is_integer() else "float" if dtype.is_float() else ""


# Beyond every integer of 64 bits.
_FAR = 2**70


def _halves(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return whole numbers doubled, and what lies between two of them as what lies between their doubles.

    Polars would compare integers with floats as floats, and lose digits beyond 2**53.
    """
    two = pl.lit(2, dtype=pl.Int128)
    if dtype.is_integer():
        return value.cast(pl.Int128) * two
    number = value.cast(pl.Float64)
    floor = number.clip(-_FAR, _FAR).fill_nan(2 * _FAR).floor()
    # What is clipped is no whole number of 64 bits, whichever one it becomes.
    return floor.cast(pl.Int128) * two + (number.is_finite() & (number > floor)).cast(pl.Int128)


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
        passes, problem = row_condition(self.condition, schema)
        names = [] if passes is None else list(dict.fromkeys(passes.meta.root_names()))
        if passes is None or not names:
            return [self.unmatched(problem or "the condition names no column")]
        metrics = {"rows": Count(), "failed": Matching(~passes), "evaluated": Present(passes)}
        shown: Mapping[str, pl.Expr] = {name: pl.col(name) for name in names}
        return [Check(rule=self, metrics=metrics, passes=passes, shown=shown)]

    @property
    def requirement(self) -> str:
        """The condition."""
        return str(self.condition)
