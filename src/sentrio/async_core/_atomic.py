"""Replace a file as a whole: whoever looks sees the old content or the new one, never a part.

The new content goes to a temporary file in the same folder, which is synced and renamed. A process that is
killed leaves at most that temporary file, whose name is hidden and ends in :data:`TEMPORARY_SUFFIX`.
"""

from __future__ import annotations

__all__ = ("TEMPORARY_SUFFIX", "Replacement", "naming", "write_atomically")

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import attrs

#: Temporary files are named ``.<first characters of the name>.<random>`` and this.
TEMPORARY_SUFFIX = ".sentrio-tmp"

# Names are limited to 255 bytes on the usual file systems, and one character may take four.
_NAME_CHARACTERS = 40

# What a file system answers that knows no hard links.
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

_CREATE = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@attrs.define(eq=False)
class Replacement:
    """New content on its way to ``path``. Write to ``stream``, then :meth:`commit` or :meth:`discard`.

    As a context manager it commits at the end of the block, and discards if the block raises.
    """

    path: str
    target: str  #: where the content goes: ``path`` with symbolic links followed
    temporary: str | None  #: ``None`` if the target is a device or a pipe, which can not be replaced
    overwrite: bool
    stream: BinaryIO
    previous: os.stat_result | None

    @classmethod
    def begin(cls, path: str | os.PathLike[str], *, overwrite: bool = True, mode: int = 0o666) -> Self:
        """Create the temporary file.

        :param mode: permissions of a file that is new, less what the process's mask forbids
        :raises FileExistsError: if there is something at ``path`` and ``overwrite`` is false
        :raises OSError: if the folder is missing or not writable, if ``path`` is a folder, or if the present
            file may not be written
        """
        name = os.fspath(path)
        if not overwrite and os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        # Without overwrite a link that leads nowhere counts as something that is there.
        target = os.path.realpath(name) if overwrite else os.path.abspath(name)  # noqa: PTH100
        previous = _examine(name, target) if overwrite else None
        if previous is not None and not stat.S_ISREG(previous.st_mode):
            return cls(name, target, None, overwrite, open(target, "wb"), None)  # noqa: PTH123

        folder, base = os.path.split(target)
        # 0o600 where a file is replaced: the new content may be as private as the old one was.
        mode = 0o600 if previous is not None else mode
        while True:
            unique = secrets.token_hex(6)
            temporary = os.path.join(folder, f".{base[:_NAME_CHARACTERS]}.{unique}{TEMPORARY_SUFFIX}")  # noqa: PTH118
            try:
                descriptor = os.open(temporary, _CREATE, mode)
            except FileExistsError:
                continue
            except OSError as exc:  # the temporary name means nothing to the reader of the message
                raise OSError(exc.errno, exc.strerror, name) from exc
            return cls(name, target, temporary, overwrite, os.fdopen(descriptor, "wb"), previous)

    def commit(self) -> None:
        """Sync the content and put it in place.

        :raises FileExistsError: if ``overwrite`` is false and somebody else was faster
        """
        try:
            with naming(self.path):
                self.seal()
            if self.temporary is not None:
                self._put_in_place(self.temporary)
        except BaseException:
            self.discard()
            raise
        self.temporary = None
        _sync_folder(os.path.dirname(self.target))  # noqa: PTH120

    def seal(self) -> None:
        """Sync the content and take no more, so that :meth:`commit` is quick. Harmless when called again."""
        if not self.stream.closed:
            self._finish_content()

    def discard(self) -> None:
        """Remove what was written; the file at ``path`` stays as it is. Harmless when called again."""
        try:
            # Closing flushes, which fails once more where a full disk was what brought us here.
            with suppress(OSError):
                self.stream.close()
        finally:
            if self.temporary is not None:
                with suppress(FileNotFoundError):
                    os.unlink(self.temporary)  # noqa: PTH108
                self.temporary = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def _finish_content(self) -> None:
        self.stream.flush()
        if self.temporary is not None:
            descriptor = self.stream.fileno()
            if self.previous is not None:
                _copy_permissions(self.target, self.previous, descriptor)
            os.fsync(descriptor)
        self.stream.close()

    def _put_in_place(self, temporary: str) -> None:
        if self.overwrite:
            os.replace(temporary, self.target)  # noqa: PTH105
            return
        if os.name == "nt":
            os.rename(temporary, self.target)  # noqa: PTH104  # there it refuses to overwrite
            return
        try:
            os.link(temporary, self.target)
        except FileExistsError:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path) from None
        except OSError as exc:
            if exc.errno not in _NO_HARD_LINKS:
                raise
            # Second best: whoever creates the empty file first has won the name.
            os.close(os.open(self.target, _CREATE, 0o600))
            os.replace(temporary, self.target)  # noqa: PTH105
            return
        os.unlink(temporary)  # noqa: PTH108


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Have an error of the operating system name the file, which a full disk does not by itself."""
    try:
        yield
    except OSError as exc:
        if exc.errno is not None and exc.filename is None:
            exc.filename = path
        raise


def write_atomically(
    path: str | os.PathLike[str],
    data: bytes | bytearray | memoryview | Iterable[bytes],
    *,
    overwrite: bool = True,
) -> None:
    """Make ``data`` the content of the file at ``path``, all of it or, after any error, nothing of it.

    Permissions, owner (where allowed) and access lists of a replaced file are kept, and a symbolic link keeps
    pointing to where it points. Other hard links to the old file keep the old content. A device or a pipe
    can not be replaced and is written to directly. This function blocks: call it in a worker thread.

    :param path: where to; the folder must exist
    :param data: the content at once or piece by piece; pieces are written as they come
    :param overwrite: replace what is there; if false, something at ``path`` is an error and stays untouched
    :raises FileExistsError: if ``overwrite`` is false and there is something at ``path``, also if somebody
        else puts it there in the meantime
    :raises TypeError: if ``data`` is text or has pieces that are not bytes
    :raises OSError: whatever the operating system has against it, with ``path`` as its file name
    """
    pieces = _pieces(data)
    with Replacement.begin(path, overwrite=overwrite) as replacement:
        for piece in pieces:
            with naming(replacement.path):
                replacement.stream.write(piece)


def _pieces(data: Any) -> Iterable[Any]:
    if isinstance(data, str):  # it would pass as pieces if it is empty
        raise TypeError("data must be bytes, not text: encode it first")
    return (data,) if isinstance(data, bytes | bytearray | memoryview) else data


def _examine(name: str, target: str) -> os.stat_result | None:
    """Return the state of the file that will be replaced, and refuse what opening it would refuse."""
    try:
        found = os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        return None  # creating the temporary file tells if the folder is wrong
    if stat.S_ISLNK(found.st_mode):  # a ring of links: `realpath` gives up
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    return found


def _copy_permissions(source: str | Path, previous: os.stat_result, descriptor: int) -> None:
    mode = stat.S_IMODE(previous.st_mode)
    if hasattr(os, "fchown"):
        try:
            os.fchown(descriptor, previous.st_uid, previous.st_gid)
        except PermissionError:
            mode &= ~(stat.S_ISUID | stat.S_ISGID)  # another owner's program must not run as ours
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)
    if hasattr(os, "listxattr"):
        with suppress(OSError):  # a file system without extended attributes
            for name in os.listxattr(source):
                if name == "system.posix_acl_access" or name.startswith("user."):
                    with suppress(OSError):
                        os.setxattr(descriptor, name, os.getxattr(source, name))


def _sync_folder(folder: str) -> None:
    """Make a rename survive a loss of power, where the system can sync folders."""
    if os.name == "nt":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
