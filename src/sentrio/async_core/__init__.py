"""A general async toolkit for trio, asyncio and uvloop. It knows nothing of data."""

from __future__ import annotations

__all__ = (
    "AsyncDirectoryWatcher",
    "AsyncFileReader",
    "AsyncFileWriter",
    "BackgroundHandle",
    "BackgroundTask",
    "FileChange",
    "FileChangeKind",
    "RetryPolicy",
    "async_background",
    "async_copy_file",
    "async_file_exists",
    "async_mkdir",
    "async_read_file",
    "async_run",
    "async_timeout",
    "async_write_file",
    "walk_async",
    "with_retry",
    "with_semaphore",
    "with_timeout",
    "write_atomically",
)

from sentrio.async_core.background import BackgroundHandle as BackgroundHandle
from sentrio.async_core.background import BackgroundTask as BackgroundTask
from sentrio.async_core.background import async_background as async_background
from sentrio.async_core.background import async_run as async_run
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
from sentrio.async_core.retry import RetryPolicy as RetryPolicy
from sentrio.async_core.retry import with_retry as with_retry
from sentrio.async_core.timeouts import async_timeout as async_timeout
from sentrio.async_core.timeouts import with_timeout as with_timeout
