"""Rules about dates and times."""

from __future__ import annotations

__all__ = ("DateRange", "Freshness")

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.async_core.clock import Clock
from sentrio.errors import OptionValueError
from sentrio.validation.facts import UNKNOWN, Known, Outside
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.report import CheckOutcome
from sentrio.validation.validators._base import Check, Values, Verdict
from sentrio.validation.validators._rules import ColumnRule, RowRule
from sentrio.validation.values import STEPS, moment_text

Moment = dt.date | dt.datetime  # a datetime is timezone-aware, in UTC

_DAY = dt.timedelta(days=1)
_MIDNIGHT = dt.time(tzinfo=dt.UTC)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY_MICROS = 86_400 * 10**6


def _moment(value: Any) -> Any:
    """Make a date or a datetime in UTC of what was given; leave what is neither to the validator."""
    if isinstance(value, str):
        try:
            value = dt.date.fromisoformat(value)
        except ValueError:
            try:
                value = dt.datetime.fromisoformat(value)
            except ValueError:
                return value
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    return value


def _is_moment(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, dt.date):
        problem = f"{field.name} must be a date, a datetime or ISO text such as 2026-11-21, got {value!r}"
        raise OptionValueError(owner.validator_name, field.name, problem)


def _begin(moment: Moment) -> dt.datetime:
    return moment if isinstance(moment, dt.datetime) else dt.datetime.combine(moment, _MIDNIGHT)


