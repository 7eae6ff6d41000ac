"""The due times of a schedule: pure arithmetic, at no time a walk through the calendar."""

from __future__ import annotations

__all__ = ("Grid",)

from datetime import UTC, datetime, timedelta, tzinfo
from datetime import time as time_of_day

import attrs

_DAY = timedelta(days=1)

# With an interval of several days, so many due times in a row may fall on weekdays that are not wanted before the
# schedule counts as one that is never due. The pattern of any interval below this many days repeats earlier.
_MOST_STEPS = 2_000


@attrs.frozen
class Grid:
    """``first``, and then one due time every ``interval``, up to ``end``, on ``weekdays`` only.

    Everything is in UTC; ``zone`` says which weekday a moment belongs to.
    """

    first: datetime
    interval: timedelta
    end: datetime | None
    weekdays: frozenset[int]  #: as :meth:`datetime.datetime.weekday` counts them; empty: all
    zone: tzinfo

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first due time after ``moment``; ``None``: there is none."""
        try:
            due = self._on_grid(moment)
            for _ in range(_MOST_STEPS):
                if self.end is not None and due > self.end:
                    return None
                if self.allows(due):
                    return due
                # The last grid point of the day that is not wanted is before the midnight that follows.
                due = self._on_grid(max(due, self._midnight_after(due) - timedelta.resolution))
        except OverflowError:  # the year 10,000
            return None
        return None

    def passed(self, after: datetime, until: datetime) -> tuple[int, datetime]:
        """Return how many due times there are after ``after`` up to ``until``, and the last of them.

        If there are none, the last one is ``after``.
        """
        if self.end is not None:
            until = min(until, self.end)
        total, last = 0, after
        due = self.next_after(after)
        while due is not None and due <= until:
            # All grid points of one local day are alike; without weekdays, all there are.
            stop = min(until, self._midnight_after(due) - timedelta.resolution) if self.weekdays else until
            total += self._index(stop) - self._index(due) + 1
            last = self.first + self._index(stop) * self.interval
            due = self.next_after(stop)
        return total, last

    def allows(self, moment: datetime) -> bool:
        """Tell whether weekday and end would admit a due time at this moment."""
        if self.end is not None and moment > self.end:
            return False
        return not self.weekdays or moment.astimezone(self.zone).weekday() in self.weekdays

    def _index(self, moment: datetime) -> int:
        """Return the number of the last grid point up to ``moment``; -1 if none has been."""
        return -1 if moment < self.first else (moment - self.first) // self.interval

    def _on_grid(self, moment: datetime) -> datetime:
        """Return the first grid point after ``moment``."""
        return self.first + (self._index(moment) + 1) * self.interval

    def _midnight_after(self, moment: datetime) -> datetime:
        """Return the beginning of the next local day, in UTC."""
        local = moment.astimezone(self.zone)
        midnight = datetime.combine(local.date() + _DAY, time_of_day(), self.zone).astimezone(UTC)
        # Where clocks are put back across midnight, the day goes on after it.
        return max(midnight, moment + timedelta.resolution)
