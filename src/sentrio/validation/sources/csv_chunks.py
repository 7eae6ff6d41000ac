"""A CSV file read by pieces of whole rows, each of which is parsed by itself.

Polars parses bytes in memory as fast as it parses a file. Pieces of our own cost less than a stream of batches, in
time and in memory, and their bytes are at hand: whether one holds a zero, or a line that lacks fields, is seen
without reading the file a second time.
"""

from __future__ import annotations

__all__ = ("Chunk", "ChunkReader", "Dialect", "beginning", "joined")

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import attrs
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


@attrs.define(eq=False)
class Dialect:
    """How files are written, and what makes frames of them."""

    #: makes a frame of bytes; its second argument tells whether they begin the file, its third whether it has quotes
    parse: Callable[[bytes, bool, bool], pl.DataFrame]
    separator: str
    quote: str | None
    header: bool  #: whether the first row names the columns
    weight: float = 0.0  #: bytes of a row, as far as rows were parsed

    @property
    def mark(self) -> bytes:
        """The quote."""
        return (self.quote or "").encode()

    def named_by(self, line: bytes) -> bool:
        """Tell whether the first line of a file is all of the row that names its columns."""
        return self.header and not _blank(line) and not (self.mark and self.mark in line)


@attrs.frozen(eq=False, kw_only=True)
class Chunk:
    """Whole rows of a file, not yet parsed."""

    dialect: Dialect
    data: bytes
    rows: int  #: about so many
    quoted: bool  #: whether there are quotes
    first: bool  #: whether it begins the file
    full: bool  #: whether it is as large as pieces should be
    #: called if a line may lack fields, and only a look at all of them can tell
    doubt: Callable[[], object]

    def parse(self) -> pl.DataFrame:
        """Return the rows.

        :raises Suspicious: if a line lacks fields, or there is a zero byte
        """
        data = self.data
        if b"\0" in data:
            raise Suspicious("there is a zero byte")
        # A mark at the very beginning is passed over, and here it belongs to a value.
        marked = not self.first and data.startswith(_MARK)
        frame = self.dialect.parse(_MARK + data if marked else data, self.first, self.quoted)
        if frame.height:
            self.dialect.weight = len(data) / frame.height
            if frame.width > 1 and frame[:, -1].null_count():
                self._check_fields(frame)
        return frame

    def _check_fields(self, frame: pl.DataFrame) -> None:
        """Check that the nulls in the last column are not those of lines that lack fields.

        Polars refuses a line with too many fields. So if there are as many separators as all lines need together,
        and no quotes, then each line has its own.
        """
        data, dialect = self.data, self.dialect
        heads = int(self.first and dialect.header)  # lines that are no rows
        if not self.quoted:
            lacking = count_of(data, dialect.separator.encode()) != (frame.height + heads) * (frame.width - 1)
        else:
            lines = pl.scan_lines(data, name="line").collect()["line"].slice(heads)
            if len(lines) != frame.height:  # some field spans several
                self.doubt()
                return
            fields = fields_of(lines.filter(frame[:, -1].is_null()), dialect.separator, dialect.quote)
            lacking = bool((fields != frame.width).any())
        if lacking:
            raise Suspicious("a line lacks fields")


def joined(slabs: Sequence[Any]) -> list[Any]:
    """Put neighbours together where that changes no row: many small ones cost more to parse than one large one."""
    groups: list[list[Any]] = []
    size = 0
    for slab in slabs:
        weight = len(slab.data) if isinstance(slab, Chunk) else 0
        if groups and size + weight <= _MOST_BYTES and _continues(groups[-1][-1], slab):
            groups[-1].append(slab)
            size += weight
        else:
            groups.append([slab])
            size = weight
    return [group[0] if len(group) == 1 else _as_one(group) for group in groups]


def _continues(before: Any, chunk: Any) -> bool:
    """Tell whether the rows of one can follow those of the other in the same bytes."""
    if not isinstance(before, Chunk) or not isinstance(chunk, Chunk):
        return False
    if before.quoted and count_of(before.data, before.dialect.mark) % 2:
        return False  # a quoted field does not end, and would go on
    return not chunk.first or chunk.dialect.named_by(_first_line(chunk.data))


def _blank(data: bytes) -> bool:
    """Tell whether there are only blank lines, which are passed over at the beginning of a file."""
    return not data.removeprefix(_MARK).lstrip(b"\r\n")


def _first_line(data: bytes) -> bytes:
    end = data.find(b"\n")
    return data if end < 0 else data[: end + 1]


