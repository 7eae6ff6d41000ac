"""Temporary files: the contents of a source in a form that can be read, and rows for another pass."""

from __future__ import annotations

__all__ = ("PACKED", "Scratch", "is_packed", "no_zeros", "transcoded")

import codecs
import gzip
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import IO

import attrs

from sentrio.errors import SourceError

# Bytes or characters that are worked on in one step.
_CHUNK = 4 * 2**20
# Bytes that are looked through in one step: a few milliseconds of work.
_LOOKED_THROUGH = 32 * 2**20
_AT_ONCE = 2**20

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
PACKED = (GZIP, ZSTD, b"\x78\x01", b"\x78\x9c", b"\x78\xda")


@attrs.define(eq=False)
class Scratch:
    """Temporary files of one source, which end with it.

    A step that was abandoned by its cancelled run may still be about to make a file when the run removes them
    all; whoever comes second removes it.
    """

    _paths: list[Path] = attrs.field(factory=list, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def make(self, suffix: str) -> tuple[Path, IO[bytes]]:
        """Make an empty file; return its path, and the file open for writing."""
        handle, name = tempfile.mkstemp(prefix="sentrio-", suffix=suffix)
        path = Path(name)
        self._paths.append(path)
        if self._closed:
            self.close()
        return path, os.fdopen(handle, "wb")

    def close(self) -> None:
        """Remove all files, also those that are still to come."""
        self._closed = True
        while self._paths:
            self._paths.pop().unlink(missing_ok=True)


def transcoded(
    fail: Callable[[str], SourceError], path: Path, encoding: str, target: IO[bytes] | None
) -> Iterator[None]:
    """Copy a text file as UTF-8, unpacked if it is packed, in short steps.

    :param fail: makes an error of what is wrong
    :param target: open for writing, closed at the end; ``None``: the text is only looked at
    :raises SourceError: if it is not text in this encoding, or not packed well
    """
    zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    with target or nullcontext(), path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        opened = gzip.open if magic.startswith(GZIP) else zstd.open if magic.startswith(ZSTD) else _plain
        try:
            with opened(raw, "rb") as content:
                chunk = b"first"
                while chunk:
                    chunk = content.read(_CHUNK)
                    text = decoder.decode(chunk, not chunk)
                    lines += text.count("\n")
                    if target is not None:
                        target.write(text.encode())
                    yield
        except UnicodeError as exc:
            # The codec's own words would show the data.
            if isinstance(exc, UnicodeDecodeError):
                lines += exc.object[: exc.start].decode(encoding, "replace").count("\n")
            raise fail(f"line {lines} is not {encoding} text{_advice(encoding)}") from exc
        except (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError) as exc:
            raise fail(f"damaged, it can not be unpacked: {exc}") from exc


def is_packed(path: Path) -> bool:
    """Tell whether a file is packed."""
    with path.open("rb", buffering=0) as file:
        return file.read(4).startswith(PACKED)


def no_zeros(fail: Callable[[str], SourceError], path: Path) -> Iterator[None]:
    """Look for zero bytes in a text file, in short steps.

    They merge lines where a disk lost a block, and every reader takes them for text. A file that is packed has a
    checksum instead.

    :param fail: makes an error of what is wrong
    :raises SourceError: if there is one
    """
    if is_packed(path):
        return
    with path.open("rb", buffering=0) as file:
        found, at = -1, 0
        chunk = bytearray(_AT_ONCE)  # one for all: a new one each time would cost more than looking through it
        while found < 0 and (size := file.readinto(chunk)):
            found = chunk.find(0, 0, size)
            at += size if found < 0 else found
            if at % _LOOKED_THROUGH == 0:
                yield
        if found < 0:
            return
        file.seek(0)
        lines = 1
        while at > 0:
            lines += file.read(min(at, _LOOKED_THROUGH)).count(b"\n")
            at -= _LOOKED_THROUGH
            yield
        raise fail(f"line {lines} holds a zero byte, so it is damaged, or no text")


def _advice(encoding: str) -> str:
    return "; give `encoding`, for instance cp1252 or latin-1" if encoding.lower().startswith("utf") else ""


def _plain(raw: IO[bytes], mode: str) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(raw)
