"""Runs at the times of a cron expression."""

from __future__ import annotations

__all__ = ("CronConfig", "CronTrigger")

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar

import attrs
from cronsim import CronSim, CronSimError

from sentrio.checkpoint.triggers._timed import DueTimes, TimedConfig, TimedTrigger, check_zone, parse_zone
from sentrio.errors import OptionValueError

_SECOND = timedelta(seconds=1)

# Missed firings are counted one by one, at some microseconds each; more than these are as bad.
_MOST_COUNTED = 1000


def _expression(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        problem = f"expression must be text of five or six fields, as in '0 6 * * 1-5', got {value!r}"
        raise OptionValueError("CronTrigger", "expression", problem)
    try:
        CronSim(value, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as exc:
        problem = (
            f"expression {value!r} is no cron expression ({str(exc).lower()}); its fields are minute, hour, day of "
            "month, month, day of week, and before them seconds if there are six, as in '0 6 * * 1-5'"
        )
        raise OptionValueError("CronTrigger", "expression", problem) from None


def _zone(value: Any) -> Any:
    return parse_zone(value, "CronTrigger")


@attrs.frozen
class _CronTimes:
    """The due times of a cron expression in a time zone."""

    expression: str
    zone: tzinfo

    def next_after(self, moment: datetime) -> datetime | None:
        return self._step(moment.replace(microsecond=0))

    def passed(self, after: datetime, until: datetime) -> tuple[int, datetime]:
        last = self._step(until.replace(microsecond=0) + _SECOND, reverse=True)
        if last is None or last <= after:
            return 0, after
        count, due = 0, self.next_after(after)
        while due is not None and due <= last and count < _MOST_COUNTED:
            count += 1
            due = self.next_after(due)
        return count, last

    def allows(self, moment: datetime) -> bool:
        return True

    def _step(self, moment: datetime, *, reverse: bool = False) -> datetime | None:
        try:
            found: datetime = next(CronSim(self.expression, moment.astimezone(self.zone), reverse=reverse))
        except (StopIteration, OverflowError, ValueError):
            return None
        return found.astimezone(UTC)


@attrs.define(kw_only=True)
class CronConfig(TimedConfig):
    """Options of :class:`CronTrigger`."""

    option_owner: ClassVar[str] = "CronTrigger"

    expression: str = attrs.field(validator=_expression)
    timezone: tzinfo = attrs.field(default=UTC, converter=_zone, validator=check_zone)

    def grid(self, begin: datetime) -> DueTimes:
        """Return the due times."""
        return _CronTimes(self.expression, self.timezone)


class CronTrigger(TimedTrigger[CronConfig]):
    """Fire at the times of a cron expression, as Debian's cron does, also where clocks are changed.

    A time that a change of clocks leaves out is due right after the change, one that it repeats is due once.
    Of firings that were missed, up to 1,000 are counted.

    :param expression: minute, hour, day of month, month, day of week (0 and 7 are Sunday), as in ``0 6 * * 1-5``;
        with six fields the first one is seconds
    :param timezone: a name like ``Europe/Berlin``, or a :class:`datetime.tzinfo`
    :raises OptionValueError: for an expression that is none or never due, or another bad value
    :raises UnknownOptionError: for an option that nobody knows
    """

    trigger_type: ClassVar[str] = "cron"