def _as_one(chunks: Sequence[Chunk]) -> Chunk:
    parts = [chunks[0].data]
    for chunk in chunks[1:]:
        rows = chunk.data[len(_first_line(chunk.data)) :] if chunk.first else chunk.data
        if rows:
            # The last line of a file may lack its end.
            parts += (rows,) if parts[-1].endswith(b"\n") else (b"\n", rows)
    return attrs.evolve(
        chunks[0],
        data=b"".join(parts),
        rows=sum(chunk.rows for chunk in chunks),
        quoted=any(chunk.quoted for chunk in chunks),
        doubt=lambda: [chunk.doubt() for chunk in chunks],
    )


class ChunkReader:
    """Cuts one file.

    A line break ends a row if the number of quotes before it is even, as it does for Polars.

    :param doubt: see :class:`Chunk`
    """

    def __init__(self, path: Path, dialect: Dialect, doubt: Callable[[], object]) -> None:
        self._path, self._dialect, self._doubt = path, dialect, doubt
        self._file: IO[bytes] | None = None
        self._at = self._end = 0

    def cut(self, rows: int) -> Chunk | None:
        """Cut off about so many rows; ``None`` at the end."""
        file = self._file or self._open()
        if self._at >= self._end:
            return None
        data, dialect = self._piece(file, rows), self._dialect
        names = len(_first_line(data)) if self._at == 0 and dialect.header else 0
        chunk = Chunk(
            dialect=dialect,
            data=data,
            rows=int((len(data) - names) / dialect.weight),
            quoted=bool(dialect.mark) and dialect.mark in data,
            first=self._at == 0,
            full=self._at + len(data) < self._end,
            doubt=self._doubt,
        )
        self._at += len(data)
        return chunk

    def _open(self) -> IO[bytes]:
        self._file = file = self._path.open("rb", buffering=0)
        if not self._dialect.weight:
            head = file.read(_LEAST_BYTES)
            self._dialect.weight = len(head) / max(1, head.count(b"\n") - self._dialect.header)
        self._end = file.seek(0, 2)
        return file

    def _piece(self, file: IO[bytes], rows: int) -> bytes:
        """Return the bytes of some whole rows."""
        size = max(_LEAST_BYTES, min(int(rows * self._dialect.weight * _MODEST), _MOST_BYTES))
        while self._at + size < self._end:
            file.seek(self._at + size - _TAIL)
            # What would be cut off is not read: cutting means copying.
            spare = _TAIL - 1 - file.read(_TAIL).rfind(b"\n")
            data = self._bytes(file, size - spare % _TAIL)
            length = _whole_rows(data, self._dialect.mark)
            if length and (self._at or not _blank(data[:length])):
                return data if length == len(data) else data[:length]
            size *= 2
            if size > _LONGEST_ROW:
                raise Suspicious("CSV malformed: a row does not end")
        return self._bytes(file, self._end - self._at)

    def _bytes(self, file: IO[bytes], size: int) -> bytes:
        file.seek(self._at)
        data = file.read(size)
        if len(data) != size:
            raise Suspicious("the file became shorter while it was read")
        return data

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None


def _whole_rows(data: bytes, quote: bytes) -> int:
    """Return where the last row ends that ends within the bytes; 0 if none does."""
    at = data.rfind(b"\n")
    if quote and quote in data:
        # The line break is near the end, so those behind it are quickly counted.
        quotes = count_of(data, quote) - data.count(quote, at + 1)
        while at >= 0 and quotes % 2:
            last = data.rfind(quote, 0, at)
            at = data.rfind(b"\n", 0, last)
            quotes -= data.count(quote, at + 1, last) + 1
    return at + 1


def count_of(data: bytes, byte: bytes) -> int:
    """Return how often a byte occurs in some that are there.

    Polars finds the ends of lines many times faster than Python counts. So the byte ends lines, of which only the
    last may lack its end.
    """
    other = "\x02" if byte == b"\x01" else "\x01"
    lines = pl.scan_csv(
        data,
        eol_char=byte.decode(),
        separator=other,
        quote_char=None,
        has_header=False,
        schema={"line": pl.String()},
        glob=False,
    )
    found: int = lines.select(pl.len()).collect(engine="in-memory").item()
    return found - (not data.endswith(byte))


def beginning(path: Path, rows: int, quote: str | None) -> bytes | None:
    """Return the beginning of a file that holds about so many whole rows, or all of it.

    :return: ``None`` if rows are so long, or so many lines belong to one, that nothing is won by that
    """
    with path.open("rb", buffering=0) as file:
        data = file.read(_LEAST_BYTES)
        if rows > 1:
            size = int(1.1 * rows * len(data) / max(1, data.count(b"\n")))
            if size > _MOST_BYTES:
                return None
            data += file.read(max(0, size - len(data)))
        whole = not file.read(1)
    data = data if whole else data[: _whole_rows(data, (quote or "").encode())]
    return data if data and (whole or data.count(b"\n") > rows) else None
