"""Sleeping by a wall clock, in any number: one sleeper looks at the clock, for all of them.

Nobody tells a sleeper that a wall clock was set, or that the machine was asleep, so somebody has to look again now
and then. Ten thousand sleepers that each look for themselves cost a third of a per cent of a core.
"""

from __future__ import annotations

__all__ = ("Sleepers",)

import heapq
from collections.abc import Callable
from datetime import datetime

import anyio
import attrs

# Below this many it is not worth while to clear the heap of sleepers who left before their time.
_FEW = 64


@attrs.define(eq=False)
class _Sleeper:
    event: anyio.Event = attrs.field(factory=anyio.Event)
    awake: bool = False
    gone: bool = False


@attrs.define(eq=False)
class Sleepers:
    """All who sleep by one clock in one event loop.

    There is no task for it: one of the sleepers, whoever is there, watches the clock and wakes the others; when it
    leaves, it hands the watch over.
    """

    _look_again_seconds: float  #: how late a sleeper may be after the clock was set forward
    # Of two with the same moment, who came first wakes first. Tuples compare ten times as fast as objects do.
    _heap: list[tuple[datetime, int, _Sleeper]] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)
    _gone: int = attrs.field(default=0, init=False)
    _watched: bool = attrs.field(default=False, init=False)
    _until: datetime | None = attrs.field(default=None, init=False)
    _changed: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    async def sleep_until(self, moment: datetime, now: Callable[[], datetime]) -> None:
        """Sleep until the clock shows ``moment`` or later.

        :param now: reads the clock
        """
        self._count += 1
        me = _Sleeper()
        heapq.heappush(self._heap, (moment, self._count, me))
        if self._until is not None and moment < self._until:
            self.look_again()
        try:
            while not me.awake:
                if not self._watched:
                    await self._watch(me, now)
                else:
                    if me.event.is_set():  # the watch was to be handed over, and somebody else was faster
                        me.event = anyio.Event()
                    await me.event.wait()
        finally:
            if not me.awake:
                self._leave(me)
            self._hand_over()

    def look_again(self) -> None:
        """Have whoever watches look at the clock now: it was set, or somebody has come who is to wake earlier."""
        self._changed.set()

    async def _watch(self, me: _Sleeper, now: Callable[[], datetime]) -> None:
        self._watched = True
        try:
            while not self._wake(me, now()):
                self._until = self._heap[0][0]
                self._changed = anyio.Event()
                remaining = (self._until - now()).total_seconds()
                with anyio.move_on_after(min(max(remaining, 0.0), self._look_again_seconds)):
                    await self._changed.wait()
        finally:
            self._watched = False
            self._until = None

    def _wake(self, me: _Sleeper, now: datetime) -> bool:
        """Wake everybody whose moment has come; tell whether ``me`` was among them."""
        while self._heap and (self._heap[0][2].gone or self._heap[0][0] <= now):
            _, _, sleeper = heapq.heappop(self._heap)
            if sleeper.gone:
                self._gone -= 1
            sleeper.awake = True
            sleeper.event.set()
        return me.awake

    def _leave(self, me: _Sleeper) -> None:
        me.gone = True
        self._gone += 1
        if self._gone > max(_FEW, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if not entry[2].gone]
            heapq.heapify(self._heap)
            self._gone = 0

    def _hand_over(self) -> None:
        if self._watched:
            return
        while self._heap and self._heap[0][2].gone:
            heapq.heappop(self._heap)
            self._gone -= 1
        if self._heap:
            self._heap[0][2].event.set()
