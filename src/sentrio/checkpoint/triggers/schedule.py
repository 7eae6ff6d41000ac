"""Runs at regular intervals."""

from __future__ import annotations

__all__ = ("ScheduleConfig", "ScheduleTrigger")

import math
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as time_of_day
from typing import Any, ClassVar

import attrs

from sentrio import _options as options
from sentrio.checkpoint.triggers._grid import Grid
from sentrio.checkpoint.triggers._timed import TimedConfig, TimedTrigger, check_zone, parse_zone
from sentrio.errors import OptionValueError

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_SHORTEST = timedelta(milliseconds=1)
_LONGEST = timedelta(days=36_525)


def _zone(value: Any) -> Any:
    return parse_zone(value, "ScheduleTrigger")


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time_of_day())
    return value


def _is_moment(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, datetime):
        problem = f"{field.name} must be a date and time, as in '2026-12-24 18:00', got {value!r}"
        raise OptionValueError("ScheduleTrigger", field.name, problem)


def _weekday(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 6:
        return value
    text = value.lower() if isinstance(value, str) else ""
    found = [number for number, name in enumerate(_WEEKDAYS) if text in (name, name[:3])]
    if not found:
        problem = f"weekdays must be names like 'mon' or 'monday', or numbers from 0 (Monday) to 6, got {value!r}"
        raise OptionValueError("ScheduleTrigger", "weekdays", problem)
    return found[0]


def _weekdays(value: Any) -> Any:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise OptionValueError("ScheduleTrigger", "weekdays", f"weekdays must be a list, got {value!r}")
    numbers = [_weekday(item) for item in value]
    if not numbers:
        raise OptionValueError("ScheduleTrigger", "weekdays", "weekdays must not be empty; leave it out for all days")
    return tuple(sorted(set(numbers)))


@attrs.define(kw_only=True)
class ScheduleConfig(TimedConfig):
    """Options of :class:`ScheduleTrigger`."""

    option_owner: ClassVar[str] = "ScheduleTrigger"

    interval_seconds: float = attrs.field(default=0, validator=options.number(minimum=0))
    interval_minutes: float = attrs.field(default=0, validator=options.number(minimum=0))
    interval_hours: float = attrs.field(default=0, validator=options.number(minimum=0))
    interval_days: float = attrs.field(default=0, validator=options.number(minimum=0))
    start_at: datetime | None = attrs.field(default=None, converter=_moment, validator=_is_moment)
    end_at: datetime | None = attrs.field(default=None, converter=_moment, validator=_is_moment)
    weekdays: tuple[int, ...] = attrs.field(default=None, converter=_weekdays)
    timezone: tzinfo = attrs.field(default=UTC, converter=_zone, validator=check_zone)

    def __attrs_post_init__(self) -> None:
        self._check_interval()
        self.start_at, self.end_at = self._aware("start_at"), self._aware("end_at")
        if self.start_at is not None and self.end_at is not None and self.end_at < self.start_at:
            self._refuse("end_at", f"end_at must not be before start_at, got {self.end_at} and {self.start_at}")
        if self.start_at is not None:
            grid = self.grid(self.start_at)
            if grid.next_after(self.start_at - timedelta.resolution) is None:
                self._refuse("weekdays", "no due time between start_at and end_at falls on one of the weekdays")

    def _check_interval(self) -> None:
        parts = (self.interval_seconds, self.interval_minutes, self.interval_hours, self.interval_days)
        if not any(parts):
            self._refuse("interval_seconds", "an interval is missing; give it as in interval_minutes=15")
        total = self.interval_seconds + 60 * (self.interval_minutes + 60 * (self.interval_hours + 24 * parts[3]))
        if math.isinf(total) or not _SHORTEST.total_seconds() <= total <= _LONGEST.total_seconds():
            self._refuse("interval_seconds", f"the interval must be from 0.001 s to 100 years, got {total:g} s")

    def _refuse(self, option: str, problem: str) -> None:
        raise OptionValueError(self.option_owner, option, problem)

    def _aware(self, name: str) -> datetime | None:
        """Return a moment with its time zone; one that is written without has that of ``timezone``."""
        moment: datetime | None = getattr(self, name)
        if moment is None:
            return None
        try:
            return (moment.replace(tzinfo=self.timezone) if moment.tzinfo is None else moment).astimezone(UTC)
        except OverflowError:
            problem = f"{name} must lie between the years 1 and 9999 in UTC, got {moment}"
            raise OptionValueError(self.option_owner, name, problem) from None

    @property
    def first_at(self) -> datetime | None:
        """``start_at``."""
        return self.start_at

    @property
    def interval(self) -> timedelta:
        """All parts of the interval, added up."""
        return timedelta(
            seconds=self.interval_seconds,
            minutes=self.interval_minutes,
            hours=self.interval_hours,
            days=self.interval_days,
        )

    def grid(self, begin: datetime) -> Grid:
        """Return the due times of a schedule that begins now, at ``begin``."""
        if self.start_at is not None:
            first = self.start_at
        else:
            try:
                first = begin + self.interval
            except OverflowError:
                first = datetime.max.replace(tzinfo=UTC)
        return Grid(first, self.interval, self.end_at, frozenset(self.weekdays), self.timezone)


class ScheduleTrigger(TimedTrigger[ScheduleConfig]):
    """Fire at regular intervals.

    The first firing is one interval after the beginning, or at ``start_at``; with ``run_immediately`` there is one
    at the beginning too, if the schedule's dates and weekdays allow that. Due times lie on a grid from there,
    however long runs take. An interval is elapsed time: a day is 24 hours, also when the clocks change.

    :param interval_seconds: these four are added up
    :param interval_minutes: see above
    :param interval_hours: see above
    :param interval_days: see above
    :param start_at: the first due time: a datetime, or text like ``"2026-12-24 18:00"``; without a time zone of its
        own it has that of ``timezone``; if it has passed, the grid goes on from it. ``None``: one interval after the
        beginning
    :param end_at: there are no due times after it; ``None``: no end
    :param weekdays: names (``mon`` or ``monday``) or numbers from 0 (Monday) to 6 (Sunday); ``None``: all
    :param timezone: whose weekdays count: a name like ``Europe/Berlin``, or a :class:`datetime.tzinfo`
    :raises OptionValueError: for a bad value, also for an interval that is missing
    :raises UnknownOptionError: for an option that nobody knows
    """

    trigger_type: ClassVar[str] = "schedule"
