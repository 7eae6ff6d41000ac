"""The job log: what has been done, in a file that outlives the process that did it.

Each line is a JSON object. ``{"begin": ...}`` begins a run, every other line is the result of a site. A line counts
once it is whole, and it is on the disk before anybody is told of the result. Only one process may write at a time.
"""

from __future__ import annotations

__all__ = ("JobLog", "read_results")

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import anyio

from sentrio.async_core.threads import call_sync
from sentrio.errors import JobLogError
from sentrio.pipeline.result import SiteResult

# A disk that takes longer is as good as none; whoever cancels does not wait forever for it.
_WRITE_SECONDS = 30.0


def read_results(path: Path) -> dict[str, SiteResult]:
    """Return the last result of each site since the last run began; none if there is no file.

    A last line that is not whole was torn off by a crash: that site has not finished.

    :raises sentrio.errors.JobLogError: if it can not be read, or is no job log
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise JobLogError(str(path), f"it can not be read: {exc.strerror or exc}") from exc
    found: dict[str, SiteResult] = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            record = json.loads(line)
            if isinstance(record, dict) and "begin" in record:
                found.clear()
                continue
            result = SiteResult.from_dict(record)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            problem = f"line {number} is no record of a job log; name another file, or remove the line"
            raise JobLogError(str(path), problem) from exc
        found[result.site] = result
    return found


class JobLog:
    """An open job log. Use :meth:`opened`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._waiting: list[bytes] = []
        self._writing = anyio.Lock()
        self._broken: str | None = None

    @classmethod
    @contextmanager
    def opened(cls, path: Path, *, begin: int | None = None) -> Iterator[JobLog]:
        """Open the file for appending, and keep other processes out.

        It blocks for as long as the file system does.

        :param begin: begin a new run of so many sites; ``None`` goes on with the last one
        :raises sentrio.errors.JobLogError: if it can not be written, or another run writes to it
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab+", buffering=0)
        except OSError as exc:
            raise JobLogError(str(path), f"it can not be written: {exc.strerror or exc}") from exc
        with file:
            _lock(path, file)
            _drop_torn_line(file)
            log = cls(path, file)
            if begin is not None:
                log._append(_line({"begin": datetime.now(UTC).isoformat(), "sites": begin}))
            yield log

    async def write(self, result: SiteResult) -> None:
        """Write a result, and return when it is on the disk. Those who wait share one trip to it.

        A cancellation does not keep it from being written. After the first failure nothing more is: the file may
        end in half a line.

        :raises sentrio.errors.JobLogError: if it can not be written
        """
        line = _line(result.to_dict())
        self._waiting.append(line)
        with anyio.move_on_after(_WRITE_SECONDS, shield=True) as patience:
            async with self._writing:
                if self._broken is None and any(line is other for other in self._waiting):
                    lines, self._waiting = self._waiting, []
                    try:
                        await call_sync(self._append, b"".join(lines))
                    except JobLogError as exc:
                        self._broken = exc.problem
                if self._broken is not None:
                    # Also for those whose lines another one took along in vain.
                    raise JobLogError(str(self._path), self._broken)
        if patience.cancelled_caught:
            raise JobLogError(str(self._path), f"it could not be written within {_WRITE_SECONDS:g} s")

    def _append(self, lines: bytes) -> None:
        try:
            view = memoryview(lines)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise JobLogError(str(self._path), f"it can not be written: {exc.strerror or exc}") from exc


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _lock(path: Path, file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JobLogError(str(path), "another run is writing to it; wait for its end, or name another file") from None
    except OSError:
        return  # a file system that knows no locks


def _drop_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(0, position - 65536)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position < end:
        file.truncate(position)
