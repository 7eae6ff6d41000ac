"""Parquet, cut along its row groups; what the footers tell is not read from the rows."""

from __future__ import annotations

__all__ = ("ParquetReader", "ParquetSource")

from base64 import b64decode
from bisect import bisect_right
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
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
from sentrio.validation.sources.loading import LARGE_GROUP, GroupRows
from sentrio.validation.sources.options import SourceOptions
from sentrio.validation.sources.pages import UNUSUAL, ColumnPages, FilePages
from sentrio.validation.wording import first_line

# How much larger decoded rows are than the file's, as a first guess; what matters is the order of magnitude.
_UNPACKED = 3.0
# What is smaller than that in the file stands there once and is referred to; or the footer is damaged.
_MOST_UNPACKED = 300.0
# Reading a byte of a footer here takes about as long as Polars takes for so many values.
_VALUES_PER_FOOTER_BYTE = 16
# A footer up to this size is read sooner than Polars answers two questions about the file.
_SMALL_FOOTER = 8 * 2**10
# The facts about so many row groups are brought together in no time.
_FEW_GROUPS = 256
# Files that are looked at in one step, and files that one query reads: few enough to be quick, and to have open.
_FILES_AT_ONCE = 32


def _scan(paths: Path | list[Path]) -> pl.LazyFrame:
    frame: pl.LazyFrame = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
    return frame


@contextmanager
def _readable(found: FileSet, path: Path) -> Iterator[None]:
    """Name the file in what Polars says of it."""
    try:
        yield
    except (*UNREADABLE, ValueError) as exc:
        problem = f"{found.display(path)}not a readable Parquet file: {first_line(exc)}"
        raise SourceError(found.label, problem) from exc


