from __future__ import annotations

import anyio
import pytest

from sentrio.async_core.circuit import CircuitBreaker, CircuitState
from sentrio.errors import CircuitOpenError


def state_of(breaker: CircuitBreaker) -> CircuitState:
    """A call instead of the property, which type checkers believe to be constant between two assertions."""
    return breaker.state


async def test_recovers_after_its_timeout_and_not_before() -> None:
    breaker = CircuitBreaker(failure_threshold=2, recovery_timeout=60, success_threshold=2)
    breaker.attempt().failed()
    breaker.attempt().failed()
    await anyio.sleep(59.9)
    assert state_of(breaker) is CircuitState.OPEN
    with pytest.raises(CircuitOpenError) as caught:
        breaker.attempt()
    assert caught.value.retry_in == pytest.approx(0.1)
    await anyio.sleep(0.2)
    assert state_of(breaker) is CircuitState.HALF_OPEN
    breaker.attempt().failed()
    assert state_of(breaker) is CircuitState.OPEN
    await anyio.sleep(60.1)
    breaker.attempt().succeeded()
    assert state_of(breaker) is CircuitState.HALF_OPEN
    breaker.attempt().succeeded()
    assert state_of(breaker) is CircuitState.CLOSED


async def test_a_window_counts_failures_whatever_succeeds_in_between() -> None:
    breaker = CircuitBreaker(failure_threshold=3, window_seconds=10)
    for _ in range(20):  # one failure in six seconds never makes three in ten
        breaker.attempt().failed()
        await anyio.sleep(6)
    assert state_of(breaker) is CircuitState.CLOSED
    await anyio.sleep(10)
    for _ in range(3):
        breaker.attempt().succeeded()
        breaker.attempt().failed()
        await anyio.sleep(1)
    assert state_of(breaker) is CircuitState.OPEN


async def test_old_failures_leave_the_window() -> None:
    breaker = CircuitBreaker(failure_threshold=3, window_seconds=10)
    breaker.attempt().failed()
    await anyio.sleep(9)
    breaker.attempt().failed()
    assert breaker.statistics().failures == 2
    await anyio.sleep(2)
    assert breaker.statistics().failures == 1
