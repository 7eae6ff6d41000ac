"""Telling what changes in a folder, as it changes."""

from __future__ import annotations

__all__ = ("AsyncDirectoryWatcher", "FileChange", "FileChangeKind", "FolderWatch")

import os
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakSet

import anyio
import anyio.lowlevel
import attrs

from sentrio.async_core._checks import check_number
from sentrio.async_core._thread_steps import GRACE_SECONDS, clean_up
from sentrio.async_core._tracker import Tracker
from sentrio.async_core._walk import NamePattern
from sentrio.async_core.telemetry import metric_counter
from sentrio.async_core.threads import call_sync

T = TypeVar("T")

_changes_seen = metric_counter("sentrio.file.watch.changes")


class FileChangeKind(StrEnum):
    """What happened to a file."""

    CREATED = "created"
    MODIFIED = "modified"
    DELETED = "deleted"


@attrs.frozen
class FileChange:
    """A file and what happened to it. It is path-like: ``open(change)`` opens the file."""

    path: Path  #: begins with the watched folder, as it was given
    kind: FileChangeKind

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


class AsyncDirectoryWatcher:
    """Watches the files of a folder and of the folders below it.

    ::

        watcher = AsyncDirectoryWatcher("inbox", patterns=["*.csv"], stable_seconds=2)
        async for change in watcher.watch():
            print(change.kind, change.path)

    The operating system tells what changes, where it can. Folders on network file systems, where it can not,
    and those that are too many for it are polled. A file that is replaced by a rename counts as modified,
    one that is renamed as deleted and created. Temporary files of this library are not told.

    :param directory: what to watch; it must exist when :meth:`watch` begins
    :param patterns: shell patterns, as :func:`walk_async` takes them; ``None`` means every file
    :param poll_interval: seconds between two looks, where polling is needed
    :param stable_seconds: tell of a file only once its size and time have not changed for so long; for files
        that others write slowly
    :param include_existing: begin with the files that are already there, as created
    :param recursive: also watch the folders below
    :param force_polling: ``True`` polls, ``False`` does not; ``None`` decides by the file system, and by the
        environment variable ``WATCHFILES_FORCE_POLLING``
    :raises ValueError: if an interval is negative or NaN, ``poll_interval`` is zero, or a pattern is empty
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        patterns: Sequence[str] | None = None,
        poll_interval: float = 1.0,
        *,
        stable_seconds: float = 0.0,
        include_existing: bool = False,
        recursive: bool = True,
        force_polling: bool | None = None,
    ) -> None:
        check_number("poll_interval", poll_interval, minimum=0.001, unit=" seconds")
        check_number("stable_seconds", stable_seconds, unit=" seconds")
        if isinstance(patterns, str):
            raise TypeError(f"patterns must be a list of texts, got {patterns!r}; write [{patterns!r}]")
        self.directory = directory
        self.patterns = None if patterns is None else tuple(patterns)
        self.poll_interval = poll_interval
        self.stable_seconds = stable_seconds
        self.include_existing = include_existing
        self.recursive = recursive
        self.force_polling = force_polling
        self._pattern = None if self.patterns is None else NamePattern(self.patterns)
        self._watches: WeakSet[FolderWatch] = WeakSet()

    def watch(self) -> FolderWatch:
        """Iterate over the changes until :meth:`stop`, with ``async for``.

        Watching begins with the first step of the loop, or with ``async with watcher.watch() as changes``,
        after which no change is missed. Leaving the loop ends it.

        :raises FileNotFoundError: (while iterating) if the folder is missing, or when it is removed, after
            its files have been told as deleted
        :raises NotADirectoryError: (while iterating) if it is no folder
        """
        tracker = Tracker(
            os.fspath(self.directory),
            matches=None if self._pattern is None else self._pattern.matches,
            recursive=self.recursive,
            include_existing=self.include_existing,
            stable_seconds=self.stable_seconds,
            force_polling=self.force_polling,
            poll_interval=self.poll_interval,
        )
        watch = FolderWatch(tracker, os.fspath(self.directory))
        self._watches.add(watch)
        return watch

    def stop(self) -> None:
        """End the loops over :meth:`watch`; changes that they have not told are dropped."""
        for watch in tuple(self._watches):
            watch.stop()


class FolderWatch:
    """The changes of a folder, for ``async for``."""

    def __init__(self, tracker: Tracker, directory: str) -> None:
        self._tracker = tracker
        self._directory = directory
        self._changes: deque[FileChange] = deque()
        self._stopped: anyio.Event | None = None
        self._ended = False
        # A watch is in a thread most of the time: it must not use up the slots of everybody else.
        self._limiter: anyio.CapacityLimiter | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FileChange:
        if self._changes and not self._ended:
            return self._changes.popleft()
        try:
            await self._begin()
            while not self._changes:
                if self._ended:
                    raise StopAsyncIteration
                await self._wait()
                found = await self._in_thread(self._tracker.step)
                for _, kind in found:
                    _changes_seen(1, kind=kind)
                self._changes += [
                    FileChange(Path(self._directory, path), FileChangeKind(kind)) for path, kind in found
                ]
        except BaseException:
            await self.aclose()
            raise
        return self._changes.popleft()

    def stop(self) -> None:
        """End the iteration."""
        self._ended = True
        self._changes.clear()
        self._tracker.stop()
        if self._stopped is not None:
            self._stopped.set()

    async def aclose(self) -> None:
        """End the iteration and stop watching."""
        self.stop()
        await clean_up(self._tracker.close)

    async def __aenter__(self) -> Self:
        try:
            await self._begin()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A bare `async for` that is left early: nobody is in the thread, and closing waits for nothing.
        tracker = getattr(self, "_tracker", None)
        if tracker is not None:
            tracker.close()

    async def _begin(self) -> None:
        if self._limiter is None and not self._ended:
            self._limiter = anyio.CapacityLimiter(1)
            self._stopped = anyio.Event()
            await self._in_thread(self._tracker.begin)

    async def _wait(self) -> None:
        """Wait where waiting needs no thread: between two looks."""
        if self._tracker.polling and self._stopped is not None:
            with anyio.move_on_after(self._tracker.until_due()):
                await self._stopped.wait()

    async def _in_thread(self, func: Callable[[], T]) -> T:
        stop = self._tracker.stop
        return await call_sync(func, limiter=self._limiter, abandon_after=GRACE_SECONDS, on_cancel=stop)
