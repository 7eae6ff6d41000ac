"""A circuit breaker: after some failures in a row, leave the other side alone for a while.

Closed, it lets every attempt through. After ``failure_threshold`` failures it opens and refuses attempts at
once. After ``recovery_timeout`` seconds it is half open: a few probes may pass, and their outcome decides
whether it closes or opens again. No timer runs; time is looked at when somebody asks.
"""

from __future__ import annotations

__all__ = ("Attempt", "CircuitBreaker", "CircuitState", "CircuitStatistics")

import enum
import math
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import anyio
import anyio.lowlevel
import attrs

from sentrio.async_core._checks import check_count, check_number, field_check, known_options
from sentrio.async_core.telemetry import metric_counter
from sentrio.errors import CircuitOpenError

P = ParamSpec("P")
T = TypeVar("T")

_opened = metric_counter("sentrio.circuit.opened")
_closed = metric_counter("sentrio.circuit.closed")
_refused = metric_counter("sentrio.circuit.refused")


class CircuitState(enum.Enum):
    """What a circuit breaker does with the next attempt."""

    CLOSED = "closed"  #: it lets the attempt through
    OPEN = "open"  #: it refuses it
    HALF_OPEN = "half_open"  #: it lets a few attempts through as probes


@attrs.frozen(kw_only=True)
class CircuitStatistics:
    """What a circuit breaker has seen."""

    state: CircuitState
    failures: int  #: failures that count towards the threshold
    successes: int  #: successful probes since it is half open
    probes: int  #: probes that are on their way
    refused: int  #: attempts refused since it was made
    retry_in: float  #: seconds until it lets a probe through, 0 unless it is open


@attrs.frozen
class _Mark:
    """A point in time that can be told apart from now, in this event loop and in a later one."""

    loop: weakref.ref[Any] | None  #: ``None`` if no loop was running
    at: float
    monotonic: float

    @classmethod
    def now(cls) -> Self:
        try:
            loop = anyio.lowlevel.current_token().native_token
        except anyio.NoEventLoopError:
            return cls(None, math.nan, time.monotonic())
        return cls(weakref.ref(loop), anyio.current_time(), time.monotonic())

    def elapsed(self) -> float:
        # Each trio run starts its clock at random, so marks of another run need the common clock; in the same
        # run the loop's own clock counts, which tests can bend.
        try:
            loop = anyio.lowlevel.current_token().native_token
        except anyio.NoEventLoopError:
            loop = None
        if loop is not None and self.loop is not None and self.loop() is loop:
            return anyio.current_time() - self.at
        return time.monotonic() - self.monotonic


