"""A CSV file read by pieces of whole rows, each of which is parsed by itself.

Polars parses bytes in memory as fast as it parses a file. Pieces of our own cost less than a stream of batches, in
time and in memory, and their bytes are at hand: whether one holds a zero, or a line that lacks fields, is seen
without reading the file a second time.
"""

from __future__ import annotations

__all__ = ("ChunkReader",)

from collections.abc import Callable
from pathlib import Path
from typing import IO

import polars as pl

from sentrio.validation.sources.base import Suspicious
from sentrio.validation.sources.csv_lines import fields_of

# Pieces below the first size cost more for being set up than for their rows; above the second, the bytes no longer
# fit into what the allocator keeps ready.
_LEAST_BYTES = 2**16
_MOST_BYTES = 2**24
# A row that is longer is a quoted field that does not end.
_LONGEST_ROW = 2**27
# Where the end of the last row of a piece is looked for before the piece is read.
_TAIL = 2**12
_MARK = b"\xef\xbb\xbf"
# Rarely more rows than asked for, lest a few of them are left over each time.
_MODEST = 0.97


class ChunkReader:
    """Reads one file.

    A line break ends a row if the number of quotes before it is even, as it does for Polars.

    :param parse: makes a frame of bytes; its second argument tells whether they begin the file, and its third
        whether there are quotes
    :param doubt: called if a line may lack fields, and only a look at all of them can tell
    :param header: whether the first row names the columns
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes, bool, bool], pl.DataFrame],
        doubt: Callable[[], object],
        *,
        separator: str,
        quote: str | None,
        header: bool,
    ) -> None:
        self._path, self._parse, self._doubt, self._header = path, parse, doubt, header
        self._separator, self._quote = separator, quote
        self._file: IO[bytes] | None = None
        self._at = self._end = 0
        self._weight = 1.0  # bytes of a row
        self._rest: pl.DataFrame | None = None

    def read(self, rows: int) -> pl.DataFrame | None:
        """Return the next rows, at most as many as asked for; ``None`` at the end.

        :raises Suspicious: if a line lacks fields, or there is a zero byte
        """
        frame, self._rest = self._rest, None
        if frame is None:
            frame = self._next(rows)
        if frame is not None and frame.height > rows:
            frame, self._rest = frame.slice(0, rows), frame.slice(rows)
        return frame

    def _next(self, rows: int) -> pl.DataFrame | None:
        file = self._file or self._open()
        while self._at < self._end:
            first = self._at == 0
            data = self._piece(file, rows)
            self._at += len(data)
            if b"\0" in data:
                raise Suspicious("there is a zero byte")
            quoted = self._quote is not None and self._quote.encode() in data
            # A mark at the very beginning is passed over, and here it belongs to a value.
            marked = not first and data.startswith(_MARK)
            frame = self._parse(_MARK + data if marked else data, first, quoted)
            if frame.height:
                self._weight = len(data) / frame.height
                if frame.width > 1 and frame[:, -1].null_count():
                    self._check_fields(data, frame, heads=int(first and self._header), quoted=quoted)
                return frame
        return None

    def _open(self) -> IO[bytes]:
        self._file = file = self._path.open("rb", buffering=0)
        head = file.read(_LEAST_BYTES)
        self._weight = len(head) / max(1, head.count(b"\n"))
        self._end = file.seek(0, 2)
        return file

    def _piece(self, file: IO[bytes], rows: int) -> bytes:
        """Return the bytes of some whole rows."""
        size = max(_LEAST_BYTES, min(int(rows * self._weight * _MODEST), _MOST_BYTES))
        while self._at + size < self._end:
            file.seek(self._at + size - _TAIL)
            # What would be cut off is not read: cutting means copying.
            spare = _TAIL - 1 - file.read(_TAIL).rfind(b"\n")
            data = self._bytes(file, size - spare % _TAIL)
            if length := _whole_rows(data, (self._quote or "").encode()):
                return data if length == len(data) else data[:length]
            size *= 2
            if size > _LONGEST_ROW:
                raise Suspicious("a row has no end")
        return self._bytes(file, self._end - self._at)

    def _bytes(self, file: IO[bytes], size: int) -> bytes:
        file.seek(self._at)
        data = file.read(size)
        if len(data) != size:
            raise Suspicious("the file became shorter while it was read")
        return data

    def _check_fields(self, data: bytes, frame: pl.DataFrame, *, heads: int, quoted: bool) -> None:
        """Check that the nulls in the last column are not those of lines that lack fields.

        Polars refuses a line with too many fields. So if there are as many separators as all lines need together,
        and no quotes, then each line has its own.

        :param heads: lines that are no rows
        """
        if not quoted:
            lacking = _count(data, self._separator.encode()) != (frame.height + heads) * (frame.width - 1)
        else:
            lines = pl.scan_lines(data, name="line").collect()["line"].slice(heads)
            if len(lines) != frame.height:  # some field spans several
                self._doubt()
                return
            fields = fields_of(lines.filter(frame[:, -1].is_null()), self._separator, self._quote)
            lacking = bool((fields != frame.width).any())
        if lacking:
            raise Suspicious("a line lacks fields")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = self._rest = None


def _whole_rows(data: bytes, quote: bytes) -> int:
    """Return where the last row ends that ends within the bytes; 0 if none does."""
    at = data.rfind(b"\n")
    if quote and quote in data:
        # The line break is near the end, so those behind it are quickly counted.
        quotes = _count(data, quote) - data.count(quote, at + 1)
        while at >= 0 and quotes % 2:
            last = data.rfind(quote, 0, at)
            at = data.rfind(b"\n", 0, last)
            quotes -= data.count(quote, at + 1, last) + 1
    return at + 1


def _count(data: bytes, byte: bytes) -> int:
    """Return how often a byte occurs. Polars counts twice as fast as Python does."""
    return int((pl.Series([data]).cast(pl.List(pl.UInt8)).explode() == byte[0]).sum())