def _beyond(moment: Moment, dtype: pl.DataType) -> int:
    """Return -1 if a moment lies before all that a type can hold, 1 if after, else 0."""
    if not (isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns"):
        return 0
    nanos = _micros(_begin(moment)) * 1000
    return (nanos > 2**63 - 1) - (nanos < -(2**63) + 1)


def _constant(value: Any, holds: bool) -> Any:
    """Return an expression that is the same for each value, and null for null."""
    return value.dt.year() > 0 if holds else value.dt.year() < 0


def _micros(moment: dt.datetime) -> int:
    """Return microseconds since 1970; a time without a zone is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1)


@attrs.define(kw_only=True)
class DateRange(RowRule):
    """Every date or datetime lies within ``min`` and ``max``, both inclusive.

    Times without a zone, of the data as of the bounds, are UTC. A date as ``max`` includes that whole day. A date
    in the data is its midnight.

    :param min: the earliest allowed: a date, a datetime or ISO text; ``None`` is an open end
    :param max: the latest allowed; ``None`` is an open end
    """

    validator_name: ClassVar[str] = "date_range"
    applies_to: ClassVar[str] = "moment"
    observes_values: ClassVar[bool] = True

    min: Moment | None = attrs.field(default=None, converter=_moment, validator=options.optional(_is_moment))
    max: Moment | None = attrs.field(default=None, converter=_moment, validator=options.optional(_is_moment))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.min is None and self.max is None:
            raise OptionValueError(self.validator_name, "min", "give 'min', 'max' or both")
        if self.min is not None and self.max is not None:
            latest = self.max if isinstance(self.max, dt.datetime) else _last(self.max)
            if _begin(self.min) > latest:
                problem = f"min must not be after max, got {self.min.isoformat()} and {self.max.isoformat()}"
                raise OptionValueError(self.validator_name, "min", problem)

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the moment lies within the bounds."""
        value = nw.col(column)
        low, high, inclusive = self._interval(dtype)
        above = below = None
        if low is not None:
            beyond = _beyond(low, dtype)
            above = _constant(value, beyond < 0) if beyond else value >= _literal(nw, low, dtype)
        if high is None:
            return above
        if beyond := _beyond(high, dtype):
            below = _constant(value, beyond > 0)
        else:
            end = _literal(nw, high, dtype)
            below = value <= end if inclusive == "both" else value < end
        return below if above is None else above & below

    def _interval(self, dtype: pl.DataType) -> tuple[Moment | None, Moment | None, str]:
        """Return the bounds as values of a column's type, and whether the upper one itself is allowed."""
        low = None if self.min is None else _rounded(_begin(self.min), dtype, up=True)
        if self.max is None:
            return low, None, "both"
        whole_day = not isinstance(self.max, dt.datetime) and self.max < dt.date.max
        if whole_day and isinstance(dtype, pl.Datetime):
            return low, _rounded(_begin(self.max) + _DAY, dtype, up=True), "left"
        return low, _rounded(_begin(self.max), dtype, up=False), "both"

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; the count of values costs less than that of the answers."""
        return {
            "failed": Matching(~passes),
            "evaluated": Count(column),
        }

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        check = super().bind_column(name, dtype)
        assert check.passes is not None
        check.metrics = {
            **check.metrics,
            "failed": Matching(~check.passes, Outside(name, *self._interval(dtype))),
            "first": _Extreme(name, dtype, latest=False),
            "last": _Extreme(name, dtype, latest=True),
        }
        return check

    def observed(self, failed: int, evaluated: int, values: Values) -> str | None:
        """Return the extremes."""
        first, last = values.get("first"), values.get("last")
        return None if first is None or last is None else f"{_shown(first)} to {_shown(last)}"

    @property
    def requirement(self) -> str:
        """The interval."""
        low, high = (None if bound is None else _written(bound) for bound in (self.min, self.max))
        if low is None or high is None:
            return f"at most {high}" if low is None else f"at least {low}"
        return f"{low} to {high}"


def _written(moment: Moment) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _last(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time.max.replace(tzinfo=dt.UTC))


def _rounded(moment: dt.datetime, dtype: pl.DataType, *, up: bool) -> Moment:
    """Return a bound as a value of a column's type; rounded inwards where that is coarser than the bound."""
    if isinstance(dtype, pl.Datetime):
        if dtype.time_unit == "ms" and (over := moment.microsecond % 1000):
            moment -= dt.timedelta(microseconds=over)
            moment += dt.timedelta(milliseconds=1) if up else dt.timedelta()
        return moment if dtype.time_zone is not None else moment.replace(tzinfo=None)
    day = moment.date()
    return day + _DAY if up and moment > _begin(day) else day


def _literal(nw: Any, moment: Moment, dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        naive = nw.lit(moment.replace(tzinfo=None), dtype=nw.Datetime(dtype.time_unit, None))  # type: ignore[call-arg]
        return naive.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
    return nw.lit(moment, dtype=dtype)


@attrs.frozen
class _Extreme(Metric):
    """The first or the last moment of a column in microseconds of UTC, as Python has no year after 9999."""

    column: str
    dtype: pl.DataType
    latest: bool

    def expressions(self, nw: Any) -> Sequence[Any]:
        value = nw.col(self.column).to_physical()
        return (value.max() if self.latest else value.min(),)

    def state(self, values: Sequence[Any]) -> int | None:
        (value,) = values
        if value is None or not isinstance(self.dtype, pl.Datetime):
            return None if value is None else int(value) * _DAY_MICROS
        return int(value) * 1_000_000 // STEPS[self.dtype.time_unit]

    def known(self, part: Known) -> Any:
        facts = part.column(self.column)
        if facts.nulls == part.rows:
            return None
        value = facts.high if self.latest else facts.low
        return _micros(_begin(value)) if facts.exact and isinstance(value, dt.date) else UNKNOWN

    def merge(self, earlier: int | None, later: int | None) -> int | None:
        if earlier is None or later is None:
            return later if earlier is None else earlier
        return max(earlier, later) if self.latest else min(earlier, later)


def _shown(micros: int) -> str:
    return moment_text(micros, pl.Datetime("us")).removesuffix("T00:00:00")


@attrs.define(kw_only=True)
class Freshness(ColumnRule):
    """The newest value is at most ``max_age_seconds`` old when the data have been read.

    Times without a zone are UTC, a date is its midnight. A value in the future is not old.

    :param max_age_seconds: in seconds
    :param clock: what time it is; tests can bend it
    """

    validator_name: ClassVar[str] = "freshness"
    applies_to: ClassVar[str] = "moment"
    observes_values: ClassVar[bool] = True

    max_age_seconds: float = attrs.field(validator=options.number(minimum=0))
    clock: Clock = attrs.field(factory=Clock, eq=False, repr=False, validator=attrs.validators.instance_of(Clock))

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        metrics = {"rows": Count(), "evaluated": Count(name), "last": _Extreme(name, dtype, latest=True)}
        return Check(rule=self, columns=(name,), metrics=metrics)

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the age of the newest value with what is allowed."""
        newest = None if check.untyped else values["last"]
        if newest is None:
            return Verdict(outcome=CheckOutcome.FAILED, evaluated=values["evaluated"], message="there are no values")
        age = (_micros(self.clock.now()) - newest) / 1e6
        passed = age <= self.max_age_seconds
        observed = f"newest {_shown(newest)}, {_span(age)}"
        return Verdict(
            outcome=CheckOutcome.PASSED if passed else CheckOutcome.FAILED,
            evaluated=values["evaluated"],
            observed=observed,
            message="" if passed else f"the newest value is {_span(age)}, expected {self.expected}",
        )

    @property
    def expected(self) -> str:
        """The greatest age."""
        return f"at most {_span(self.max_age_seconds)}"


def _span(seconds: float) -> str:
    """Write an age with its two largest units."""
    if seconds < 0:
        return f"{_length(-seconds)} in the future"
    return f"{_length(seconds)} old"


def _length(seconds: float) -> str:
    if seconds == float("inf"):
        return "any time"
    parts = []
    rest = round(seconds, 3) if seconds < 60 else round(seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{int(count):,} {unit}")
    if rest or not parts:
        parts.append(f"{rest:g} s")
    return " ".join(parts[:2])
