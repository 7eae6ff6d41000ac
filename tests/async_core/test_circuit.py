from __future__ import annotations

import pickle
import typing
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sentrio.async_core.circuit import Attempt, CircuitBreaker, CircuitState, CircuitStatistics
from sentrio.errors import CircuitOpenError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere


def state_of(breaker: CircuitBreaker) -> CircuitState:
    """A call instead of the property, which type checkers believe to be constant between two assertions."""
    return breaker.state


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.attempt().failed()


async def test_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(failure_threshold=3, recovery_timeout=60, name="api.example")
    for _ in range(10):  # every second one succeeds: it never opens
        fail(breaker, 2)
        breaker.attempt().succeeded()
    assert state_of(breaker) is CircuitState.CLOSED
    fail(breaker, 3)
    assert state_of(breaker) is CircuitState.OPEN
    with pytest.raises(CircuitOpenError, match=r"the circuit of api\.example is open .* try again in \d") as caught:
        breaker.attempt()
    assert isinstance(caught.value, RuntimeError)
    assert 59 < caught.value.retry_in <= 60
    assert breaker.statistics().refused == 1


async def test_call_counts_exceptions_and_returns_results() -> None:
    breaker = CircuitBreaker(failure_threshold=2)

    async def double(number: int, *, plus: int = 0) -> int:
        return 2 * number + plus

    async def broken() -> None:
        raise OSError("down")

    assert await breaker.call(double, 4, plus=1) == 9
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            await breaker.call(broken)
    with pytest.raises(CircuitOpenError):
        await breaker.call(double, 4)


async def test_a_timeout_inside_counts_and_a_cancellation_from_outside_does_not() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    for _ in range(10):
        with anyio.move_on_after(0):
            await breaker.call(anyio.sleep_forever)
    assert state_of(breaker) is CircuitState.CLOSED

    async def limited() -> None:
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await breaker.call(limited)
    assert state_of(breaker) is CircuitState.OPEN


async def test_half_open_lets_as_many_probes_through_as_it_says() -> None:
    breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=0, half_open_max=2, success_threshold=3)
    fail(breaker)
    gate = anyio.Event()
    outcomes: list[str] = []

    async def one() -> None:
        try:
            await breaker.call(gate.wait)
        except CircuitOpenError:
            outcomes.append("refused")
        else:
            outcomes.append("passed")

    async with anyio.create_task_group() as tg:
        for _ in range(50):
            tg.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        assert breaker.statistics().probes == 2
        assert outcomes == ["refused"] * 48
        gate.set()
    assert sorted(outcomes) == ["passed"] * 2 + ["refused"] * 48
    assert breaker.statistics() == CircuitStatistics(
        state=CircuitState.HALF_OPEN, failures=0, successes=2, probes=0, refused=48, retry_in=0
    )
    breaker.attempt().succeeded()
    assert state_of(breaker) is CircuitState.CLOSED


async def test_a_failed_probe_opens_it_again() -> None:
    breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=0, half_open_max=2)
    fail(breaker)
    assert state_of(breaker) is CircuitState.HALF_OPEN
    late, bad = breaker.attempt(), breaker.attempt()
    bad.failed()
    breaker.attempt()  # recovery takes no time here: the next probe, of a new era
    late.succeeded()  # this one set out before, so it says nothing about now
    assert breaker.statistics().successes == 0
    assert breaker.statistics().probes == 1


async def test_a_cancelled_probe_gives_its_place_back() -> None:
    breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=0)
    fail(breaker)
    with anyio.move_on_after(0):
        await breaker.call(anyio.sleep_forever)
    assert state_of(breaker) is CircuitState.HALF_OPEN
    assert breaker.statistics().probes == 0
    for _ in range(2):
        breaker.attempt().succeeded()
    assert state_of(breaker) is CircuitState.CLOSED


async def test_attempts_from_before_it_opened_have_no_say() -> None:
    breaker = CircuitBreaker(failure_threshold=2, recovery_timeout=0, success_threshold=1)
    old_good, old_bad = breaker.attempt(), breaker.attempt()
    fail(breaker, 2)
    assert state_of(breaker) is CircuitState.HALF_OPEN
    old_good.succeeded()
    assert state_of(breaker) is CircuitState.HALF_OPEN
    breaker.attempt().succeeded()
    old_bad.failed()
    assert breaker.statistics().failures == 0


async def test_the_first_outcome_of_an_attempt_counts() -> None:
    breaker = CircuitBreaker(failure_threshold=2)
    with breaker.attempt() as attempt:
        attempt.failed()
        attempt.failed()
    assert breaker.statistics().failures == 1
    with breaker.attempt() as attempt:
        attempt.dropped()
    assert breaker.statistics().failures == 1


async def test_reset_closes_it() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    fail(breaker)
    breaker.reset()
    assert state_of(breaker) is CircuitState.CLOSED
    assert breaker.statistics().failures == 0