@attrs.define(eq=False)
class ParquetFile:
    """One file, and what its footer told."""

    path: Path
    rows: int
    groups: tuple[RowGroup, ...] | None = None
    starts: list[int] = attrs.field(factory=list)  #: the first row of each row group, and the end of the last

    scanned: pl.LazyFrame | None = None
    places: FilePages | None = None

    def pages(
        self, schema: Mapping[str, pl.DataType], group: int, columns: Collection[str]
    ) -> dict[str, ColumnPages]:
        """Return the pages of some columns of a row group.

        :raises ValueError: and others of :data:`UNUSUAL`, if they can not be found
        """
        if self.places is None:
            self.places = FilePages(self.path, schema)
        return self.places.columns(group, columns)

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
        self._files, self._schema, self._stored = files, schema, stored
        self._file = self._offset = self._index = self._row = 0
        groups = [(file, number) for file in files for number, group in enumerate(file.groups or ()) if group.rows]
        self.unit = self._group(*groups[0]).rows if groups else 1
        self._value_bytes: dict[str, float] | None = None  # of texts that stand in a dictionary
        # The heaviest rows stand for all.
        self._heaviest = max(groups, key=lambda each: self._bytes(self._group(*each), None), default=None)
        self._large: GroupRows | None = None  # the row group that is read in pieces
        self._large_at = (-1, -1, -1)  # its file, its number, its first row
        self._end = 0  # the row of it that is needed next

    @staticmethod
    def _group(file: ParquetFile, number: int) -> RowGroup:
        assert file.groups is not None
        return file.groups[number]

    def _columns(self, group: RowGroup) -> Collection[str]:
        """Return the columns that are read of a row group."""
        return group.chunks if self.reads is None else self.reads(Known(self._schema, [(group, group.rows)]))

    def _bytes(self, group: RowGroup, columns: Collection[str] | None) -> float:
        """Return the size of a row of a group, in some columns or in all."""
        texts = self._value_bytes or {}
        chunks = group.chunks
        return sum(
            max(chunks[name].bytes / group.rows, texts.get(name, 0))
            for name in (chunks if columns is None else columns)
            if name in chunks
        )

    @cached_property
    def _read_columns(self) -> Collection[str]:
        assert self._heaviest is not None
        return self._columns(self._group(*self._heaviest))

    @cached_property
    def _texts(self) -> list[str]:
        """The columns that are read whose values may be larger than their chunks let one think."""
        if self._heaviest is None or self.reads is None:
            return []
        chunks = self._group(*self._heaviest).chunks
        columns = (name for name in self._read_columns if name in chunks and chunks[name].dictionary)
        return [name for name in columns if isinstance(self._schema[name], (pl.String, pl.Binary))]

    @property
    def bytes_per_row(self) -> float | None:  # type: ignore[override]
        """The size of a row in the columns that are read, where footers tell."""
        if self._heaviest is None:
            return None
        group, columns = self._group(*self._heaviest), self._read_columns
        found = self._bytes(group, columns)
        if self._stored is not None:
            # What compresses well is far larger than the file lets one think: texts of kilobytes, say.
            found = found if self._value_bytes else min(found, self._stored * _MOST_UNPACKED)
            if not set(columns) <= group.chunks.keys():
                found = max(found, self._stored)
        return found

    def lacks(self, rows: int) -> bool:
        """Tell whether something is to be decoded first: of row groups that are too large to be read at once."""
        if self._texts and self._value_bytes is None:
            return True
        large = self._large_rows(rows)
        return large is not None and large.lacks(self._end)

    def load(self) -> None:
        """Find out how large texts are, or decode some pages."""
        if self._texts and self._value_bytes is None:
            self._value_bytes = {}
            assert self._heaviest is not None
            file, number = self._heaviest
            try:
                found = file.pages(self._schema, number, self._texts)
            except UNUSUAL:
                return
            self._value_bytes = {name: pages.value_bytes for name, pages in found.items() if pages.value_bytes}
        elif self._large is not None:
            self._large.load(self._offset - self._large_at[2], self._end)

    def _large_rows(self, rows: int) -> GroupRows | None:
        """Return the row group of which the next morsel is a piece, if it is a large one."""
        self._skip_empty()
        if self._file == len(self._files) or self.reads is None:
            return None
        file = self._files[self._file]
        if not file.groups:
            return None
        number = bisect_right(file.starts, self._offset) - 1
        group, start = file.groups[number], file.starts[number]
        length = file.length(self._offset, rows)
        end = self._offset - start + length
        if length == group.rows or end > group.rows:
            return None
        if self._large_at != (self._file, number, start):
            self._large_at, self._large = (self._file, number, start), None
            columns = self._columns(group)
            # Pages are found one after another, from the first one on.
            if self._offset == start and self._bytes(group, columns) * group.rows > LARGE_GROUP:
                find = partial(file.pages, self._schema, number)
                self._large = GroupRows(file.frame, start, group, sorted(columns), find)
        self._end = end
        return self._large

    def _skip_empty(self) -> None:
        while self._file < len(self._files) and self._offset >= self._files[self._file].rows:
            self._file, self._offset = self._file + 1, 0

    def read(self, rows: int) -> Morsel | None:
        """Return the next piece of a file, or several small files; of files without rows, one morsel without."""
        self._skip_empty()
        if self._file == len(self._files):
            if self._index:
                return None
            self._index = 1
            return Morsel(0, 0, 0, self._files[0].frame.head(0))
        file = self._files[self._file]
        ahead, scattered = None, False
        if self._offset or file.rows > rows:
            large = self._large_rows(rows)
            while large is not None and large.lacks(self._end):
                self.load()
            ahead = partial(file.ahead, self._offset)
            length = file.length(self._offset, rows)
            pieces = file.pieces(self._offset, length)
            if large is not None:
                frame = large.frame(self._end - length, length)
            else:
                frame = file.frame.slice(self._offset, length)
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
            frame = None
            footer = (yield from self._small_footer(path, like)) if like is not None else None
            if footer is None or like is None or footer.stored != like.stored:
                frame = self._look(found, path)
                footer = footer or (yield from self._small_footer(path, None))
            self._files.append(ParquetFile(path, self._rows(found, path, frame, footer), scanned=frame))
            self._files[-1].tell(footer)
            like = like or footer

    def _small_footer(self, path: Path, like: Footer | None) -> Generator[None, None, Footer | None]:
        """Read what tells sooner than Polars does how many rows there are, and what is in them."""
        data = footer_bytes(path, _SMALL_FOOTER)
        return (yield from self._footer(data, path, self._schema, like)) if data else None

    def _footer(
        self, data: bytes, path: Path, schema: Mapping[str, pl.DataType], like: Footer | None = None
    ) -> Generator[None, None, Footer | None]:
        assert self._found is not None
        try:
            return (yield from read_footer(data, schema, like, path.stat().st_size))
        except DamagedFooter as exc:
            problem = f"{self._found.display(path)}not a readable Parquet file: {exc}"
            raise SourceError(self.label, problem) from None

    def _look(self, found: FileSet, path: Path) -> pl.LazyFrame:
        """Check that Polars can read a file, and that it has the columns of those before."""
        frame = _scan(path)
        with _readable(found, path):
            check_schema(b64decode(pl.read_parquet_metadata(path).get("ARROW:schema", ""), validate=True))
            schema = frame.collect_schema()
        if self._files and dict(schema) != dict(self._schema):
            raise SourceError(self.label, f"{path.name} has other columns or types than {found.paths[0].name}")
        self._schema = schema
        return frame

    @staticmethod
    def _rows(found: FileSet, path: Path, frame: pl.LazyFrame | None, footer: Footer | None) -> int:
        if footer is not None:
            return footer.rows
        assert frame is not None, "a file without a footer was looked at"
        with _readable(found, path):
            rows: int = frame.select(pl.len()).collect().item()
        return rows

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

    def known(self) -> Known | None:
        """Return what the footers tell of all files together, unless there is much of it."""
        groups: list[RowGroup] = []
        for file in self._files:
            if file.groups is None or len(groups) + len(file.groups) > _FEW_GROUPS:
                return None
            groups += file.groups
        return Known(self._schema, [(group, group.rows) for group in groups])

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return ParquetReader(self._files, self._schema, description.bytes_per_row)

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile."""
        return self._found.verify() if self._found is not None else iter(())
