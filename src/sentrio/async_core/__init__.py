"""A general async toolkit for trio, asyncio and uvloop. It knows nothing of data.

The names below are imported when they are first used, since some of them load httpx or watchfiles.
"""

from __future__ import annotations

__all__ = (
    "AsyncDirectoryWatcher",
    "AsyncFileReader",
    "AsyncFileWriter",
    "AsyncPipeline",
    "AsyncQueue",
    "AsyncRunner",
    "AsyncStream",
    "BackgroundHandle",
    "BackgroundTask",
    "Clock",
    "FileChange",
    "FileChangeKind",
    "ResourcePool",
    "RetryPolicy",
    "TaskPriority",
    "TaskScheduler",
    "async_background",
    "async_batch",
    "async_copy_file",
    "async_file_exists",
    "async_filter",
    "async_map",
    "async_merge",
    "async_mkdir",
    "async_read_file",
    "async_run",
    "async_timeout",
    "async_window",
    "async_write_file",
    "walk_async",
    "with_retry",
    "with_semaphore",
    "with_timeout",
    "write_atomically",
)

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentrio.async_core.background import BackgroundHandle, BackgroundTask, async_background, async_run
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
    from sentrio.async_core.timeouts import async_timeout, with_timeout

_HOMES = {
    "AsyncDirectoryWatcher": "sentrio.async_core.file",
    "AsyncFileReader": "sentrio.async_core.file",
    "AsyncFileWriter": "sentrio.async_core.file",
    "AsyncPipeline": "sentrio.async_core.streams",
    "AsyncQueue": "sentrio.async_core.streams",
    "AsyncRunner": "sentrio.async_core.runner",
    "AsyncStream": "sentrio.async_core.streams",
    "BackgroundHandle": "sentrio.async_core.background",
    "BackgroundTask": "sentrio.async_core.background",
    "Clock": "sentrio.async_core.clock",
    "FileChange": "sentrio.async_core.file",
    "FileChangeKind": "sentrio.async_core.file",
    "ResourcePool": "sentrio.async_core.resources",
    "RetryPolicy": "sentrio.async_core.retry",
    "TaskPriority": "sentrio.async_core.scheduler",
    "TaskScheduler": "sentrio.async_core.scheduler",
    "async_background": "sentrio.async_core.background",
    "async_batch": "sentrio.async_core.streams",
    "async_copy_file": "sentrio.async_core.file",
    "async_file_exists": "sentrio.async_core.file",
    "async_filter": "sentrio.async_core.streams",
    "async_map": "sentrio.async_core.streams",
    "async_merge": "sentrio.async_core.streams",
    "async_mkdir": "sentrio.async_core.file",
    "async_read_file": "sentrio.async_core.file",
    "async_run": "sentrio.async_core.background",
    "async_timeout": "sentrio.async_core.timeouts",
    "async_window": "sentrio.async_core.streams",
    "async_write_file": "sentrio.async_core.file",
    "walk_async": "sentrio.async_core.file",
    "with_retry": "sentrio.async_core.retry",
    "with_semaphore": "sentrio.async_core.limits",
    "with_timeout": "sentrio.async_core.timeouts",
    "write_atomically": "sentrio.async_core.file",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'sentrio.async_core' has no attribute {name!r}") from None
    from importlib import import_module

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
