"""Parquet, cut along its row groups; what the footers tell is not read from the rows."""

from __future__ import annotations

__all__ = ("ParquetReader", "ParquetSource")

from base64 import b64decode
from bisect import bisect_right
from collections.abc import Collection, Generator, Iterator, Mapping
from functools import partial
from itertools import accumulate
from pathlib import Path

import attrs
import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.facts import Known, RowGroup
from sentrio.validation.sources.base import UNREADABLE, Description, Morsel, Reader, Source
from sentrio.validation.sources.files import FileSet
from sentrio.validation.sources.footer import DamagedFooter, Footer, footer_bytes, read_footer
from sentrio.validation.sources.ipc_layout import check_schema
from sentrio.validation.sources.options import SourceOptions
from sentrio.validation.wording import first_line

# How much larger decoded rows are than the file's, as a first guess; what matters is the order of magnitude.
_UNPACKED = 3.0
# What is smaller than that in the file stands there once and is referred to; or the footer is damaged.
_MOST_UNPACKED = 300.0
# Reading a byte of a footer here takes about as long as Polars takes for so many values.
_VALUES_PER_FOOTER_BYTE = 16
# A footer up to this size is read sooner than Polars answers two questions about the file.
_SMALL_FOOTER = 8 * 2**10
# Files that are looked at in one step, and files that one query reads: few enough to be quick, and to have open.
_FILES_AT_ONCE = 32


def _scan(paths: Path | list[Path]) -> pl.LazyFrame:
    frame: pl.LazyFrame = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
    return frame


