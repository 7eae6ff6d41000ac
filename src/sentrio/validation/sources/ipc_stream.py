"""Rows of Arrow IPC streams, some record batches at a time: Polars itself reads such a stream only as a whole."""

from __future__ import annotations

__all__ = ("StreamReader", "stream_schema")

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import IO

import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.sources.base import UNREADABLE, Morsel, Reader
from sentrio.validation.sources.hive import Partitions
from sentrio.validation.sources.ipc_layout import DICTIONARY, RECORDS, Layout, Message
from sentrio.validation.wording import first_line

_END = b"\xff\xff\xff\xff" + bytes(4)
# Record batches that are decoded together, however small they are.
_MOST_BYTES = 64 * 2**20


def stream_schema(path: Path, layout: Layout) -> pl.Schema:
    """Return the columns of a stream.

    :raises PolarsError: if Polars does not know their types
    """
    with path.open("rb") as file:
        parts = _Parts(file, layout)
        return pl.read_ipc_stream(BytesIO(parts.schema + parts.next_dictionaries() + _END)).schema


class _Parts:
    """The messages of a stream, put together to streams that are short."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self._file = file
        self.schema = self._bytes(layout.messages[0])
        self._messages = list(layout.messages[1:])
        self._at = 0
        self._dictionaries: dict[int, list[bytes]] = {}

    def _bytes(self, message: Message) -> bytes:
        self._file.seek(message.start)
        found = self._file.read(message.end - message.start)
        if len(found) < message.end - message.start:
            raise OSError("it became shorter while it was read")
        return found

    def next_dictionaries(self) -> bytes:
        """Pass over the dictionaries that come next; return all that are in force."""
        while self._at < len(self._messages) and self._messages[self._at].kind == DICTIONARY:
            message = self._messages[self._at]
            kept = self._dictionaries.setdefault(message.dictionary, [])
            if not message.delta:
                kept.clear()
            kept.append(self._bytes(message))
            self._at += 1
        return b"".join(part for parts in self._dictionaries.values() for part in parts)

    def next_stream(self, rows: int) -> bytes | None:
        """Return a stream of the next record batches with about so many rows; ``None`` at the end."""
        parts = [self.schema, self.next_dictionaries()]
        size = height = 0
        while self._at < len(self._messages) and self._messages[self._at].kind == RECORDS:
            message = self._messages[self._at]
            if size and (height + message.rows > rows or size + message.end - message.start > _MOST_BYTES):
                break
            parts.append(self._bytes(message))
            size += message.end - message.start
            height += message.rows
            self._at += 1
        return b"".join((*parts, _END)) if size else None


class StreamReader(Reader):
    """Reads the streams of some files one after another."""

    def __init__(
        self,
        label: str,
        files: list[tuple[Path, Layout]],
        partitions: Partitions,
        schema: Mapping[str, pl.DataType],
    ) -> None:
        self._label, self._files, self._partitions = label, list(files), partitions
        self._path = files[0][0]
        self._file: IO[bytes] | None = None
        self._parts: _Parts | None = None
        self._rest = pl.DataFrame(schema=schema)
        self._index = self._row = 0
        self._closed = False

    def read(self, rows: int) -> Morsel | None:
        """Return the next rows."""
        try:
            while not self._rest.height:
                found = self._next(rows)
                if found is None:
                    break
                self._rest = found
        except UNREADABLE as exc:
            raise SourceError(self._label, first_line(exc)) from exc
        if not self._rest.height and self._index:
            return None
        frame, self._rest = self._rest.slice(0, rows), self._rest.slice(rows)
        self._index += 1
        self._row += frame.height
        return Morsel(self._index - 1, self._row - frame.height, frame.height, frame)

    def _next(self, rows: int) -> pl.DataFrame | None:
        while True:
            if self._parts is None:
                if not self._files:
                    return None
                self._path, layout = self._files.pop(0)
                self._file = self._path.open("rb")
                if self._closed:  # by a cancelled run that left this call behind
                    self._end_file()
                    return None
                self._parts = _Parts(self._file, layout)
            parts = self._parts
            stream = parts.next_stream(rows)
            if stream is not None:
                return self._partitions.apply(pl.read_ipc_stream(BytesIO(stream)).lazy(), self._path).collect()
            self._end_file()

    def _end_file(self) -> None:
        self._parts = None
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def close(self) -> None:
        """Close the file."""
        self._closed, self._files = True, []
        self._end_file()
