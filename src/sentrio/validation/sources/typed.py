"""Columns that are read as text and cast, so that a value that does not fit is a finding."""

from __future__ import annotations

__all__ = (
    "TEXT",
    "FitsType",
    "cast_text",
    "cast_texts",
    "described",
    "is_cast",
    "told_types",
    "widened",
    "with_given",
)

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio.errors import SourceError, suggestion
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.sources.base import Description
from sentrio.validation.validators._base import Check
from sentrio.validation.validators._rules import RowRule

#: what stands before the name of a column in the name of the hidden one that holds its text
TEXT = "__sentrio_text__"


@attrs.define(kw_only=True)
class FitsType(RowRule):
    """Every text of a column is a value of the column's type. The source adds it when one is not."""

    validator_name: ClassVar[str] = "type"

    dtype: pl.DataType

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the text was cast; null where there was no text."""
        return nw.when(nw.col(TEXT + column).is_not_null()).then(nw.col(column).is_not_null())

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; every text is evaluated."""
        return {"failed": Matching(~passes), "evaluated": Count(TEXT + column)}

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check; its samples show the text, since the value is null."""
        check = super().bind_column(name, dtype)
        check.shown = {name: pl.col(TEXT + name)}
        return check

    @property
    def requirement(self) -> str:
        """The type."""
        return str(self.dtype)


def is_cast(dtype: pl.DataType) -> bool:
    """Tell whether a column of this type is read as text and cast."""
    return not isinstance(dtype, pl.String | pl.Null)


def described(types: Mapping[str, pl.DataType], *, text: bool, **more: Any) -> Description:
    """Describe a source with these types; one that is read as text has a ``type`` check for each column.

    :param more: what else the description says
    """
    cast = {name: dtype for name, dtype in types.items() if text and is_cast(dtype)}
    return Description(
        schema=types,
        checks=[FitsType(column=name, dtype=dtype) for name, dtype in cast.items()],
        hidden={TEXT + name: pl.String() for name in cast},
        **more,
    )


def told_types(
    label: str,
    told: Mapping[str, pl.DataType],
    head: pl.DataFrame,
    given: Mapping[str, pl.DataType],
    *,
    more: bool = False,
) -> dict[str, pl.DataType]:
    """Return the types of columns: what the options say, else what the first rows tell.

    :param told: types that the first rows tell
    :param head: the first rows
    :param given: types by option
    :param more: the options may name columns that the first rows lack
    :raises SourceError: if the options name a column that is not there
    """
    # A column without any value has no type yet, which is not the same as being text.
    types = {name: pl.Null() if head[name].null_count() == head.height else dtype for name, dtype in told.items()}
    return with_given(label, types, given, more=more)


def widened(first: Mapping[str, pl.DataType], more: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Return the types that several files tell: text among what the first one has as numbers makes no text of it.

    :param first: types that the first file tells
    :param more: types that it tells together with others
    """
    return {
        name: first[name] if dtype == pl.String and first.get(name, pl.Null()) != pl.Null() else dtype
        for name, dtype in more.items()
    }


def with_given(
    label: str, told: Mapping[str, pl.DataType], given: Mapping[str, pl.DataType], *, more: bool = False
) -> dict[str, pl.DataType]:
    """Return types with those that the options name in their place; see :func:`told_types`."""
    types = dict(told)
    for name, dtype in given.items():
        if name not in types and not more:
            problem = f"`schema` names column {name!r}, which is not there{suggestion(name, tuple(types))}"
            raise SourceError(label, problem)
        types[name] = dtype
    return types


def cast_texts(batch: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Give a batch that was read as text its types, and keep the texts beside the values."""
    cast = {name: dtype for name, dtype in types.items() if is_cast(dtype)}
    texts = [pl.col(name).alias(TEXT + name) for name in cast]
    values = [cast_text(pl.col(name), dtype) for name, dtype in cast.items()]
    return batch.lazy().with_columns(texts).with_columns(values)


def cast_text(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return the values that texts stand for, null for one that stands for none of this type."""
    if dtype == pl.Boolean:
        return text.str.to_lowercase().replace_strict(
            {"true": True, "false": False}, default=None, return_dtype=pl.Boolean
        )
    if dtype == pl.Date:
        return text.str.to_date(strict=False)
    if isinstance(dtype, pl.Datetime):
        return text.str.to_datetime(time_unit=dtype.time_unit, time_zone=dtype.time_zone, strict=False)
    if dtype == pl.Time:
        return text.str.to_time("%H:%M:%S%.f", strict=False)
    if isinstance(dtype, pl.List | pl.Struct | pl.Array):
        return text.map_batches(lambda column: _decoded(column, dtype), return_dtype=dtype)
    # The typed reader passes over leading spaces of numbers, so the cast does as well.
    return text.str.strip_chars_start(" ").cast(dtype, strict=False)


def _decoded(texts: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Decode JSON texts; one that does not fit is null, which Polars knows for whole columns only."""
    try:
        return texts.str.json_decode(dtype)
    except pl.exceptions.PolarsError:
        if len(texts) == 1:
            return pl.Series(texts.name, [None], dtype=dtype)
    half = len(texts) // 2
    return pl.concat([_decoded(texts[:half], dtype), _decoded(texts[half:], dtype)])
