"""Walking through folders in a worker thread, a few milliseconds at a time."""

from __future__ import annotations

__all__ = ("FolderWalk", "NamePattern", "require_folder", "walk_async")

import errno
import fnmatch
import logging
import os
import re
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio.lowlevel

from sentrio.async_core.telemetry import metric_counter, span
from sentrio.async_core.threads import call_sync

logger = logging.getLogger("sentrio.async_core.file")

# One trip to the thread: long against the trip itself (0.1 ms), short for whoever cancels.
_STEP_SECONDS = 0.01

# Entries between two moments in which the thread lets go of the interpreter by itself: the event loop would
# wait five milliseconds, each time that it wakes, for the thread to be interrupted.
_ENTRIES_AT_ONCE = 100

# One trip's harvest, and how often, by count and by time, its consumer gives the event loop its turn.
_STEP_FILES = 500
_CLOCK_EVERY = 16
_YIELD_SECONDS = 0.004

# How long a cancelled caller waits for a folder that does not answer.
_GRACE_SECONDS = 5.0

_files_found = metric_counter("sentrio.file.walk.files")


class NamePattern:
    """Shell patterns for the last parts of a path, where ``**`` stands for any number of folders."""

    def __init__(self, patterns: Iterable[object]) -> None:
        self._names: list[re.Pattern[str]] = []
        self._paths: list[list[re.Pattern[str] | None]] = []
        for pattern in patterns:
            if not isinstance(pattern, str) or not pattern.strip("./" + os.sep):
                raise ValueError(f"a pattern must be text like '*.csv', got {pattern!r}")
            parts = [part for part in pattern.replace(os.sep, "/").split("/") if part not in ("", ".")]
            if len(parts) == 1 and parts[0] != "**":
                self._names.append(_compile(parts[0]))
            else:
                self._paths.append([None, *(None if part == "**" else _compile(part) for part in parts)])

    def matches(self, path: str) -> bool:
        """Tell whether one of the patterns fits the end of ``path``, which is relative to the root."""
        name = os.path.normcase(os.path.basename(path))  # noqa: PTH119  # a hundred thousand times
        if any(pattern.match(name) for pattern in self._names):
            return True
        if not self._paths:
            return False
        parts = os.path.normcase(path).replace(os.sep, "/").split("/")
        return any(_fits(parts, pattern) for pattern in self._paths)


def _compile(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(os.path.normcase(part)))


def _fits(parts: list[str], patterns: list[re.Pattern[str] | None]) -> bool:
    # reachable[i]: the patterns so far fit the first i parts. Linear where recursion would be exponential.
    reachable = [True] + [False] * len(parts)
    for pattern in patterns:
        following = [False] * (len(parts) + 1)
        if pattern is None:
            first = reachable.index(True) if True in reachable else len(parts) + 1
            following[first:] = [True] * (len(parts) + 1 - first)
        else:
            for position, part in enumerate(parts):
                following[position + 1] = reachable[position] and pattern.match(part) is not None
        reachable = following
    return reachable[-1]


def require_folder(directory: str) -> None:
    """Refuse what is no folder, with an error that names it.

    :raises FileNotFoundError: if there is nothing
    :raises NotADirectoryError: if there is something else
    """
    if not stat.S_ISDIR(os.stat(directory).st_mode):  # noqa: PTH116  # raises FileNotFoundError with the name
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)


class FolderWalk:
    """The files below a folder, found in a worker thread as they are asked for."""

    def __init__(self, directory: str | os.PathLike[str], pattern: str) -> None:
        self._root = os.fspath(directory)
        self._prefix = len(os.path.join(self._root, ""))  # noqa: PTH118  # with its separator
        self._pattern = NamePattern([pattern])
        self._everything = pattern == "*"
        self._found: deque[str] = deque()
        self._waiting: list[str] | None = None
        self._folder: Iterator[os.DirEntry[str]] | None = None
        self._ended = False
        self._count = 0
        self._yielded = 0.0
        self._span = span("sentrio.file.walk", **{"file.path": self._root, "sentrio.file.pattern": pattern})
        self._total = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Path:
        while not self._found:
            if self._ended:
                self._span.end()
                raise StopAsyncIteration
            if self._waiting is None:
                self._span.start()
            try:
                await call_sync(self._step, abandon_after=_GRACE_SECONDS)
            except BaseException as exc:
                self._ended = True
                self._span.end(type(exc))
                raise
            self._report()
            self._yielded = time.perf_counter()
        # Whoever does much with each file, and awaits nothing, would hold the loop for a whole harvest.
        self._count += 1
        if self._count >= _CLOCK_EVERY:
            self._count = 0
            if time.perf_counter() - self._yielded > _YIELD_SECONDS:
                await anyio.lowlevel.checkpoint()
                self._yielded = time.perf_counter()
        return Path(self._found.popleft())

    async def aclose(self) -> None:
        """Stop walking."""
        self._ended = True
        self._found.clear()
        self._span.end()
        self._leave_folder()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A bare `async for` that is left early: without this, the open folder would be complained about.
        self._leave_folder()
        if hasattr(self, "_span"):
            self._span.end()

    def _report(self) -> None:
        if self._found:
            self._total += len(self._found)
            _files_found(len(self._found))
            self._span.set_attribute("sentrio.file.walk.files", self._total)

    def _leave_folder(self) -> None:
        folder, self._folder = getattr(self, "_folder", None), None
        if folder is not None:
            folder.close()

    def _step(self) -> None:
        """Look at files until there is something to tell or the time is up."""
        if self._waiting is None:
            require_folder(self._root)
            self._waiting = [self._root]
        deadline = time.perf_counter() + _STEP_SECONDS
        while not self._ended and len(self._found) < _STEP_FILES and time.perf_counter() < deadline:
            if self._folder is None:
                if not self._waiting:
                    self._ended = True
                    return
                self._enter(self._waiting.pop())
            if self._folder is not None:
                self._look(self._folder)
                time.sleep(0)

    def _enter(self, folder: str) -> None:
        try:
            self._folder = os.scandir(folder)
        except FileNotFoundError:
            pass  # removed since it was seen: that is no fault
        except OSError as exc:
            if folder == self._root:
                raise
            logger.warning("%s can not be read (%s); its files are left out", folder, exc.strerror)

    def _look(self, folder: Iterator[os.DirEntry[str]]) -> None:
        for _ in range(_ENTRIES_AT_ONCE):
            entry = next(folder, None)
            if entry is None:
                self._leave_folder()
                return
            is_folder = False
            with suppress(OSError):
                is_folder = entry.is_dir()
            if is_folder:
                # Folders behind links are not entered: they may lead back here.
                if not entry.is_symlink() and self._waiting is not None:
                    self._waiting.append(entry.path)
            elif self._everything or self._pattern.matches(entry.path[self._prefix :]):
                self._found.append(entry.path)


def walk_async(directory: str | os.PathLike[str], pattern: str = "*") -> FolderWalk:
    """Iterate over the files below ``directory``, in no particular order, with ``async for``.

    The folders are read in a worker thread, so that the event loop is never held, however many files there
    are and however few match. Folders behind symbolic links are not entered; a folder that may not be read is
    named in the log and left out. The loop may be left at any time.

    :param directory: where to start; the paths that come begin with it
    :param pattern: a shell pattern for the file's name (``*.csv``) or the last parts of its path
        (``2024/*.csv``), where ``**`` stands for any number of folders
    :raises FileNotFoundError: if there is no such folder
    :raises NotADirectoryError: if it is something else
    :raises ValueError: if ``pattern`` is empty
    """
    return FolderWalk(directory, pattern)
