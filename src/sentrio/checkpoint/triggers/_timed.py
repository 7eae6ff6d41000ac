"""Triggers that know their due times: what schedules and cron expressions have in common."""

from __future__ import annotations

__all__ = ("DueTimes", "TimedConfig", "TimedTrigger", "check_zone", "parse_zone")

import logging
import zoneinfo
from abc import abstractmethod
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol, TypeVar

import attrs

from sentrio import _options as options
from sentrio.async_core.clock import Clock
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

# A busy machine wakes a sleeper late, and a clock that was set is noticed within a minute: a firing that was waited
# for counts as missed only when it is later than that.
_ON_TIME = timedelta(seconds=60)

# One that nobody waited for was missed, unless somebody came just in time for it: no later than a firing may be.
_JUST_IN_TIME = timedelta(milliseconds=50)


class DueTimes(Protocol):
    """The moments at which a trigger is due, in UTC."""

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first due time after ``moment``; ``None``: there is none."""

    def passed(self, after: datetime, until: datetime) -> tuple[int, datetime]:
        """Return how many due times there are after ``after`` up to ``until``, and the last of them."""

    def allows(self, moment: datetime) -> bool:
        """Tell whether a due time at this moment would fit."""


def parse_zone(value: Any, owner: str) -> Any:
    """Return the time zone of a name; what is no name is returned as it is.

    :raises OptionValueError: if there is no such time zone
    """
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
        raise OptionValueError(owner, "timezone", problem) from None


def check_zone(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tzinfo):
        raise OptionValueError(
            options.owner_of(type(owner)), field.name, f"timezone must name a time zone, got {value!r}"
        )


@attrs.define(kw_only=True)
class TimedConfig(TriggerConfig):
    """What triggers that know their due times have in common."""

    @property
    def first_at(self) -> datetime | None:
        """A moment before which it is never due, also not when it is first watched; ``None``: there is none."""
        return None

    @abstractmethod
    def grid(self, begin: datetime) -> DueTimes:
        """Return the due times for who begins to watch at ``begin``."""


ConfigT = TypeVar("ConfigT", bound=TimedConfig)


class TimedTrigger(BaseTrigger[ConfigT]):
    """Base of triggers that sleep until the very moment at which they are due."""

    _own: TimedWatch | None = None

    def watch(
        self, *, clock: Clock | None = None, poll_interval: float = 1.0, since: datetime | None = None
    ) -> TriggerWatch:
        """Begin to watch the schedule; see :meth:`BaseTrigger.watch`."""
        if self._asks_more:
            return super().watch(clock=clock, poll_interval=poll_interval, since=since)
        return TimedWatch(self, clock=clock, poll_interval=poll_interval, since=since)

    @property
    def _asks_more(self) -> bool:
        """Whether a subclass has conditions of its own."""
        cls = type(self)
        return (cls.wait, cls.should_trigger) != (TimedTrigger.wait, TimedTrigger.should_trigger)

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

    def _own_watch(self) -> TimedWatch:
        if self._own is None:
            self._own = TimedWatch(self)
        return self._own

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_own"}


class TimedWatch(TriggerWatch):
    """Where one watcher stands on the grid."""

    def __init__(self, trigger: TimedTrigger[Any], **given: Any) -> None:
        super().__init__(trigger, **given)
        config = trigger.config
        self._begin = self.clock.now()
        self._grid: DueTimes = config.grid(self._begin if self.since is None else self.since.astimezone(UTC))
        #: due times up to here are dealt with
        self._last = self._begin if self.since is None else self.since.astimezone(UTC)
        if config.first_at == self._begin:
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
        config: TimedConfig = self.trigger.config
        early = config.first_at is not None and config.first_at >= self._begin
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
