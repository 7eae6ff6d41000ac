"""Rules about values that must occur elsewhere."""

from __future__ import annotations

__all__ = ("ForeignKey", "check_reference")

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError, UnknownOptionError
from sentrio.validation import wording
from sentrio.validation.metrics import Count, FromSchema, Matching, Metric, ScanMetric
from sentrio.validation.validators._base import Check, Reference, Values
from sentrio.validation.validators._rules import Tolerant

# The distinct values of a reference are put in order in so many parts, each of them one short step.
_PARTS = 64
_ONE_PART = 250_000

# A number takes 64 bits, a mark one.
_BITS = 64
_MOST_MARKS = 2**32

_HASH = "__sentrio_hash__"
_VALUE = "__sentrio_value__"


def _common(dtype: pl.DataType) -> pl.DataType | None:
    """Return the type as which values of a reference are compared; ``None`` if they can not be."""
    if dtype.is_integer():
        wide = isinstance(dtype, pl.UInt64 | pl.Int128 | pl.UInt128)
        return pl.Int128() if wide else pl.Int64()
    if dtype.is_float():
        return pl.Float64()
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
        return pl.String()
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime(dtype.time_unit)
    return dtype if isinstance(dtype, pl.Boolean | pl.Date | pl.Time | pl.Duration | pl.Decimal | pl.Binary) else None


def _group(dtype: pl.DataType) -> str:
    """Return what a type must have in common with another one to be compared."""
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    return "moment" if isinstance(dtype, pl.Date | pl.Datetime) else type(dtype).__name__


def _plain(value: Any, dtype: pl.DataType) -> Any:
    """Return moments of any zone as those of UTC; everything else as it is."""
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return value


@attrs.define(eq=False)
class _Members:
    """The distinct values of a reference, in the order of their hashes."""

    hashes: pl.Series
    values: pl.Series
    clashing: pl.Series | None = None  #: values whose hash is that of another one
    #: for whole numbers that lie close together, the least one, and for each from there on whether it occurs
    marks: tuple[int, pl.Series] | None = None

    def holds(self, values: pl.Series) -> pl.Series:
        """Tell for each value whether it is one of them; null for null."""
        common = self.values.dtype
        plain = _plain(values, values.dtype)
        cast = plain.cast(common, strict=False)
        if self.marks is not None:
            least, marks = self.marks
            inside = cast.is_between(least, least + len(marks) - 1)
            # Clipped first, since a difference could wrap.
            found = inside & marks.gather(cast.clip(least, least + len(marks) - 1).fill_null(least) - least)
        elif not len(self.values):
            found = pl.repeat(False, len(values), eager=True)
        else:
            place = self.hashes.search_sorted(cast.hash()).clip(upper_bound=len(self.values) - 1)
            found = self.values.gather(place) == cast
            if self.clashing is not None:
                found |= cast.is_in(self.clashing.implode())
        # What a cast changes, or can not hold, does not occur as it is.
        if plain.dtype != common:
            found &= cast.cast(plain.dtype, strict=False) == plain
        answer: pl.Series = pl.select(pl.when(values.is_not_null()).then(found.fill_null(False))).to_series()
        return answer.alias(values.name)


@attrs.define(eq=False)
class _Runs:
    """Distinct values with their hashes, one frame for each morsel, sorted by hash."""

    parts: list[pl.DataFrame]
    members: _Members | None = None


