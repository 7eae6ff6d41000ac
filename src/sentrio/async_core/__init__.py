"""A general async toolkit for trio, asyncio and uvloop. It knows nothing of data.

The names below are imported when they are first used, since some of them load httpx or watchfiles.
"""

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

from typing import TYPE_CHECKING

from sentrio._lazy import lazily

if TYPE_CHECKING:
    from sentrio.async_core.background import BackgroundHandle, BackgroundTask, async_background, async_run
    from sentrio.async_core.circuit import CircuitBreaker, CircuitState
    from sentrio.async_core.clock import Clock
    from sentrio.async_core.file import (
        AsyncDirectoryWatcher,
        AsyncFileReader,
        AsyncFileWriter,
        FileChange,
        FileChangeKind,
        async_copy_file,
        async_file_exists,
        async_mkdir,
        async_read_file,
        async_write_file,
        walk_async,
        write_atomically,
    )
    from sentrio.async_core.http import (
        AsyncHTTPClient,
        DownloadResult,
        async_batch_requests,
        async_download,
        async_upload,
    )
    from sentrio.async_core.limits import with_semaphore
    from sentrio.async_core.resources import ResourcePool
    from sentrio.async_core.retry import RetryPolicy, with_retry
    from sentrio.async_core.runner import AsyncRunner
    from sentrio.async_core.scheduler import TaskPriority, TaskScheduler
    from sentrio.async_core.streams import (
        AsyncPipeline,
        AsyncQueue,
        AsyncStream,
        async_batch,
        async_filter,
        async_map,
        async_merge,
        async_window,
    )
    from sentrio.async_core.telemetry import metric_counter, metric_histogram, span
    from sentrio.async_core.timeouts import async_timeout, with_timeout

_HOMES = {
    "AsyncDirectoryWatcher": "sentrio.async_core.file",
    "AsyncFileReader": "sentrio.async_core.file",
    "AsyncFileWriter": "sentrio.async_core.file",
    "AsyncHTTPClient": "sentrio.async_core.http",
    "AsyncPipeline": "sentrio.async_core.streams",
    "AsyncQueue": "sentrio.async_core.streams",
    "AsyncRunner": "sentrio.async_core.runner",
    "AsyncStream": "sentrio.async_core.streams",
    "BackgroundHandle": "sentrio.async_core.background",
    "BackgroundTask": "sentrio.async_core.background",
    "CircuitBreaker": "sentrio.async_core.circuit",
    "CircuitState": "sentrio.async_core.circuit",
    "Clock": "sentrio.async_core.clock",
    "DownloadResult": "sentrio.async_core.http",
    "FileChange": "sentrio.async_core.file",
    "FileChangeKind": "sentrio.async_core.file",
    "ResourcePool": "sentrio.async_core.resources",
    "RetryPolicy": "sentrio.async_core.retry",
    "TaskPriority": "sentrio.async_core.scheduler",
    "TaskScheduler": "sentrio.async_core.scheduler",
    "async_background": "sentrio.async_core.background",
    "async_batch": "sentrio.async_core.streams",
    "async_batch_requests": "sentrio.async_core.http",
    "async_copy_file": "sentrio.async_core.file",
    "async_download": "sentrio.async_core.http",
    "async_file_exists": "sentrio.async_core.file",
    "async_filter": "sentrio.async_core.streams",
    "async_map": "sentrio.async_core.streams",
    "async_merge": "sentrio.async_core.streams",
    "async_mkdir": "sentrio.async_core.file",
    "async_read_file": "sentrio.async_core.file",
    "async_run": "sentrio.async_core.background",
    "async_timeout": "sentrio.async_core.timeouts",
    "async_upload": "sentrio.async_core.http",
    "async_window": "sentrio.async_core.streams",
    "async_write_file": "sentrio.async_core.file",
    "metric_counter": "sentrio.async_core.telemetry",
    "metric_histogram": "sentrio.async_core.telemetry",
    "span": "sentrio.async_core.telemetry",
    "walk_async": "sentrio.async_core.file",
    "with_retry": "sentrio.async_core.retry",
    "with_semaphore": "sentrio.async_core.limits",
    "with_timeout": "sentrio.async_core.timeouts",
    "write_atomically": "sentrio.async_core.file",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
