"""A general async toolkit for trio, asyncio and uvloop. It knows nothing of data."""

from __future__ import annotations

__all__ = (
    "BackgroundHandle",
    "BackgroundTask",
    "RetryPolicy",
    "async_background",
    "async_run",
    "async_timeout",
    "with_retry",
    "with_semaphore",
    "with_timeout",
)

from sentrio.async_core.background import BackgroundHandle as BackgroundHandle
from sentrio.async_core.background import BackgroundTask as BackgroundTask
from sentrio.async_core.background import async_background as async_background
from sentrio.async_core.background import async_run as async_run
from sentrio.async_core.limits import with_semaphore as with_semaphore
from sentrio.async_core.retry import RetryPolicy as RetryPolicy
from sentrio.async_core.retry import with_retry as with_retry
from sentrio.async_core.timeouts import async_timeout as async_timeout
from sentrio.async_core.timeouts import with_timeout as with_timeout