@attrs.frozen
class _Distinct(ScanMetric):
    """The distinct values of a column that are not null."""

    column: str

    def scan(self, frame: pl.LazyFrame, row_index: str) -> _Runs:
        values = frame.select(pl.col(self.column).drop_nulls().unique()).collect(engine="streaming").to_series()
        return _Runs([_hashed(values)])

    def merge(self, earlier: _Runs, later: _Runs) -> _Runs:
        earlier.parts += later.parts
        return earlier

    def work(self, state: _Runs) -> Iterator[None]:
        rows = sum(part.height for part in state.parts)
        count = 1 if rows < _ONE_PART else _PARTS
        edges = [pl.Series([number * (2**64 // count)], dtype=pl.UInt64) for number in range(1, count)]
        cuts = [[0, *(int(part[_HASH].search_sorted(e)[0]) for e in edges), part.height] for part in state.parts]
        yield
        done = []
        for number in range(count):
            slices = [
                part.slice(cut[number], cut[number + 1] - cut[number])
                for part, cut in zip(state.parts, cuts, strict=True)
            ]
            done.append(pl.concat(slices).unique().sort(_HASH))
            yield
        state.parts.clear()
        whole = pl.concat(done, rechunk=True)
        yield
        hashes, values = whole[_HASH], whole[_VALUE]
        marks = _marked(values)
        yield
        if marks is not None:  # then nothing else is asked for
            state.members = _Members(hashes[:0], pl.Series([], dtype=pl.Int64), None, marks)
            return
        again = (hashes == hashes.shift(1)).fill_null(False)
        clashing = values.filter(again | again.shift(-1, fill_value=False)) if again.any() else None
        state.members = _Members(hashes, values, clashing)

    def finish(self, state: _Runs) -> _Members | None:
        return state.members


def _marked(values: pl.Series) -> tuple[int, pl.Series] | None:
    """Mark which whole numbers occur, unless that took more memory than the numbers themselves."""
    least, greatest = (values.min(), values.max()) if values.dtype.is_integer() else (None, None)
    if not isinstance(least, int) or not isinstance(greatest, int) or least < -(2**63) or greatest >= 2**63:
        return None
    width = greatest - least + 1
    if width > min(_BITS * len(values), _MOST_MARKS):
        return None
    places = (values.cast(pl.Int64) - least).cast(pl.UInt32)
    return least, pl.repeat(False, width, eager=True).scatter(places, True)


def _hashed(values: pl.Series) -> pl.DataFrame:
    dtype = _common(values.dtype)
    if dtype is None:
        raise pl.exceptions.InvalidOperationError(f"values of type {values.dtype} can not be looked for")
    plain = _plain(values, values.dtype).cast(dtype).alias(_VALUE)
    return pl.DataFrame([plain.hash().alias(_HASH), plain]).sort(_HASH)


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset | range | pl.Series):
        values = value if isinstance(value, pl.Series) else list(value)
        kinds = {type(each) for each in values} - {type(None)}
        dtype = pl.Float64 if kinds == {int, float} else None
        try:
            series = pl.Series(_VALUE, values, dtype=dtype, strict=dtype is None)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as exc:
            problem = f"the values of reference must be of one type: {str(exc).splitlines()[0]}"
            raise OptionValueError("foreign_key", "reference", problem) from None
        if _common(series.dtype) is None:
            problem = f"values of type {series.dtype} can not be looked for"
            raise OptionValueError("foreign_key", "reference", problem)
        return series
    return value


@attrs.define(kw_only=True)
class ForeignKey(Tolerant):
    """Every value of the column occurs in ``reference``.

    The reference is read once a run, after the first pass, and its distinct values are kept in memory. Numbers are
    compared with numbers, texts with texts, moments with moments (without a zone they are UTC).

    :param column: the column, or ``columns`` several, each by itself; one of both must be given
    :param reference: a list of values, a frame, or a source: a path, or a mapping as ``data_source`` takes it
    :param reference_column: the column of the reference; ``None``: the one with the name of ``column``
    """

    validator_name: ClassVar[str] = "foreign_key"
    aliases: ClassVar[tuple[str, ...]] = ("relationships",)
    needs_all_rows: ClassVar[bool] = True

    reference: Any = attrs.field(converter=_listed, eq=False)
    reference_column: str | None = attrs.field(default=None, validator=options.optional(options.text(empty=True)))
    _label: str = attrs.field(default="", init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.column is None and self.columns is None:
            raise OptionValueError(self.validator_name, "column", "give 'column' or 'columns'")
        if not isinstance(self.reference, pl.Series):
            self._label = check_reference(self.validator_name, self.reference)
        elif self.reference_column is not None:
            problem = "reference_column has no meaning: reference is a list of values, which has no columns"
            raise OptionValueError(self.validator_name, "reference_column", problem)

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        problem = (
            "" if _common(dtype) is not None else f"column {name!r} is {dtype}, whose values can not be looked for"
        )
        if not problem and isinstance(self.reference, pl.Series):
            problem = _mismatch(name, dtype, self.reference.dtype)
        if problem:
            return self.unmatched(problem, (name,))
        metrics = {"rows": Count(), "evaluated": Count(name), "type": FromSchema(dtype)}
        return Check(rule=self, columns=(name,), metrics=metrics)

    def refer(self, check: Check, values: Values) -> Reference | None:
        """Ask for the distinct values of the reference."""
        if "reference" in values:
            return None
        (name,) = check.columns
        column = name if self.reference_column is None else self.reference_column
        data = self.reference
        if isinstance(data, pl.Series):
            if data.dtype.is_float() and values["type"].is_float():
                # What was written by hand is a number as the column would hold it, if that is narrower.
                data = data.cast(values["type"])
            data, column = data.to_frame(_VALUE), _VALUE
        return Reference(
            data=data,
            column=column,
            metrics={"members": _Distinct(column)},
            refuses=partial(_mismatch, name, values["type"]),
        )

    def follow_up(self, check: Check, values: Values) -> Mapping[str, Metric] | None:
        """Count the values that do not occur."""
        if "failed" in values or not values["evaluated"]:
            return None
        members: _Members = values["reference"]["members"]
        found = pl.col(check.columns[0]).map_batches(members.holds, return_dtype=pl.Boolean(), is_elementwise=True)
        return {"failed": Matching(~found)}

    @property
    def requirement(self) -> str:
        """Where the values must occur."""
        if isinstance(self.reference, pl.Series):
            return f"one of {wording.count_of(len(self.reference), 'value')}"
        return f"occurs in {self.reference_column or self.column or 'the same column'} of {self._label}"


def _mismatch(name: str, dtype: pl.DataType, found: pl.DataType) -> str:
    """Say why values of two types can not be compared; empty if they can."""
    if pl.Null in (dtype, found) or _group(dtype) == _group(found):
        return ""
    return f"column {name!r} is {dtype}, and the values of the reference are {found}"


def check_reference(owner: str, data: Any) -> str:
    """Return how people see a source of data: its path, a URL without credentials, the shape of a frame.

    :raises OptionValueError: for one that is none
    :raises UnknownOptionError: for an option that sources do not have
    """
    from sentrio.validation.sources.files import make_source  # which knows the validators

    try:
        return make_source(data).label
    except OptionValueError as exc:
        problem = exc.problem.replace("data_source", "reference")
        raise OptionValueError(owner, "reference", f"reference: {problem}") from None
    except UnknownOptionError as exc:
        raise UnknownOptionError(f"{owner}: reference", exc.option, exc.known) from None
