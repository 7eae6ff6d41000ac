"""Files that are cut by file, offset and length: Arrow IPC, and Parquet in partitions or behind a URL."""

from __future__ import annotations

__all__ = ("IpcSource", "PartitionedParquet", "SliceReader", "SlicedSource")

from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.sources.base import UNREADABLE, Description, Morsel, Reader, Source
from sentrio.validation.sources.files import FileSet, find_files
from sentrio.validation.sources.hive import Partitions, is_partitioned
from sentrio.validation.sources.ipc_layout import Layout, read_layout
from sentrio.validation.sources.ipc_stream import StreamReader, stream_schema
from sentrio.validation.sources.options import SourceOptions
from sentrio.validation.sources.remote import RemoteFiles
from sentrio.validation.wording import first_line

# How much larger decoded rows are than the file's, as a first guess; what matters is the order of magnitude.
_UNPACKED = 3.0
_PATH = "__sentrio_path__"


class SliceReader(Reader):
    """Cuts lazy frames whose heights are known; nothing is read before a morsel is measured."""

    blocking = False

    def __init__(self, frames: list[tuple[pl.LazyFrame, int]]) -> None:
        self._frames = frames
        self._frame = self._offset = self._index = self._row = 0

    def read(self, rows: int) -> Morsel | None:
        """Return the next slice of a frame; of frames without rows, one morsel without rows."""
        while self._frame < len(self._frames) and self._offset >= self._frames[self._frame][1]:
            self._frame, self._offset = self._frame + 1, 0
        if self._frame == len(self._frames):
            if self._index:
                return None
            self._index = 1
            return Morsel(0, 0, 0, self._frames[0][0].head(0))
        frame, height = self._frames[self._frame]
        length = min(rows, height - self._offset)
        morsel = Morsel(self._index, self._row, length, frame.slice(self._offset, length))
        self._index += 1
        self._offset += length
        self._row += length
        return morsel


class SlicedSource(Source):
    """Files with the same columns whose heights are known without reading their rows."""

    format: ClassVar[str]
    named: ClassVar[str]  #: how messages call the format

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given.shown)
        self._options, self._base = given, base
        self._files: FileSet | RemoteFiles | None = None
        self._schema: dict[str, pl.DataType] = {}
        self._partitions = Partitions()
        self._frames: list[tuple[pl.LazyFrame, int]] = []

    def prepare(self) -> Iterator[None]:
        """Find the files, their columns and their rows."""
        yield
        files = self._files = find_files(self._options, self._base, self.format)
        found = self._expanded(files) if isinstance(files, RemoteFiles) and files.is_many else {}
        paths: Sequence[Any] = list(found) or files.paths
        folders = {path: files.folders(path) for path in paths}
        if any(map(is_partitioned, folders.values())):
            self._partitions = Partitions.of(self.label, folders)
        for path in paths:
            yield from self._add(files, path, found.get(path))

    def _expanded(self, files: RemoteFiles) -> dict[str, int]:
        """Return the files of a pattern in a bucket with their rows, for which Polars reads their footers."""
        try:
            each = self.scan(files.url, include_file_paths=_PATH).group_by(_PATH, maintain_order=True)
            return dict(each.len().collect().iter_rows())
        except UNREADABLE as exc:
            raise files.error(files.url, files.tell(first_line(exc))) from None

    def _add(self, files: FileSet | RemoteFiles, path: Any, rows: int | None) -> Iterator[None]:
        try:
            found = yield from self.look(path)
            rows = found if rows is None else rows
            frame = self._partitions.apply(self.scan(path), path)
            schema = dict(frame.collect_schema())
            height = frame.select(pl.len()).collect().item() if rows is None else rows
        except UNREADABLE as exc:
            problem = f"not a readable {self.named} file: {files.tell(first_line(exc))}"
            raise files.error(path, problem) from None
        except ValueError as exc:
            raise files.error(path, f"not a readable {self.named} file: {exc}") from None
        if self._frames and schema != self._schema:
            first = files.name(files.paths[0])
            raise SourceError(self.label, f"{files.name(path)} has other columns or types than {first}")
        self._schema = schema
        self._frames.append((frame, height))

    @abstractmethod
    def scan(self, path: Any, **more: Any) -> pl.LazyFrame:
        """Return the rows of one file."""

    def look(self, path: Any) -> Generator[None, None, int | None]:
        """Look at one file before it is scanned, in short steps; return its rows if they are known then.

        :raises ValueError: if it is damaged
        """
        yield
        return None

    def describe(self) -> Description:
        """Return columns and rows."""
        total = sum(rows for _, rows in self._frames)
        weight = None
        if isinstance(self._files, FileSet) and total:
            weight = sum(size for size, _, _ in self._files.marks) * _UNPACKED / total
        return Description(schema=self._schema, rows=total, bytes_per_row=weight)

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return SliceReader(self._frames)

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile."""
        if self._files is not None:
            yield from self._files.verify()

    def tell(self, text: str) -> str:
        """Return a message without the secrets of a URL."""
        return self._files.tell(text) if self._files is not None else text


class PartitionedParquet(SlicedSource):
    """Parquet files in folders whose names are values, or behind a URL."""

    format = "parquet"
    named = "Parquet"

    def scan(self, path: Any, **more: Any) -> pl.LazyFrame:
        """Return the rows of one file."""
        assert self._files is not None
        return pl.scan_parquet(path, hive_partitioning=False, **self._files.scan_options, **more)


class IpcSource(SlicedSource):
    """Arrow IPC: files, which are cut, or streams, which are read some record batches at a time."""

    format = "ipc"
    named = "Arrow IPC"

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given, base)
        self._streams: list[tuple[Path, Layout]] = []

    def look(self, path: Any) -> Generator[None, None, int | None]:
        """Look whether places and sizes make sense, which have no checksum."""
        if isinstance(path, str):
            return None
        layout = yield from read_layout(path)
        if self._frames and layout.is_stream != bool(self._streams):
            raise ValueError("some are files and some are streams; one source holds one kind")
        if layout.is_stream:
            self._streams.append((path, layout))
        return layout.rows

    def scan(self, path: Any, **more: Any) -> pl.LazyFrame:
        """Return the rows of one file, of a stream its columns."""
        assert self._files is not None
        if self._streams:
            return pl.LazyFrame(schema=stream_schema(*self._streams[-1]))
        return pl.scan_ipc(path, hive_partitioning=False, **self._files.scan_options, **more)

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        if self._streams:
            return StreamReader(self.label, self._streams, self._partitions, description.schema)
        return super().open(description)