@attrs.define(eq=False)
class ParquetFile:
    """One file, and what its footer told."""

    path: Path
    rows: int
    groups: tuple[RowGroup, ...] | None = None
    starts: list[int] = attrs.field(factory=list)  #: the first row of each row group, and the end of the last

    scanned: pl.LazyFrame | None = None

    @property
    def frame(self) -> pl.LazyFrame:
        """The rows, not read yet."""
        if self.scanned is None:
            self.scanned = _scan(self.path)
        return self.scanned

    def tell(self, footer: Footer | None) -> None:
        """Take in what the footer says, unless Polars says something else."""
        if footer is not None and footer.rows == self.rows:
            self.groups = footer.groups
            self.starts = [0, *accumulate(group.rows for group in footer.groups)]

    def length(self, offset: int, wanted: int) -> int:
        """Return how many rows to read from ``offset`` on, at most ``wanted``: whole row groups if they fit."""
        if not self.groups:
            return min(wanted, self.rows - offset)
        group = bisect_right(self.starts, offset) - 1
        last = bisect_right(self.starts, offset + wanted) - 1
        if last > group:
            return self.starts[last] - offset
        # A group is cut into pieces of about one size, since a small last one would cost almost as much.
        rest = self.starts[group + 1] - offset
        return -(-rest // -(-rest // wanted))

    def ahead(self, offset: int, wanted: int) -> tuple[pl.LazyFrame, int]:
        """Return the rows from ``offset`` on, at most ``wanted``, and how many there are."""
        length = min(wanted, self.rows - offset)
        return self.frame.slice(offset, length), length

    def pieces(self, offset: int, length: int) -> list[tuple[RowGroup, int]] | None:
        """Return the row groups between two rows, with the rows of each that lie there."""
        if self.groups is None:
            return None
        first, end = max(0, bisect_right(self.starts, offset) - 1), offset + length
        found = []
        for group, start in zip(self.groups[first:], self.starts[first:], strict=False):
            if start >= end:
                break
            found.append((group, min(end, start + group.rows) - max(offset, start)))
        return found


class ParquetReader(Reader):
    """Cuts Parquet files by file, offset and length; nothing is read before a morsel is measured."""

    blocking = False

    def __init__(
        self, files: list[ParquetFile], schema: Mapping[str, pl.DataType], stored: float | None = None
    ) -> None:
        self._files, self._schema = files, schema
        self._file = self._offset = self._index = self._row = 0
        groups = [group for file in files for group in file.groups or () if group.rows]
        self.unit = groups[0].rows if groups else 1
        # What compresses well is far larger than the file lets one think: texts of kilobytes, say.
        sizes = (sum(chunk.bytes for chunk in group.chunks.values()) / group.rows for group in groups)
        self.bytes_per_row = max(sizes, default=None)
        if self.bytes_per_row is not None and stored is not None:
            self.bytes_per_row = min(self.bytes_per_row, stored * _MOST_UNPACKED)

    def read(self, rows: int) -> Morsel | None:
        """Return the next piece of a file, or several small files; of files without rows, one morsel without."""
        while self._file < len(self._files) and self._offset >= self._files[self._file].rows:
            self._file, self._offset = self._file + 1, 0
        if self._file == len(self._files):
            if self._index:
                return None
            self._index = 1
            return Morsel(0, 0, 0, self._files[0].frame.head(0))
        file = self._files[self._file]
        ahead, scattered = None, False
        if self._offset or file.rows > rows:
            ahead = partial(file.ahead, self._offset)
            length = file.length(self._offset, rows)
            frame, pieces = file.frame.slice(self._offset, length), file.pieces(self._offset, length)
            self._offset += length
        else:
            files = self._whole(rows)
            length = sum(each.rows for each in files)
            frame = file.frame if len(files) == 1 else _scan([each.path for each in files])
            found = [each.pieces(0, each.rows) for each in files]
            pieces = [piece for each in found for piece in each or ()] if None not in found else None
            self._file += len(files)
            scattered = len(files) > 1
        known = None
        if pieces is not None:
            known = Known(self._schema, pieces, self._row, ahead, scattered=scattered)
        morsel = Morsel(self._index, self._row, length, frame, known)
        self._index += 1
        self._row += length
        return morsel

    def _whole(self, rows: int) -> list[ParquetFile]:
        """Return the next files that fit into so many rows; at least one."""
        files: list[ParquetFile] = []
        for file in self._files[self._file : self._file + _FILES_AT_ONCE]:
            rows -= file.rows
            if rows < 0 and files:
                break
            files.append(file)
        return files


class ParquetSource(Source):
    """Parquet files with the same columns."""

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given.shown)
        self._options, self._base = given, base
        self._found: FileSet | None = None
        self._files: list[ParquetFile] = []
        self._schema: Mapping[str, pl.DataType] = {}

    def prepare(self) -> Iterator[None]:
        """Find the files, their columns and their rows."""
        assert self._options.path is not None
        found = self._found = FileSet.find(self.label, self._options.path, self._base, "parquet")
        self._files = []
        like: Footer | None = None
        for number, path in enumerate(found.paths):
            if number % _FILES_AT_ONCE == 1:
                yield
            # Of many small files the footer tells at once what Polars would be asked for twice.
            data = footer_bytes(path, _SMALL_FOOTER) if len(found.paths) > 1 else b""
            footer = (yield from self._footer(data, path, self._schema, like)) if data and like is not None else None
            if footer is not None and like is not None and footer.stored == like.stored:
                self._files.append(ParquetFile(path, footer.rows))
                self._files[-1].tell(footer)
                continue
            self._files.append(self._look(found, path))
            if data and like is None:
                like = yield from self._footer(data, path, self._schema)
                self._files[-1].tell(like)

    def _footer(
        self, data: bytes, path: Path, schema: Mapping[str, pl.DataType], like: Footer | None = None
    ) -> Generator[None, None, Footer | None]:
        assert self._found is not None
        try:
            return (yield from read_footer(data, schema, like, path.stat().st_size))
        except DamagedFooter as exc:
            problem = f"{self._found.display(path)}not a readable Parquet file: {exc}"
            raise SourceError(self.label, problem) from None

    def _look(self, found: FileSet, path: Path) -> ParquetFile:
        frame = _scan(path)
        try:
            check_schema(b64decode(pl.read_parquet_metadata(path).get("ARROW:schema", ""), validate=True))
            schema = frame.collect_schema()
            rows = frame.select(pl.len()).collect().item()
        except (*UNREADABLE, ValueError) as exc:
            problem = f"{found.display(path)}not a readable Parquet file: {first_line(exc)}"
            raise SourceError(self.label, problem) from exc
        if self._files and dict(schema) != dict(self._schema):
            raise SourceError(self.label, f"{path.name} has other columns or types than {found.paths[0].name}")
        self._schema = schema
        return ParquetFile(path, rows, scanned=frame)

    def describe(self) -> Description:
        """Return what the footers said."""
        assert self._found is not None, "prepare() comes first"
        total = sum(file.rows for file in self._files)
        weight = sum(size for size, _, _ in self._found.marks) * _UNPACKED / total if total else None
        return Description(schema=self._schema, rows=total, bytes_per_row=weight)

    def study(self, columns: Collection[str]) -> Iterator[None]:
        """Read the statistics of those files whose footers take less time than the rows of these columns."""
        schema = {name: dtype for name, dtype in self._schema.items() if name in columns}
        for number, file in enumerate(self._files):
            if number % _FILES_AT_ONCE == _FILES_AT_ONCE - 1:
                yield
            if file.groups is None:
                worth = int(file.rows * len(schema) / _VALUES_PER_FOOTER_BYTE)
                data = footer_bytes(file.path, max(worth, _SMALL_FOOTER))
                file.tell((yield from self._footer(data, file.path, schema)))

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return ParquetReader(self._files, self._schema, description.bytes_per_row)

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile."""
        return self._found.verify() if self._found is not None else iter(())
