"""Runs at regular intervals."""

from __future__ import annotations

__all__ = ("ScheduleConfig", "ScheduleTrigger")

import logging
import math
import zoneinfo
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as time_of_day
from typing import Any, ClassVar

import attrs

from sentrio import _options as options
from sentrio.async_core.clock import Clock
from sentrio.checkpoint.triggers._grid import Grid
from sentrio.checkpoint.triggers.base import (
    BaseTrigger,
    MissedPolicy,
    TriggerConfig,
    TriggerResult,
    TriggerWatch,
)
from sentrio.errors import OptionValueError, suggestion
from sentrio.validation.wording import count_of

logger = logging.getLogger("sentrio.checkpoint.triggers")

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_SHORTEST = timedelta(milliseconds=1)
_LONGEST = timedelta(days=36_525)

# A busy machine wakes a sleeper late, and a clock that was set is noticed within a minute: a firing that was waited
# for counts as missed only when it is later than that.
_ON_TIME = timedelta(seconds=60)

# One that nobody waited for was missed, unless somebody came just in time for it: no later than a firing may be.
_JUST_IN_TIME = timedelta(milliseconds=50)


def _zone(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.upper() == "UTC":
        return UTC  # also where there is no time zone database
    try:
        return zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        known = zoneinfo.available_timezones()
        hint = suggestion(value, known) if value else ""
        hint = hint if "did you mean" in hint else "; write it as in 'Europe/Berlin'"
        if not known:
            hint = "; this machine has no time zone database: install the package tzdata"
        problem = f"timezone must name a time zone, got {value!r}{hint}"
        raise OptionValueError("ScheduleTrigger", "timezone", problem) from None


def _is_zone(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tzinfo):
        raise OptionValueError("ScheduleTrigger", field.name, f"timezone must name a time zone, got {value!r}")


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
class ScheduleConfig(TriggerConfig):
    """Options of :class:`ScheduleTrigger`."""

    option_owner: ClassVar[str] = "ScheduleTrigger"

    interval_seconds: float = attrs.field(default=0, validator=options.number(minimum=0))
    interval_minutes: float = attrs.field(default=0, validator=options.number(minimum=0))
    interval_hours: float = attrs.field(default=0, validator=options.number(minimum=0))
    interval_days: float = attrs.field(default=0, validator=options.number(minimum=0))
    start_at: datetime | None = attrs.field(default=None, converter=_moment, validator=_is_moment)
    end_at: datetime | None = attrs.field(default=None, converter=_moment, validator=_is_moment)
    weekdays: tuple[int, ...] = attrs.field(default=None, converter=_weekdays)
    timezone: tzinfo = attrs.field(default=UTC, converter=_zone, validator=_is_zone)

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


class ScheduleTrigger(BaseTrigger[ScheduleConfig]):
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

    _own: _ScheduleWatch | None = None

    def watch(
        self, *, clock: Clock | None = None, poll_interval: float = 1.0, since: datetime | None = None
    ) -> TriggerWatch:
        """Begin to watch the schedule; see :meth:`BaseTrigger.watch`."""
        if self._asks_more:
            return super().watch(clock=clock, poll_interval=poll_interval, since=since)
        return _ScheduleWatch(self, clock=clock, poll_interval=poll_interval, since=since)

    @property
    def _asks_more(self) -> bool:
        """Whether a subclass has conditions of its own."""
        cls = type(self)
        return (cls.wait, cls.should_trigger) != (ScheduleTrigger.wait, ScheduleTrigger.should_trigger)

    async def wait(self, poll_interval: float = 1.0) -> TriggerResult:
        """Sleep until the schedule is due.

        Its beginning is the first call of this method or of :meth:`should_trigger`; whoever shares the trigger with
        others uses a :meth:`watch` of his own.

        :param poll_interval: seconds between two questions to a subclass that overrides :meth:`should_trigger`
        """
        return await (super().wait(poll_interval) if self._asks_more else self._own_watch().wait())

    def should_trigger(self) -> TriggerResult:
        """Tell whether the schedule has come due since it was asked last; see :meth:`wait`."""
        return self._own_watch().poll()

    def _own_watch(self) -> _ScheduleWatch:
        if self._own is None:
            self._own = _ScheduleWatch(self)
        return self._own

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_own"}


class _ScheduleWatch(TriggerWatch):
    """Where one watcher stands on the grid."""

    def __init__(self, trigger: ScheduleTrigger, **given: Any) -> None:
        super().__init__(trigger, **given)
        config = trigger.config
        self._begin = self.clock.now()
        self._grid = config.grid(self._begin if self.since is None else self.since.astimezone(UTC))
        #: due times up to here are dealt with
        self._last = self._begin if self.since is None else self.since.astimezone(UTC)
        if config.start_at == self._begin:
            self._last -= timedelta.resolution
        self._unreported = 0

    def poll(self) -> TriggerResult:
        """Return what :meth:`wait` would return now, or that it would wait."""
        answer = self._opening()
        if answer is None:
            answer = self._take(self.clock.now(), watched=True)
        return TriggerResult(False, "not due yet") if answer is None else self._closing(answer)

    async def _due(self) -> TriggerResult:
        # Between the beginning of the watch and the first wait nobody was busy with anything else.
        result = self._take(self.clock.now(), watched=self._fired == 0 and self.since is None)
        while result is None:
            due = self._next_due()
            if due is None:
                return TriggerResult(False, "the schedule has no further due time")
            await self.clock.sleep_until(due)
            result = self._take(self.clock.now(), watched=True)
        return result

    def _next_due(self) -> datetime | None:
        return self._grid.next_after(self._last)

    def _at_once(self) -> TriggerResult | None:
        config: ScheduleConfig = self.trigger.config
        early = config.start_at is not None and config.start_at >= self._begin
        return None if early or not self._grid.allows(self._begin) else super()._at_once()

    def _take(self, now: datetime, *, watched: bool) -> TriggerResult | None:
        """Return the firing that is due; ``None``: there is none, or only such as are skipped.

        :param watched: the last due time was waited for
        """
        count, latest = self._grid.passed(self._last, now)
        if not count:
            return None
        policy = MissedPolicy(self.trigger.config.missed)
        on_time = now - latest <= (_ON_TIME if watched else _JUST_IN_TIME)
        if policy is MissedPolicy.RUN_ALL:
            due = self._grid.next_after(self._last)
            assert due is not None  # the first of those that have passed
            on_time = on_time and count == 1
            self._last = due
            missed = 0 if on_time else 1
        else:
            self._last = due = latest
            missed = count - on_time
        if missed:
            self._note(missed, due, policy)
        if policy is MissedPolicy.SKIP and not on_time:
            self._unreported += missed
            return None
        missed, self._unreported = missed + self._unreported, 0
        reason = f"due at {due:%Y-%m-%d %H:%M:%S} UTC"
        if missed:
            reason += f"; {missed} missed"
        return TriggerResult(True, reason, missed=missed, due_at=due)

    def _note(self, missed: int, due: datetime, policy: MissedPolicy) -> None:
        self._missed += missed
        logger.warning(
            "trigger %s: %s missed, up to the one due at %s; missed=%s",
            self.trigger.name,
            count_of(missed, "firing"),
            due.isoformat(),
            policy,
        )
