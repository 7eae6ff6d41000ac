"""Rows kept for another pass over a source that gives them only once: in memory at first, then in a file."""

from __future__ import annotations

__all__ = ("Spill",)

from io import BytesIO
from pathlib import Path
from typing import IO

import attrs
import polars as pl

from sentrio.validation.sources.base import Morsel, Reader
from sentrio.validation.sources.scratch import Scratch

#: bytes that are kept in memory
MOST_BYTES = 64 * 2**20


@attrs.frozen
class _Written:
    start: int
    end: int


@attrs.define(eq=False)
class Spill:
    """The rows of a source in the order in which they came."""

    scratch: Scratch
    complete: bool = False  #: all rows are here
    _parts: list[pl.DataFrame | _Written] = attrs.field(factory=list, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _file: IO[bytes] | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    path: Path | None = attrs.field(default=None, init=False)  #: of the file, once there is one

    def add(self, frame: pl.DataFrame) -> None:
        """Keep rows.

        :raises OSError: if the file can not be written
        """
        size = int(frame.estimated_size())
        if self._bytes + size <= MOST_BYTES:
            self._bytes += size
            self._parts.append(frame)
            return
        if self._file is None:
            self.path, self._file = self.scratch.make(".arrows")
            if self._closed:  # by a cancelled run that left this call behind
                self._file.close()
        start = self._file.tell()
        frame.write_ipc_stream(self._file, compression="lz4")
        self._parts.append(_Written(start, self._file.tell()))

    def open(self) -> Reader:
        """Begin a pass over the rows."""
        if self._file is not None:
            self._file.flush()
        return _SpillReader(list(self._parts), self.path)

    def close(self) -> None:
        """Forget the rows."""
        self._closed = True
        self._parts.clear()
        if self._file is not None:
            self._file.close()
        self.scratch.close()


class _SpillReader(Reader):
    def __init__(self, parts: list[pl.DataFrame | _Written], path: Path | None) -> None:
        self._parts = parts
        self._file = path.open("rb") if path is not None else None
        self._rest: pl.DataFrame | None = None
        self._index = self._row = 0

    def read(self, rows: int) -> Morsel | None:
        """Return the next rows, in parts no larger than they came."""
        if self._rest is None or not self._rest.height:
            if not self._parts:
                return None
            self._rest = self._load(self._parts.pop(0))
        frame, self._rest = self._rest.slice(0, rows), self._rest.slice(rows)
        self._index += 1
        self._row += frame.height
        return Morsel(self._index - 1, self._row - frame.height, frame.height, frame)

    def _load(self, part: pl.DataFrame | _Written) -> pl.DataFrame:
        if isinstance(part, pl.DataFrame):
            return part
        assert self._file is not None
        self._file.seek(part.start)
        return pl.read_ipc_stream(BytesIO(self._file.read(part.end - part.start)))

    def close(self) -> None:
        """Close the file."""
        self._parts, self._rest = [], None
        if self._file is not None:
            self._file.close()
