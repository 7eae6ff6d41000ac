"""Conditions on a single row, as people write them."""

from __future__ import annotations

__all__ = ("row_condition",)

import re
from collections.abc import Mapping

import polars as pl

from sentrio.errors import suggestion
from sentrio.validation.wording import first_line

Schema = Mapping[str, pl.DataType]

# As Polars says it.
_TIME_AS_TEXT = re.compile(
    r"^cannot compare 'date/datetime/time' to a string|'is_in' cannot check for (Date|Time).* in List\(String"
)

_NULLS = frozenset({"null", "null.cast(Boolean)"})
_COMPARED_WITH_NULL = re.compile(
    r"\[\(null\) (==|!=|<|<=|>|>=) .*|.* (==|!=|<|<=|>|>=) \(null\)\]|.* \| \(null\.cast\(Boolean\)\)\]", re.DOTALL
)


def row_condition(condition: str | pl.Expr, schema: Schema) -> tuple[pl.Expr | None, str]:
    """Return a condition as an expression, or ``None`` and why it is none.

    It must look at one row at a time: the answer of an expression that depends on other rows would depend on how
    the data are cut.

    :param condition: a Polars SQL text, or an expression
    """
    try:
        expr = pl.sql_expr(condition) if isinstance(condition, str) else condition
        if expr.meta.has_multiple_outputs():
            return None, "the condition has more than one answer; join them with pl.all_horizontal"
        for name in expr.meta.root_names():
            if name not in schema:
                return None, f"no column {name!r}{suggestion(name, tuple(schema))}"
        if isinstance(condition, str) and _compares_with_null(expr):
            return (
                None,
                "the condition compares with NULL, which is never true nor false; write IS NULL or IS NOT NULL",
            )
        trial = pl.LazyFrame(schema=dict(schema)).select(expr.alias("condition"))
        # What can not be compared shows only when it is tried; an expression may call Python code, so it is not.
        found = (trial.collect().schema if isinstance(condition, str) else trial.collect_schema())["condition"]
        alone = _by_row(expr, schema)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as exc:
        said = first_line(exc).partition("; valid")[0]
        if _TIME_AS_TEXT.search(said):
            said = "it compares dates or times with text; write DATE '2026-11-21' or TIMESTAMP '2026-11-21 08:30:00'"
        return None, f"the condition can not be evaluated: {said}"
    if found != pl.Boolean:
        return None, f"the condition gives {found}, not true or false"
    if not alone:
        return None, "the condition depends on other rows; only a single row can be looked at"
    return expr, ""


def _compares_with_null(expr: pl.Expr) -> bool:
    """Tell whether an SQL condition has ``= NULL`` somewhere, or ``IN`` a list with a NULL.

    It passes over rows, or all of them, where its author meant something else.
    """
    inputs = expr.meta.pop()
    if any(str(each) in _NULLS for each in inputs) and _COMPARED_WITH_NULL.fullmatch(str(expr)):
        return True
    return any(map(_compares_with_null, inputs))


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
