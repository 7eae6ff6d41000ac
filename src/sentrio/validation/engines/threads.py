"""The engine that runs morsels in worker threads of this process."""

from __future__ import annotations

__all__ = ("MorselSize", "in_thread", "run_morsels")

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import attrs
import polars as pl
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from sentrio.async_core.threads import call_sync
from sentrio.validation.plan import MorselResult
from sentrio.validation.sources.base import Morsel, Reader

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A cancelled run waits this long for the morsels in flight, which are shorter; then it leaves them behind. With what
# it takes to notice that, it is back within 100 ms.
GRACE_SECONDS = 0.07

# What one morsel should take: long enough that starting a query does not count, short enough to be the
# longest wait after a cancellation.
_TARGET_SECONDS = 0.04
# Only what takes longer makes the next ones smaller: on a busy machine everything takes longer, and many small
# morsels cost more than a few large ones.
_BEARABLE_SECONDS = 0.08
# Morsels that cost so much more a row than larger ones did are not worth it.
_USELESS = 1.3
# What happens once takes no longer than this.
_COLD_SECONDS = 0.5
# Up to here a machine that is busy with something else is a likelier cause than the rows.
_BUSY_SECONDS = 0.3
_TARGET_BYTES = 32 * 2**20
# Pieces of rows that are too large to be read together: what these cost is their bytes.
_PIECE_BYTES = 8 * 2**20
_FIRST_ROWS = 65_536
_LARGEST_UNIT = 4 * _FIRST_ROWS
_LEAST_ROWS = 256
# Below this, what a morsel costs whatever its size would outweigh what its rows cost.
_LEAST_TIMED_ROWS = 8_192

# More queries than this at once, over all runs of an event loop, gain nothing and delay every one of them.
_QUERIES_PER_THREAD = 2

_limiter: RunVar[CapacityLimiter] = RunVar("sentrio_morsels")


def _morsel_limiter() -> CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(max(4, _QUERIES_PER_THREAD * pl.thread_pool_size()))
        _limiter.set(limiter)
        return limiter


async def in_thread(function: Callable[[*Ts], T], *args: *Ts, limiter: CapacityLimiter | None = None) -> T:
    """Run one short step of a validation in a worker thread."""
    return await call_sync(function, *args, limiter=limiter, abandon_after=GRACE_SECONDS)


@attrs.define(eq=False)
class MorselSize:
    """How many rows the next morsel should have, learnt from those before."""

    fixed: int | None = None
    bytes_per_row: float | None = None
    unit: int = 1  #: rows that are read together at hardly more cost than a few of them
    most_bytes: float = _TARGET_BYTES
    warming: int = 1  #: the first morsels pay for what happens once, such as imports and samples
    _whole: float = attrs.field(default=math.inf, init=False)  # the least seconds a row, of units and more
    _piece: float = attrs.field(default=math.inf, init=False)  # and of less than a unit
    rows: float = attrs.field()

    @rows.default
    def _first(self) -> float:
        return max(_FIRST_ROWS, min(self.unit, _LARGEST_UNIT))

    @property
    def wanted(self) -> int:
        """The number of rows to ask for."""
        if self.fixed is not None:
            return self.fixed
        return max(1, int(min(max(_LEAST_ROWS, self.rows), self._most)))

    @property
    def _heavy(self) -> bool:
        """Whether the rows of a unit are too large for one morsel, by their bytes."""
        return self.unit > 1 and (self.bytes_per_row or 0) * self.unit > max(self.most_bytes, _TARGET_BYTES)

    @property
    def _most(self) -> float:
        if not self.bytes_per_row:
            return math.inf
        return (min(self.most_bytes, _PIECE_BYTES) if self._heavy else self.most_bytes) / self.bytes_per_row

    def weigh(self, bytes_per_row: float | None) -> None:
        """Take in that rows are larger than they seemed to be."""
        if bytes_per_row is not None:
            self.bytes_per_row = max(self.bytes_per_row or 0, bytes_per_row)

    def learn(self, rows: int, seconds: float) -> None:
        """Take in how long a morsel took."""
        # A remainder at the end of a file says little about the time of a whole morsel.
        if self.fixed is not None or rows < self.wanted // 2 or seconds <= 0:
            return
        if self.warming and seconds < _COLD_SECONDS:
            self.warming -= 1
            if seconds > _TARGET_SECONDS:
                return
        unit = 1 if self._heavy else self.unit
        if rows >= unit:
            self._whole = min(self._whole, seconds / rows)
        else:
            self._piece = min(self._piece, seconds / rows)
        # Rows that are read together anyway: pieces of them may cost as much as the whole, each.
        useless = self._whole < math.inf and math.inf > self._piece > _USELESS * self._whole
        least: float = _LEAST_TIMED_ROWS
        if useless:
            least = unit
        elif seconds < _BUSY_SECONDS:
            least = max(least, min(unit, _LARGEST_UNIT) / 4)
        ideal = rows * _TARGET_SECONDS / seconds
        if seconds < _TARGET_SECONDS:
            self.rows = max(min(ideal, self.rows * 2), self.rows, least)
        elif seconds > _BEARABLE_SECONDS:
            self.rows = max(ideal, self.rows / 4, least)
        else:
            self.rows = max(self.rows, least)


