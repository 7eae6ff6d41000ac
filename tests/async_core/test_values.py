"""Every number that the toolkit takes, with values that are none of its (issue point 6)."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

from sentrio.async_core import (
    AsyncDirectoryWatcher,
    AsyncFileReader,
    AsyncFileWriter,
    AsyncHTTPClient,
    AsyncQueue,
    AsyncRunner,
    AsyncStream,
    CircuitBreaker,
    ResourcePool,
    RetryPolicy,
    TaskScheduler,
    async_batch,
    async_batch_requests,
    async_copy_file,
    async_download,
    async_map,
    async_timeout,
    async_upload,
    async_window,
    with_retry,
    with_timeout,
)
from sentrio.async_core.threads import call_sync

NOWHERE = "http://127.0.0.1:1/"


async def nothing() -> None:
    """A task that is never reached."""


def submit(**options: Any) -> Any:
    return TaskScheduler().submit(nothing(), **options)


# What takes the number, its name, and whether 0 is allowed.
NUMBERS: list[tuple[Callable[..., Any], str, bool]] = [
    (AsyncRunner, "max_workers", False),
    (TaskScheduler, "max_concurrent", False),
    (TaskScheduler, "aging_seconds", True),
    (submit, "timeout", True),
    (lambda **o: ResourcePool(**{"max_resources": 1, "factory": object, **o}), "max_resources", False),
    (lambda **o: ResourcePool(1, object, **o), "max_idle", True),
    (lambda **o: ResourcePool(1, object, **o), "max_idle_seconds", True),
    (lambda **o: ResourcePool(1, object, **o), "cleanup_timeout", True),
    (lambda timeout: ResourcePool(1, object).acquire(timeout), "timeout", True),
    (async_timeout, "seconds", True),
    (with_timeout, "seconds", True),
    (with_retry, "max_retries", True),
    (with_retry, "delay", True),
    (with_retry, "backoff", True),
    (with_retry, "jitter", True),
    (lambda abandon_after: call_sync(int, abandon_after=abandon_after), "abandon_after", True),
    (AsyncQueue, "maxsize", True),
    (lambda **o: AsyncStream([1]).map(str, **o), "max_concurrency", False),
    (lambda **o: async_map(str, **o), "max_concurrency", False),
    (AsyncStream([1]).batch, "size", False),
    (async_batch, "size", False),
    (lambda timeout: AsyncStream([1]).batch(1, timeout), "timeout", True),
    (lambda timeout: async_batch(1, timeout=timeout), "timeout", True),
    (AsyncStream([1]).window, "size", False),
    (async_window, "size", False),
    (lambda step: AsyncStream([1]).window(1, step), "step", False),
    (lambda step: async_window(1, step), "step", False),
    (AsyncStream([1]).take, "count", True),
    (AsyncStream([1]).skip, "count", True),
    (RetryPolicy, "max_retries", True),
    (RetryPolicy, "backoff_factor", True),
    (RetryPolicy, "max_delay", True),
    (RetryPolicy, "jitter", True),
    (RetryPolicy, "total_timeout", True),
    (CircuitBreaker, "failure_threshold", False),
    (CircuitBreaker, "recovery_timeout", True),
    (CircuitBreaker, "success_threshold", False),
    (CircuitBreaker, "half_open_max", False),
    (AsyncHTTPClient, "timeout", True),
    (AsyncHTTPClient, "max_connections", False),
    (lambda **o: async_batch_requests([NOWHERE], **o), "max_concurrent", False),
    (lambda **o: async_download(NOWHERE, "never", **o), "chunk_size", False),
    (lambda **o: async_download(NOWHERE, "never", **o), "min_bytes_per_second", True),
    (lambda **o: async_download(NOWHERE, "never", **o), "timeout", True),
    (lambda **o: async_upload(NOWHERE, b"", **o), "chunk_size", False),
    (lambda **o: async_upload(NOWHERE, b"", **o), "timeout", True),
    (lambda **o: AsyncFileReader("never", **o), "chunk_size", False),
    (lambda **o: AsyncFileWriter("never", **o), "buffer_size", False),
    (lambda **o: async_copy_file("never", "neither", **o), "chunk_size", False),
    (lambda **o: AsyncDirectoryWatcher(".", **o), "poll_interval", False),
    (lambda **o: AsyncDirectoryWatcher(".", **o), "stable_seconds", True),
]


async def use(make: Callable[..., Any], name: str, value: float) -> None:
    made = make(**{name: value})
    if inspect.isawaitable(made):
        await made


@pytest.mark.parametrize(("make", "name", "zero"), NUMBERS, ids=itertools.count())
async def test_a_number_out_of_range_is_named(make: Callable[..., Any], name: str, zero: bool) -> None:
    for bad in (-1, math.nan) if zero else (-1, math.nan, 0):
        with pytest.raises(ValueError, match=rf"{name} must be .*, got {bad}"):
            await use(make, name, bad)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (async_timeout, "seconds"),
        (with_retry, "delay"),
        (RetryPolicy, "backoff_factor"),
        (CircuitBreaker, "recovery_timeout"),
        (submit, "timeout"),
        (lambda timeout: AsyncStream([1]).batch(1, timeout), "timeout"),
        (lambda **o: AsyncDirectoryWatcher(".", **o), "poll_interval"),
    ],
)
async def test_a_whole_number_that_no_float_holds_is_named(make: Callable[..., Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be .*, got a whole number beyond all floats"):
        await use(make, name, 10**400)
