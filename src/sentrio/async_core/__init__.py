"""A general async toolkit for trio, asyncio and uvloop. It knows nothing of data."""

from __future__ import annotations

__all__ = (
    "AsyncDirectoryWatcher",
    "AsyncFileReader",
    "AsyncFileWriter",
    "AsyncHTTPClient",
    "AsyncPipeline",
    "AsyncQueue",
    "AsyncRunner",
    "AsyncStream",
    "BackgroundHandle",
    "BackgroundTask",
    "CircuitBreaker",
    "CircuitState",
    "Clock",
    "DownloadResult",
    "FileChange",
    "FileChangeKind",
    "ResourcePool",
    "RetryPolicy",
    "TaskPriority",
    "TaskScheduler",
    "async_background",
    "async_batch",
    "async_batch_requests",
    "async_copy_file",
    "async_download",
    "async_file_exists",
    "async_filter",
    "async_map",
    "async_merge",
    "async_mkdir",
    "async_read_file",
    "async_run",
    "async_timeout",
    "async_upload",
    "async_window",
    "async_write_file",
    "metric_counter",
    "metric_histogram",
    "span",
    "walk_async",
    "with_retry",
    "with_semaphore",
    "with_timeout",
    "write_atomically",
)

from typing import TYPE_CHECKING, Any

from sentrio.async_core.background import BackgroundHandle as BackgroundHandle
from sentrio.async_core.background import BackgroundTask as BackgroundTask
from sentrio.async_core.background import async_background as async_background
from sentrio.async_core.background import async_run as async_run
from sentrio.async_core.circuit import CircuitBreaker as CircuitBreaker
from sentrio.async_core.circuit import CircuitState as CircuitState
from sentrio.async_core.clock import Clock as Clock
from sentrio.async_core.file import AsyncDirectoryWatcher as AsyncDirectoryWatcher
from sentrio.async_core.file import AsyncFileReader as AsyncFileReader
from sentrio.async_core.file import AsyncFileWriter as AsyncFileWriter
from sentrio.async_core.file import FileChange as FileChange
from sentrio.async_core.file import FileChangeKind as FileChangeKind
from sentrio.async_core.file import async_copy_file as async_copy_file
from sentrio.async_core.file import async_file_exists as async_file_exists
from sentrio.async_core.file import async_mkdir as async_mkdir
from sentrio.async_core.file import async_read_file as async_read_file
from sentrio.async_core.file import async_write_file as async_write_file
from sentrio.async_core.file import walk_async as walk_async
from sentrio.async_core.file import write_atomically as write_atomically
from sentrio.async_core.limits import with_semaphore as with_semaphore
from sentrio.async_core.resources import ResourcePool as ResourcePool
from sentrio.async_core.retry import RetryPolicy as RetryPolicy
from sentrio.async_core.retry import with_retry as with_retry
from sentrio.async_core.runner import AsyncRunner as AsyncRunner
from sentrio.async_core.scheduler import TaskPriority as TaskPriority
from sentrio.async_core.scheduler import TaskScheduler as TaskScheduler
from sentrio.async_core.streams import AsyncPipeline as AsyncPipeline
from sentrio.async_core.streams import AsyncQueue as AsyncQueue
from sentrio.async_core.streams import AsyncStream as AsyncStream
from sentrio.async_core.streams import async_batch as async_batch
from sentrio.async_core.streams import async_filter as async_filter
from sentrio.async_core.streams import async_map as async_map
from sentrio.async_core.streams import async_merge as async_merge
from sentrio.async_core.streams import async_window as async_window
from sentrio.async_core.telemetry import metric_counter as metric_counter
from sentrio.async_core.telemetry import metric_histogram as metric_histogram
from sentrio.async_core.telemetry import span as span
from sentrio.async_core.timeouts import async_timeout as async_timeout
from sentrio.async_core.timeouts import with_timeout as with_timeout

if TYPE_CHECKING:
    from sentrio.async_core.http import AsyncHTTPClient as AsyncHTTPClient
    from sentrio.async_core.http import DownloadResult as DownloadResult
    from sentrio.async_core.http import async_batch_requests as async_batch_requests
    from sentrio.async_core.http import async_download as async_download
    from sentrio.async_core.http import async_upload as async_upload

# These load httpx, which takes a quarter of a second: not before somebody asks for one of them.
_LAZY = {
    "AsyncHTTPClient": "sentrio.async_core.http",
    "DownloadResult": "sentrio.async_core.http",
    "async_batch_requests": "sentrio.async_core.http",
    "async_download": "sentrio.async_core.http",
    "async_upload": "sentrio.async_core.http",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