async def run_morsels(
    reader: Reader,
    measure: Callable[[Morsel], MorselResult],
    merge: Callable[[Morsel, MorselResult], bool],
    *,
    size: MorselSize,
    in_flight: int | None = None,
    settle: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Read morsels, measure each in a worker thread, and merge the answers in the order of the morsels.

    :param measure: runs in a worker thread
    :param merge: runs in the event loop; true stops the reading
    :param in_flight: morsels that are measured at once; ``None``: as many as Polars has threads
    :param settle: awaited after each merge, before the next morsel is read: what is slow about merging
    :raises BaseException: the first one that reading or measuring raises, as itself
    """
    threads = pl.thread_pool_size()
    in_flight = in_flight or threads
    # The more of them share the threads, the longer each takes: so long does a cancelled run wait.
    size.most_bytes = min(size.most_bytes, size.most_bytes * threads / in_flight)
    size.warming = in_flight
    run = _Run(reader, measure, merge, size, in_flight, settle)
    async with anyio.create_task_group() as tg:
        for number in range(run.in_flight):
            tg.start_soon(run.work, tg.cancel_scope, name=f"sentrio: morsels {number}")
    if run.failure is not None:
        try:
            raise run.failure
        finally:
            run.failure = None


@attrs.define(eq=False)
class _Run:
    reader: Reader
    measure: Callable[[Morsel], MorselResult]
    merge: Callable[[Morsel, MorselResult], bool]
    size: MorselSize
    in_flight: int
    settle: Callable[[], Awaitable[None]] | None
    reading: anyio.Lock = attrs.field(factory=anyio.Lock)
    measured: dict[int, tuple[Morsel, MorselResult]] = attrs.field(factory=dict)
    merged: int = 0
    moved: anyio.Event = attrs.field(factory=anyio.Event)
    done: bool = False
    failure: Exception | None = None

    async def work(self, scope: anyio.CancelScope) -> None:
        """Measure one morsel after another until there is none, or until somebody stops the run."""
        try:
            while (morsel := await self._next()) is not None:
                started = anyio.current_time()
                result = await in_thread(self.measure, morsel, limiter=_morsel_limiter())
                self.size.learn(morsel.rows, anyio.current_time() - started)
                self._take(morsel, result)
                del morsel, result  # nothing is held while others are waited for
                if self.settle is not None:
                    await self.settle()
        except Exception as exc:  # noqa: BLE001  # raised by run_morsels, without a group of one around it
            if self.failure is None:
                self.failure = exc
            self.done = True
            scope.cancel()

    async def _next(self) -> Morsel | None:
        async with self.reading:
            # Answers that wait for an earlier morsel take memory: let that one catch up.
            while len(self.measured) > self.in_flight and not self.done:
                await self.moved.wait()
            while self.reader.lacks(self.size.wanted) and not self.done:
                await in_thread(self.reader.load)
                self.size.weigh(self.reader.bytes_per_row)
            if self.done:
                return None
            if self.reader.blocking:
                morsel = await in_thread(self.reader.read, self.size.wanted)
            else:
                morsel = self.reader.read(self.size.wanted)
            if morsel is None:
                self.done = True
            elif isinstance(morsel.frame, pl.DataFrame) and morsel.rows and self.reader.blocking:
                self.size.bytes_per_row = morsel.frame.estimated_size() / morsel.rows
            return morsel

    def _take(self, morsel: Morsel, result: MorselResult) -> None:
        self.measured[morsel.index] = morsel, result
        while not (self.done and self.failure) and self.merged in self.measured:
            if self.merge(*self.measured.pop(self.merged)):
                self.done = True
            self.merged += 1
        self.moved.set()
        self.moved = anyio.Event()
