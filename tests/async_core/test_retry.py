from __future__ import annotations

import asyncio
import inspect
import logging
import math
import pickle
import subprocess
import sys
import typing
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.async_core._moments import cancelled_when

from sentrio.async_core.retry import RetryPolicy, with_retry
from sentrio.errors import OptionValueError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere


class Flaky:
    """Fails so many times, then gives the number of calls."""

    def __init__(self, failures: int, error: type[BaseException] = LookupError) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error(f"failure {self.calls} with password=hunter2")
        return self.calls


# --- with_retry ------------------------------------------------------------------------------------------


async def test_tries_until_it_works() -> None:
    flaky = Flaky(2)
    assert await with_retry(max_retries=3, delay=0)(flaky)() == 3


async def test_raises_the_last_error_as_it_is() -> None:
    flaky = Flaky(9)
    with pytest.raises(LookupError, match="failure 4") as caught:
        await with_retry(max_retries=3, delay=0)(flaky)()
    assert flaky.calls == 4
    assert caught.value.__notes__[0].endswith("was tried 4 times")


async def test_zero_retries_try_once() -> None:
    flaky = Flaky(9)
    with pytest.raises(LookupError) as caught:
        await with_retry(max_retries=0)(flaky)()
    assert flaky.calls == 1
    assert not hasattr(caught.value, "__notes__")


async def test_only_the_named_errors_are_worth_another_try() -> None:
    flaky = Flaky(9, ValueError)
    with pytest.raises(ValueError, match="failure 1"):
        await with_retry(delay=0, exceptions=(LookupError, OSError))(flaky)()
    flaky = Flaky(1, KeyError)
    assert await with_retry(delay=0, exceptions=LookupError)(flaky)() == 2


async def test_never_tries_a_cancellation_again() -> None:
    calls = 0

    @with_retry(max_retries=5, delay=0)
    async def work() -> None:
        nonlocal calls
        calls += 1
        await anyio.sleep_forever()

    async with cancelled_when() as scope:
        await work()
    assert (scope.cancelled_caught, calls) == (True, 1)


def test_never_tries_a_native_cancellation_again() -> None:
    async def main() -> int:
        flaky = Flaky(9, asyncio.CancelledError)
        with pytest.raises(asyncio.CancelledError):
            await with_retry(delay=0)(flaky)()
        return flaky.calls

    assert asyncio.run(main()) == 1


async def test_a_timeout_around_it_ends_the_waiting() -> None:
    flaky = Flaky(9)
    with pytest.raises(TimeoutError), anyio.fail_after(0.01):
        await with_retry(delay=60)(flaky)()
    assert flaky.calls == 1


