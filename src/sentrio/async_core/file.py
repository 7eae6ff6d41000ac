"""Files without blocking the event loop, and without ever leaving half a file behind.

Every call that may block runs in a worker thread, in steps short enough for a cancellation to take effect.
A cancelled caller waits for the step that runs, and leaves it behind only if the file system has not answered
for five seconds.
"""

from __future__ import annotations

__all__ = (
    "AsyncDirectoryWatcher",
    "AsyncFileReader",
    "AsyncFileWriter",
    "FileChange",
    "FileChangeKind",
    "FolderWalk",
    "async_copy_file",
    "async_file_exists",
    "async_mkdir",
    "async_read_file",
    "async_write_file",
    "walk_async",
    "write_atomically",
)

import os
from pathlib import Path

from sentrio.async_core._atomic import write_atomically
from sentrio.async_core._copy import async_copy_file
from sentrio.async_core._file_reader import AsyncFileReader
from sentrio.async_core._file_writer import AsyncFileWriter
from sentrio.async_core._thread_steps import GRACE_SECONDS
from sentrio.async_core._walk import FolderWalk, walk_async
from sentrio.async_core._watch import AsyncDirectoryWatcher, FileChange, FileChangeKind
from sentrio.async_core.threads import call_sync


async def async_read_file(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """Return the text of a file, with every line ending made ``\\n``.

    :raises ValueError: if ``encoding`` is unknown, or (as :class:`UnicodeDecodeError`) does not fit
    :raises OSError: if the file can not be read
    """
    return await AsyncFileReader(path, encoding=encoding).read()


async def async_write_file(
    path: str | os.PathLike[str], content: str, encoding: str = "utf-8", *, atomic: bool = True
) -> None:
    """Make ``content`` the text of the file at ``path``.

    :param atomic: replace the file as a whole; if false, it is overwritten in place
    :raises ValueError: if ``encoding`` is unknown, or (as :class:`UnicodeEncodeError`) does not fit
    :raises OSError: if the file can not be written
    """
    async with AsyncFileWriter(path, encoding=encoding, atomic=atomic) as writer:
        await writer.write(content)


async def async_file_exists(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is something at ``path``, a file or a folder; broken links do not count."""
    return await call_sync(os.path.exists, path, abandon_after=GRACE_SECONDS)


async def async_mkdir(directory: str | os.PathLike[str], parents: bool = True) -> None:
    """Create a folder.

    :param parents: create missing parents too, and be content with a folder that exists
    :raises FileExistsError: if there is something else at this place, or anything without ``parents``
    :raises OSError: if it can not be created
    """
    await call_sync(_mkdir, directory, parents, abandon_after=GRACE_SECONDS)


def _mkdir(directory: str | os.PathLike[str], parents: bool) -> None:
    Path(directory).mkdir(parents=parents, exist_ok=parents)
