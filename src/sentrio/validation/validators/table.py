"""Rules about the table as a whole."""

from __future__ import annotations

__all__ = ("HasSchema", "HasType", "RowCount")

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError
from sentrio.validation import wording
from sentrio.validation.metrics import Count, FromSchema, Metric
from sentrio.validation.report import CheckOutcome
from sentrio.validation.types import TypeName, parse_type_name
from sentrio.validation.validators._base import Check, Schema, Values, Verdict
from sentrio.validation.validators._rules import Bounded, ColumnRule, TableRule


@attrs.define(kw_only=True)
class RowCount(TableRule, Bounded):
    """The number of rows lies within ``min`` and ``max``."""

    validator_name: ClassVar[str] = "row_count"

    min: int | None = attrs.field(default=None, validator=options.optional(options.integer(minimum=0)))
    max: int | None = attrs.field(default=None, validator=options.optional(options.integer(minimum=0)))

    def __attrs_post_init__(self) -> None:
        self.check_bounds()

    def metrics(self) -> Mapping[str, Metric]:
        """Return the count of rows."""
        return {"rows": Count()}

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the number of rows with the bounds."""
        rows = values["rows"]
        if self.within(rows):
            return Verdict(outcome=CheckOutcome.PASSED, observed=rows)
        message = f"there are {rows:,} rows, expected {self.expected}"
        return Verdict(outcome=CheckOutcome.FAILED, observed=rows, message=message)

    def certain(self, check: Check, values: Values) -> bool:
        """Tell whether there are too many rows already."""
        return self.max is not None and values["rows"] > self.max


def _type(name: Any) -> TypeName:
    return parse_type_name(name, "type", "dtype")


@attrs.define(kw_only=True)
class HasType(ColumnRule):
    """The column has the type ``dtype``.

    :param dtype: ``integer, float, number, string, boolean, date, datetime, time`` or ``temporal``, each of which
        stands for several types; or a Polars type: without its parameters it stands for all of them (``Datetime``),
        with them for one (``Datetime('us', 'UTC')``, ``List(Int64)``). A column of nothing but nulls fits the former
    """

    validator_name: ClassVar[str] = "type"
    aliases: ClassVar[tuple[str, ...]] = ("dtype",)

    dtype: TypeName = attrs.field(converter=_type)

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column; its type is known before any row is read."""
        if dtype == pl.Null and self.dtype.fits(dtype):
            metrics = {"rows": Count(), "evaluated": Count(name)}
            return Check(rule=self, columns=(name,), metrics=metrics, untyped=True)
        return Check(rule=self, columns=(name,), metrics={"rows": Count(), "type": FromSchema(dtype)})

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the types."""
        if check.untyped:
            return Verdict(outcome=CheckOutcome.PASSED, observed="no values")
        found = values["type"]
        if self.dtype.fits(found):
            return Verdict(outcome=CheckOutcome.PASSED, observed=str(found))
        message = f"the type is {found}, expected {self.expected}"
        return Verdict(outcome=CheckOutcome.FAILED, observed=str(found), message=message)

    def certain(self, check: Check, values: Values) -> bool:
        """Tell from the schema, which is known from the start."""
        return not check.untyped and not self.dtype.fits(values["type"])

    @property
    def expected(self) -> str:
        """The type."""
        return str(self.dtype)


def _columns(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: None if dtype is None else parse_type_name(dtype, "schema", f"columns.{name}")
            for name, dtype in value.items()
        }
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        if len(set(value)) < len(value):
            raise OptionValueError("schema", "columns", f"columns must be a list without repeats, got {value!r}")
        return dict.fromkeys(value)
    return value


def _named(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
        problem = f"columns must be a list of names, or a mapping of names to types, got {value!r}"
        raise OptionValueError("schema", "columns", problem)


@attrs.define(kw_only=True)
class HasSchema(TableRule):
    """The table has the columns that ``columns`` names, and these types where it names any.

    :param columns: names, or a mapping of names to types as :class:`HasType` takes them (``None``: any type)
    :param match: ``exact``: there are no other columns, and they stand in this order; ``subset``: there may be others
    """

    validator_name: ClassVar[str] = "schema"
    observes_values: ClassVar[bool] = True  # names of columns, which are values in a file without its header

    columns: Mapping[str, TypeName | None] = attrs.field(converter=_columns, validator=_named)
    match: str = attrs.field(default="exact", validator=options.one_of(("exact", "subset")))

    def metrics(self) -> Mapping[str, Metric]:
        """Return nothing but what :meth:`bind` adds."""
        return {}

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return the one check of the table; its columns are known before any row is read."""
        return [Check(rule=self, metrics={"rows": Count(), "found": FromSchema(tuple(schema.items()))})]

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the columns."""
        found = dict(values["found"])
        observed = wording.count_of(len(found), "column")
        faults = self._faults(found)
        if not faults:
            return Verdict(outcome=CheckOutcome.PASSED, observed=observed)
        said, details = zip(*faults, strict=True)
        # What follows the semicolon names columns, and not everybody may see them.
        message = f"{', '.join(said)}; {', '.join(filter(None, details))}".removesuffix("; ")
        return Verdict(outcome=CheckOutcome.FAILED, observed=observed, message=message)

    def _faults(self, found: Mapping[str, pl.DataType]) -> list[tuple[str, str]]:
        """Return what is wrong: how often, and where."""
        faults = []
        if missing := [name for name in self.columns if name not in found]:
            faults.append(
                (f"{wording.count_of(len(missing), 'column')} missing", f"missing: {wording.listed(missing)}")
            )
        wrong = [
            f"{name} is {found[name]} instead of {dtype}"
            for name, dtype in self.columns.items()
            if name in found and dtype is not None and not dtype.fits(found[name])
        ]
        if wrong:
            faults.append((f"{wording.count_of(len(wrong), 'column')} of another type", wording.listed(wrong)))
        if self.match == "subset":
            return faults
        if others := [name for name in found if name not in self.columns]:
            faults.append(
                (f"{wording.count_of(len(others), 'column')} not expected", f"not expected: {wording.listed(others)}")
            )
        common = [name for name in found if name in self.columns]
        if common != [name for name in self.columns if name in found]:
            faults.append(("the order differs", f"the order is {wording.listed(common)}"))
        return faults

    def certain(self, check: Check, values: Values) -> bool:
        """Tell from the schema, which is known from the start."""
        return bool(self._faults(dict(values["found"])))

    @property
    def expected(self) -> str:
        """The columns."""
        shown = [name if dtype is None else f"{name}: {dtype}" for name, dtype in self.columns.items()]
        return wording.listed(shown) if self.match == "exact" else f"at least {wording.listed(shown)}"