async def test_arguments_go_through_and_the_name_stays() -> None:
    @with_retry()
    async def add(a: int, *, b: int) -> int:
        """Add."""
        return a + b

    assert await add(1, b=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Add.")


async def test_the_log_names_the_error_but_not_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await with_retry(delay=0)(Flaky(1))()
    assert "raised LookupError; retry 1 of 3 in 0 s" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_retries": -1}, "max_retries must be at least 0, got -1"),
        ({"max_retries": math.nan}, "max_retries must be at least 0, got nan"),
        ({"delay": -0.5}, "delay must be at least 0 seconds and finite, got -0.5"),
        ({"delay": math.nan}, "delay must be .* got nan"),
        ({"delay": math.inf}, "delay must be .* got inf"),
        ({"backoff": -1}, "backoff must be"),
        ({"backoff": math.nan}, "backoff must be"),
        ({"jitter": 1.5}, "jitter must be between 0 and 1, got 1.5"),
        ({"jitter": math.nan}, "jitter must be"),
        ({"exceptions": (BaseException,)}, "exceptions must be subclasses of Exception, got .*BaseException"),
        ({"exceptions": asyncio.CancelledError}, "exceptions must be subclasses of Exception"),
        ({"exceptions": ("OSError",)}, "exceptions must be subclasses of Exception, got 'OSError'"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_retry(**options)


def test_refuses_what_is_no_async_function() -> None:
    with pytest.raises(TypeError, match=r"@with_retry\(\.\.\.\) decorates async functions, got .*print"):
        with_retry()(print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write @with_retry\(\) instead"):
        with_retry(print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_retries must be a whole number"):
        with_retry(1.5)  # type: ignore[arg-type]


def test_cancelled_anywhere_it_leaves_nothing(backend: Backend) -> None:
    async def operation() -> None:
        await with_retry(delay=0.0)(Flaky(2))()

    assert cancel_everywhere(operation, backend=backend).tries >= 2


# --- RetryPolicy -----------------------------------------------------------------------------------------


def test_the_defaults_of_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTRIO_ASYNC_RETRY_MAX", raising=False)
    policy = RetryPolicy()
    assert policy.max_retries == 3
    assert policy.retry_statuses == {408, 429, 500, 502, 503, 504}
    assert {"GET", "PUT", "DELETE"} <= policy.retry_methods
    assert not {"POST", "PATCH"} & policy.retry_methods
    assert issubclass(httpx.ReadTimeout, policy.retry_exceptions)
    assert issubclass(httpx.ConnectError, policy.retry_exceptions)
    assert not issubclass(httpx.UnsupportedProtocol, policy.retry_exceptions)
    assert (policy.max_delay, policy.jitter, policy.total_timeout) == (60.0, 0.1, None)


def test_the_environment_sets_the_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRIO_ASYNC_RETRY_MAX", " 7 ")
    assert RetryPolicy().max_retries == 7
    assert RetryPolicy(max_retries=1).max_retries == 1
    for bad in ("-1", "many", "2.5"):
        monkeypatch.setenv("SENTRIO_ASYNC_RETRY_MAX", bad)
        with pytest.raises(OptionValueError, match=f"SENTRIO_ASYNC_RETRY_MAX .* at least 0, got '{bad}'"):
            RetryPolicy()


def test_backoff_doubles_up_to_a_cap() -> None:
    policy = RetryPolicy(backoff_factor=0.2, max_delay=5)
    assert [policy.get_backoff_delay(n) for n in range(6)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5]
    assert policy.get_backoff_delay(10_000) == 5
    assert RetryPolicy(backoff_factor=0).get_backoff_delay(10_000) == 0
    with pytest.raises(ValueError, match="attempt must be at least 0, got -1"):
        policy.get_backoff_delay(-1)


@given(jitter=st.floats(0, 1), attempt=st.integers(0, 3000))
def test_jitter_stays_within_its_share_and_the_cap(jitter: float, attempt: int) -> None:
    policy = RetryPolicy(jitter=jitter, max_delay=30)
    plain, delay = policy.get_backoff_delay(attempt), policy.next_delay(attempt)
    assert plain * (1 - jitter) - 1e-9 <= delay <= min(plain * (1 + jitter) + 1e-9, 30)


def test_jitter_spreads() -> None:
    assert len({RetryPolicy(jitter=0.5).next_delay(1) for _ in range(50)}) > 40
    assert {RetryPolicy(jitter=0).next_delay(1) for _ in range(50)} == {2.0}


def test_collections_are_taken_as_people_write_them() -> None:
    policy = RetryPolicy(
        retry_statuses=[503],
        retry_methods=["get", "Post"],
        retry_exceptions=OSError,
    )
    assert policy.retry_statuses == {503}
    assert policy.retry_methods == {"GET", "POST"}
    assert policy.retry_exceptions == (OSError,)
    with pytest.raises(TypeError, match="retry_methods must be a collection"):
        RetryPolicy(retry_methods="POST")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_retries": -1}, "max_retries must be at least 0, got -1"),
        ({"backoff_factor": -1}, "backoff_factor must be at least 0 and finite, got -1"),
        ({"backoff_factor": math.nan}, "backoff_factor must be"),
        ({"max_delay": math.inf}, "max_delay must be"),
        ({"max_delay": math.nan}, "max_delay must be"),
        ({"jitter": 2}, "jitter must be between 0 and 1, got 2"),
        ({"total_timeout": -1}, "total_timeout must be at least 0 seconds or None, got -1"),
        ({"total_timeout": math.nan}, "total_timeout must be"),
        ({"retry_statuses": {5}}, "retry_statuses must be HTTP statuses from 100 to 599, got 5"),
        ({"retry_exceptions": (BaseException,)}, "retry_exceptions must be subclasses of Exception"),
    ],
)
def test_a_policy_refuses_values_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetryPolicy(**options)


def test_a_policy_names_the_option_that_was_meant() -> None:
    with pytest.raises(UnknownOptionError, match=r"unknown option 'max_retry'; did you mean 'max_retries'\?"):
        RetryPolicy(max_retry=3)  # type: ignore[call-arg]
    assert "max_retries" in inspect.signature(RetryPolicy).parameters
    assert typing.get_type_hints(RetryPolicy)["total_timeout"] == float | None


def test_a_policy_is_a_value() -> None:
    policy = RetryPolicy(max_retries=2, jitter=0)
    assert policy == RetryPolicy(max_retries=2, jitter=0) == pickle.loads(pickle.dumps(policy))  # noqa: S301  # our own bytes


def test_httpx_is_loaded_only_for_a_policy_that_needs_it() -> None:
    program = "import sys, sentrio.async_core.retry; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
