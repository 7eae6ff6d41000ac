"""Copying a file in constant memory."""

from __future__ import annotations

__all__ = ("async_copy_file",)

import io
import os
import shutil
import stat
import time

from sentrio.async_core._atomic import Replacement, naming
from sentrio.async_core._checks import check_count
from sentrio.async_core._thread_steps import GRACE_SECONDS, acquire, clean_up
from sentrio.async_core.telemetry import metric_counter, span
from sentrio.async_core.threads import call_sync

_bytes_copied = metric_counter("sentrio.file.copy.bytes")

# One trip to the thread: long against the trip itself, short for whoever cancels.
_STEP_SECONDS = 0.05


async def async_copy_file(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    chunk_size: int = 1024 * 1024,
    overwrite: bool = True,
) -> int:
    """Copy a file's content and return its length in bytes.

    The destination is the whole copy or, after an error or a cancellation, what it was before. A new file
    gets the permissions of the source, a replaced one keeps its own.

    :param chunk_size: bytes held in memory at a time
    :param overwrite: if false, something at ``destination`` is an error
    :raises ValueError: if ``chunk_size`` is less than 1
    :raises shutil.SameFileError: if both are the same file
    :raises FileExistsError: if ``overwrite`` is false and there is something at ``destination``
    :raises OSError: if one can not be read or the other not be written
    """
    check_count("chunk_size", chunk_size)
    paths = {"sentrio.file.source": os.fspath(source), "file.path": os.fspath(destination)}
    with span("sentrio.file.copy", **paths) as current:
        job = await acquire(_Copy, os.fspath(source), os.fspath(destination), chunk_size, overwrite, release=_end)
        try:
            while await call_sync(job.step, abandon_after=GRACE_SECONDS):
                pass
            await call_sync(job.target.commit, abandon_after=GRACE_SECONDS)
        finally:
            await clean_up(job.end)
        _bytes_copied(job.copied)
        current.set_attribute("file.size", job.copied)
    return job.copied


class _Copy:
    def __init__(self, source: str, destination: str, chunk_size: int, overwrite: bool) -> None:
        self.copied = 0
        self._buffer = memoryview(bytearray(chunk_size))
        self._source = io.FileIO(source)
        try:
            found = os.fstat(self._source.fileno())
            if os.path.exists(destination) and os.path.samefile(source, destination):  # noqa: PTH110, PTH121
                raise shutil.SameFileError(f"{source!r} and {destination!r} are the same file")
            mode = stat.S_IMODE(found.st_mode) & 0o777 if stat.S_ISREG(found.st_mode) else 0o666
            self.target = Replacement.begin(destination, overwrite=overwrite, mode=mode)
        except BaseException:
            self._source.close()
            raise

    def step(self) -> bool:
        """Copy for a while and tell whether there may be more."""
        deadline = time.perf_counter() + _STEP_SECONDS
        while time.perf_counter() < deadline:
            size = self._source.readinto(self._buffer)
            if not size:
                return False
            with naming(self.target.path):
                self.target.stream.write(self._buffer[:size])
            self.copied += size
        return True

    def end(self) -> None:
        """Close both files; a copy that was not committed is removed."""
        self._source.close()
        self.target.discard()


def _end(job: _Copy) -> None:
    job.end()
