"""The engine that runs morsels in worker threads of this process."""

from __future__ import annotations

__all__ = ("Interrupted", "MorselSize", "in_thread", "run_morsels")

import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import attrs
import polars as pl
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from sentrio.async_core.threads import call_sync
from sentrio.validation.measuring import MorselResult
from sentrio.validation.sources.base import CuttingReader, Morsel, Piece, Reader

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

# The main thread has heard of a SIGINT and told this one within this time.
_SIGNAL_SECONDS = 1.0
# Nobody sends so many signals to one step; whatever raises them is then something else.
_TRIES = 10

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


class Interrupted(Exception):
    """A step that Polars broke off because of a SIGINT, and that can not be taken again.

    A signal between engine and run, never seen by users.
    """


async def in_thread(
    function: Callable[[*Ts], T],
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    grace: float | None = None,
    again: bool = False,
) -> T:
    """Run one short step of a validation in a worker thread.

    :param grace: seconds that a cancelled run waits for it; ``None``: as for a morsel
    :param again: whether the step can simply be taken again after it was broken off
    :raises Interrupted: if it can not, or was broken off again and again
    """
    seconds = GRACE_SECONDS if grace is None else grace
    tries = _TRIES if again else 1
    while True:
        try:
            return await call_sync(function, *args, limiter=limiter, abandon_after=seconds)
        except KeyboardInterrupt:
            # Python raises this in the main thread alone. Polars ends its queries in every thread, and an event loop
            # would end with it. What the signal means is for the main thread to say: as a rule it cancels this run.
            await anyio.sleep(_SIGNAL_SECONDS)
            tries -= 1
            if not tries:
                raise Interrupted from None


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
    placed: int = 0
    moved: anyio.Event = attrs.field(factory=anyio.Event)
    done: bool = False  #: nothing more is read
    stopped: bool = False  #: by a merge
    failure: Exception | None = None

    async def work(self, scope: anyio.CancelScope) -> None:
        """Measure one morsel after another until there is none, or until somebody stops the run."""
        try:
            while await self._step():
                if self.settle is not None:
                    await self.settle()
        except Exception as exc:  # noqa: BLE001  # raised by run_morsels, without a group of one around it
            if self.failure is None:
                self.failure = exc
            self.done = True
            scope.cancel()

    async def _step(self) -> bool:
        """Measure what is read next; return whether there was anything."""
        found = await self._next()
        if isinstance(found, Morsel):
            await self._measure(found)
        elif found is not None:
            wanted, started = self.size.wanted, anyio.current_time()
            frame = problem = None
            try:
                frame = await in_thread(found.parse, limiter=_morsel_limiter(), again=True)
            except Exception as exc:  # noqa: BLE001  # for its turn: a piece before it may fail as well
                problem = exc
            seconds, index = anyio.current_time() - started, found.index
            del found  # its bytes are not held while others are waited for
            await self._measure_all(await self._placed(index, problem or frame, wanted), seconds)
            return True
        return found is not None

    async def _placed(self, index: int, parsed: Any, wanted: int) -> list[Morsel]:
        """Wait until all pieces before this one are placed, and place it."""
        assert isinstance(self.reader, CuttingReader)
        while self.placed < index:
            await self.moved.wait()
        if isinstance(parsed, Exception):
            # The pieces behind this one wait for a turn that does not come, and nobody may cut another one meanwhile.
            self.done = True
            self._move()
            async with self.reading:
                steps, end = self.reader.failed(parsed), object()
                while await in_thread(next, steps, end) is not end:
                    pass
            raise parsed
        morsels = list(self.reader.place(parsed, wanted))
        self._weigh(parsed)
        self.placed += 1
        self._move()
        return morsels

    async def _measure_all(self, morsels: list[Morsel], parsing: float) -> None:
        """Measure the morsels of a piece.

        :param parsing: seconds that parsing it took
        """
        rows = sum(morsel.rows for morsel in morsels)
        while morsels and not self.stopped:
            morsel = morsels.pop(0)
            await self._measure(morsel, parsing * morsel.rows / max(1, rows))

    async def _measure(self, morsel: Morsel, parsing: float = 0.0) -> None:
        started = anyio.current_time()
        result = await in_thread(self.measure, morsel, limiter=_morsel_limiter(), again=True)
        # A cancellation gets in between the two.
        self.size.learn(morsel.rows, max(parsing, anyio.current_time() - started))
        self._take(morsel, result)

    async def _next(self) -> Morsel | Piece | None:
        async with self.reading:
            # Answers that wait for an earlier morsel take memory: let that one catch up.
            while len(self.measured) > self.in_flight and not self.done:
                await self.moved.wait()
            while self.reader.lacks(self.size.wanted) and not self.done:
                await in_thread(self.reader.load)
                self.size.weigh(self.reader.bytes_per_row)
            if self.done:
                return None
            found: Morsel | Piece | None
            if isinstance(self.reader, CuttingReader):
                found = await in_thread(self.reader.cut, self.size.wanted)
            elif self.reader.blocking:
                found = await in_thread(self.reader.read, self.size.wanted)
                if found is not None and isinstance(found.frame, pl.DataFrame):
                    self._weigh(found.frame)
            else:
                found = self.reader.read(self.size.wanted)
            if found is None:
                self.done = True  # and never false again: a merge may have stopped the run meanwhile
            return found

    def _weigh(self, frame: pl.DataFrame) -> None:
        if frame.height:
            self.size.bytes_per_row = frame.estimated_size() / frame.height

    def _move(self) -> None:
        self.moved.set()
        self.moved = anyio.Event()

    def _take(self, morsel: Morsel, result: MorselResult) -> None:
        self.measured[morsel.index] = morsel, result
        while not (self.done and self.failure) and self.merged in self.measured:
            if self.merge(*self.measured.pop(self.merged)):
                self.done = self.stopped = True
            self.merged += 1
        self._move()