@known_options
@attrs.define(eq=False)
class CircuitBreaker:
    """Refuses attempts for a while once too many of them have failed.

    Use :meth:`call`, or :meth:`attempt` where the outcome is more than "raised or not". A breaker may be
    shared by any number of tasks, and used in one event loop after another, but not by two threads at once.

    :param failure_threshold: failures that open it: in a row, or within ``window_seconds``
    :param recovery_timeout: seconds for which it stays open before it lets probes through
    :param success_threshold: successful probes that close it
    :param half_open_max: probes that may be on their way at once
    :param window_seconds: count all failures of the last so many seconds, whatever succeeded in between;
        ``None`` counts failures in a row
    :param name: what it guards, for error messages
    :raises ValueError: if a number is out of range
    :raises TypeError: if a value is not a number
    """

    failure_threshold: int = attrs.field(default=5, validator=field_check(check_count))
    recovery_timeout: float = attrs.field(default=60.0, validator=field_check(check_number, unit=" seconds"))
    success_threshold: int = attrs.field(default=2, validator=field_check(check_count))
    half_open_max: int = attrs.field(default=1, validator=field_check(check_count))
    window_seconds: float | None = attrs.field(
        default=None,
        validator=field_check(check_number, above=True, unit=" seconds", or_none=True),
        kw_only=True,
    )
    name: str = attrs.field(default="", validator=attrs.validators.instance_of(str), kw_only=True)

    _state: CircuitState = attrs.field(default=CircuitState.CLOSED, init=False)
    _opened_at: _Mark | None = attrs.field(default=None, init=False, repr=False)
    _failures: int = attrs.field(default=0, init=False, repr=False)
    _recent: deque[_Mark] = attrs.field(factory=deque, init=False, repr=False)
    _successes: int = attrs.field(default=0, init=False, repr=False)
    _probes: int = attrs.field(default=0, init=False, repr=False)
    _refused: int = attrs.field(default=0, init=False, repr=False)
    # Each change of state starts a new era; an attempt of an older one no longer has a say.
    _era: int = attrs.field(default=0, init=False, repr=False)

    @property
    def state(self) -> CircuitState:
        """What would happen to an attempt now; an open breaker turns half open by the passing of time."""
        if self._state is CircuitState.OPEN and self._remaining() <= 0:
            self._change(CircuitState.HALF_OPEN)
        return self._state

    def statistics(self) -> CircuitStatistics:
        """Return what the breaker has seen."""
        state = self.state
        return CircuitStatistics(
            state=state,
            failures=self._failures if self.window_seconds is None else self._failures_in_window(),
            successes=self._successes,
            probes=self._probes,
            refused=self._refused,
            retry_in=self._remaining() if state is CircuitState.OPEN else 0.0,
        )

    def attempt(self) -> Attempt:
        """Ask to be let through; whoever is must report the outcome.

        Best used as a context manager: an exception is a failure, a cancellation is none, anything else is a
        success unless :meth:`Attempt.failed` was called before.

        :raises CircuitOpenError: if the breaker is open, or half open with all its probes on their way
        """
        state = self.state
        if state is CircuitState.CLOSED:
            return Attempt(self, self._era, probe=False)
        if state is CircuitState.OPEN or self._probes >= self.half_open_max:
            self._refused += 1
            _refused(1, circuit=self.name)
            raise CircuitOpenError(self.name, self._remaining() if state is CircuitState.OPEN else 0.0)
        self._probes += 1
        return Attempt(self, self._era, probe=True)

    async def call(self, func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``func`` and return what it returns, if the breaker lets it through.

        Every :class:`Exception` counts as a failure; a cancellation does not, so put a time limit inside
        ``func`` where running out of it should count.

        :raises CircuitOpenError: if the breaker refuses
        """
        with self.attempt():
            return await func(*args, **kwargs)

    def reset(self) -> None:
        """Close it and forget every failure; attempts on their way no longer count."""
        self._change(CircuitState.CLOSED)

    def _remaining(self) -> float:
        if self._opened_at is None:
            return 0.0
        return max(0.0, self.recovery_timeout - self._opened_at.elapsed())

    def _change(self, state: CircuitState) -> None:
        self._state = state
        self._era += 1
        self._failures = self._successes = self._probes = 0
        self._recent.clear()
        self._opened_at = _Mark.now() if state is CircuitState.OPEN else None
        if state is CircuitState.OPEN:
            _opened(1, circuit=self.name)
        elif state is CircuitState.CLOSED:
            _closed(1, circuit=self.name)

    def _failures_in_window(self) -> int:
        assert self.window_seconds is not None  # for the type checker
        while self._recent and self._recent[0].elapsed() > self.window_seconds:
            self._recent.popleft()
        return len(self._recent)

    def _report(self, attempt: Attempt, success: bool | None) -> None:
        if attempt.era != self._era:
            return
        if attempt.probe:
            self._probes -= 1
        if success is None:
            return
        if success:
            self._succeeded()
        elif attempt.probe:
            self._change(CircuitState.OPEN)
        else:
            self._failed()

    def _succeeded(self) -> None:
        if self._state is CircuitState.HALF_OPEN:
            self._successes += 1
            if self._successes >= self.success_threshold:
                self._change(CircuitState.CLOSED)
        elif self._failures:
            self._failures = 0  # not for every success: attrs looks at each value that is set

    def _failed(self) -> None:
        if self.window_seconds is None:
            self._failures += 1
            failures = self._failures
        else:
            self._recent.append(_Mark.now())
            failures = self._failures_in_window()
        if failures >= self.failure_threshold:
            self._change(CircuitState.OPEN)


@attrs.define(eq=False)
class Attempt:
    """One attempt that a breaker has let through; the first outcome reported counts."""

    breaker: CircuitBreaker
    era: int
    probe: bool = attrs.field(kw_only=True)  #: whether it decides about a half-open breaker
    _reported: bool = attrs.field(default=False, init=False)

    def succeeded(self) -> None:
        """Report that the other side is well."""
        self._report(success=True)

    def failed(self) -> None:
        """Report that the other side is not well."""
        self._report(success=False)

    def dropped(self) -> None:
        """Report that it ended without telling anything about the other side, as a cancellation does."""
        self._report(success=None)

    def _report(self, *, success: bool | None) -> None:
        if not self._reported:
            self._reported = True
            self.breaker._report(self, success)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.succeeded()
        elif issubclass(kind, Exception):
            self.failed()
        else:
            self.dropped()
