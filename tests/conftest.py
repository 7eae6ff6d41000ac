"""Every async test runs on asyncio, asyncio with uvloop, and trio."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import sentrio.testing
from sentrio.async_core.threads import thread_statistics
from sentrio.testing import Backend

BACKENDS = [
    pytest.param(("asyncio", {"debug": True}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Coverage is measured in the workers, not in what they start: a child that a test kills while it writes its
    # data file (coverage turns the journal off) leaves one that can not be combined.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

# A busy machine makes any step slow, and asyncio's debug mode says so in the logs that tests compare.
logging.getLogger("asyncio").addFilter(lambda record: "took %.3f seconds" not in str(record.msg))

CHAOS = bool(os.environ.get("SENTRIO_TEST_CHAOS"))

settings.register_profile(
    "suite", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("chaos", parent=settings.get_profile("suite"), max_examples=2000, print_blob=True)
settings.register_profile("minimums", parent=settings.get_profile("suite"), max_examples=10)
settings.load_profile("chaos" if CHAOS else "suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of many processes more of the time after which a test counts as hanging."""
    for item in items:
        if item.get_closest_marker("endurance") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


def pytest_collection_finish() -> None:
    """Leave all that was imported and collected out of every later collection of garbage.

    ``cancel_everywhere`` and many tests collect garbage again and again, and would look through it each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    backend: tuple[str, dict[str, object]] = request.param
    return backend


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled run waits a moment for its morsels and then leaves them behind; a busy machine takes longer."""
    monkeypatch.setattr("sentrio.validation.engines.threads.GRACE_SECONDS", 9.0)


@pytest.fixture(params=sentrio.testing.BACKENDS)
def backend(request: pytest.FixtureRequest, patient: None) -> Backend:
    """A backend by its name, for tests that start event loops of their own."""
    name: Backend = request.param
    return name


@pytest.fixture(autouse=True)
def no_test_inherits_a_thread() -> Iterator[None]:
    """Wait for calls that a test has abandoned, lest the next one counts them, or shares its processor with them."""
    yield
    latest = time.monotonic() + 30
    while thread_statistics().running and time.monotonic() < latest:
        time.sleep(0.01)


@pytest.fixture(scope="session")
def large_counts() -> int:
    """Multiplier for counts: 1 in the test suite, 20 in ``nox -s chaos``."""
    return 20 if CHAOS else 1