def test_an_open_breaker_goes_from_one_event_loop_to_the_next(backend: Backend) -> None:
    breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=60)
    name = "trio" if backend == "trio" else "asyncio"

    async def opening() -> None:
        fail(breaker)

    async def seen() -> float:
        assert state_of(breaker) is CircuitState.OPEN
        return breaker.statistics().retry_in

    anyio.run(opening, backend=name)
    assert state_of(breaker) is CircuitState.OPEN  # also where no loop runs
    assert 50 < anyio.run(seen, backend=name) <= 60
    other = "asyncio" if name == "trio" else "trio"
    assert 50 < anyio.run(seen, backend=other) <= 60


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"failure_threshold": 0}, "failure_threshold must be at least 1, got 0"),
        ({"success_threshold": 0}, "success_threshold must be at least 1, got 0"),
        ({"half_open_max": -1}, "half_open_max must be at least 1, got -1"),
        ({"recovery_timeout": -1}, "recovery_timeout must be at least 0 seconds and finite, got -1"),
        ({"recovery_timeout": float("nan")}, "recovery_timeout must be .*, got nan"),
        ({"recovery_timeout": float("inf")}, "recovery_timeout must be .*, got inf"),
        ({"window_seconds": 0}, "window_seconds must be above 0 seconds and finite or None, got 0"),
        ({"window_seconds": float("nan")}, "window_seconds must be .*, got nan"),
    ],
)
def test_refuses_values_out_of_range(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CircuitBreaker(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"failure_threshold": 2.5},
        {"failure_threshold": True},
        {"recovery_timeout": "60"},
        {"window_seconds": "60"},
        {"name": 3},
    ],
)
def test_refuses_values_of_a_wrong_type(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        CircuitBreaker(**options)


def test_names_the_nearest_option() -> None:
    with pytest.raises(UnknownOptionError, match="did you mean 'failure_threshold'"):
        CircuitBreaker(failure_treshold=3)  # type: ignore[call-arg]


def test_its_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(CircuitOpenError("host", 3.0)))  # noqa: S301  # our own bytes
    assert str(error) == "the circuit of host is open after too many failures; try again in 3 s"
    assert "half open" in str(CircuitOpenError("", 0.0))


@pytest.mark.parametrize("cls", [CircuitBreaker, CircuitStatistics, Attempt])
def test_annotations_resolve_from_outside(cls: type) -> None:
    typing.get_type_hints(cls)


def test_cancelled_anywhere_it_leaves_nothing(backend: Backend) -> None:
    breakers: list[CircuitBreaker] = []

    async def operation() -> None:
        breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=0)
        fail(breaker)
        breakers[:] = [breaker]
        await breaker.call(anyio.sleep, 0)

    def check() -> None:
        assert breakers[0].statistics().probes == 0

    assert cancel_everywhere(operation, backend=backend, check=check).tries >= 1


class BreakerAgainstAModel(RuleBasedStateMachine):
    """Attempts that end in any order, against the words of the documentation."""

    def __init__(self) -> None:
        super().__init__()
        # It recovers never or at once, so that no time is needed here; tests/clock has the times.
        self.breaker = CircuitBreaker(failure_threshold=3, recovery_timeout=0, success_threshold=2, half_open_max=2)
        self.state = CircuitState.CLOSED
        self.era = self.in_a_row = self.good_probes = 0
        self.running: list[tuple[Attempt, int]] = []

    def probes(self) -> int:
        return sum(era == self.era for _, era in self.running) if self.state is CircuitState.HALF_OPEN else 0

    def enter(self, state: CircuitState) -> None:
        self.state, self.era = state, self.era + 1
        self.in_a_row = self.good_probes = 0

    @rule()
    def start(self) -> None:
        if self.state is CircuitState.HALF_OPEN and self.probes() >= 2:
            with pytest.raises(CircuitOpenError):
                self.breaker.attempt()
        else:
            self.running.append((self.breaker.attempt(), self.era))

    @precondition(lambda self: bool(self.running))
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "dropped"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        attempt, era = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        getattr(attempt, outcome)()
        if era != self.era or outcome == "dropped":
            return
        if self.state is CircuitState.HALF_OPEN:
            self.good_probes += 1
            if outcome == "failed":
                self.enter(CircuitState.HALF_OPEN)  # open, and at once half open again
            elif self.good_probes == 2:
                self.enter(CircuitState.CLOSED)
        else:
            self.in_a_row = self.in_a_row + 1 if outcome == "failed" else 0
            if self.in_a_row == 3:
                self.enter(CircuitState.HALF_OPEN)

    @invariant()
    def agrees(self) -> None:
        seen = self.breaker.statistics()
        assert (seen.state, seen.probes) == (self.state, self.probes())
        assert seen.failures == self.in_a_row


def test_behaves_as_its_model() -> None:
    async def main() -> None:
        settings_here = settings(suppress_health_check=list(HealthCheck), stateful_step_count=30)
        from hypothesis.stateful import run_state_machine_as_test

        run_state_machine_as_test(BreakerAgainstAModel, settings=settings_here)

    anyio.run(main)


def test_works_where_no_event_loop_runs() -> None:
    breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=60)
    with pytest.raises(ZeroDivisionError), breaker.attempt():
        1 / 0  # noqa: B018
    assert breaker.state is CircuitState.OPEN
    assert 0 < breaker.statistics().retry_in <= 60
    with pytest.raises(CircuitOpenError):
        breaker.attempt()
