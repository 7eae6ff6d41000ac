"""What CSV and NDJSON have in common: lines of text, read typed at first, and as text if a value does not fit."""

from __future__ import annotations

__all__ = ("TOLD_BY", "Batches", "Part", "TextReader", "TextSource")

from abc import abstractmethod
from codecs import BOM_UTF8
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.sources.base import UNREADABLE, Description, Morsel, ReadAsText, Reader, Source, Suspicious
from sentrio.validation.sources.files import FileSet, find_files
from sentrio.validation.sources.frames import LazyReader
from sentrio.validation.sources.options import SourceOptions, is_utf8
from sentrio.validation.sources.remote import RemoteFiles
from sentrio.validation.sources.scratch import PACKED, Scratch, transcoded
from sentrio.validation.sources.typed import cast_texts, described
from sentrio.validation.wording import first_line

#: rows that tell the types of columns
TOLD_BY = 10_000
# The first bytes, which show whether a file is text at all.
_LOOKED_AT = 2**16


class TextSource(Source):
    """Files of text with the same columns, packed or not, in any encoding."""

    format: ClassVar[str]
    #: what begins the message of Polars for a value that does not fit the type of its column
    misfit: ClassVar[str]
    #: whether Polars passes over a byte order mark
    reads_mark: ClassVar[bool] = False

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given.shown)
        self.options, self._base = given, base
        self.text = False
        self._files: FileSet | RemoteFiles | None = None
        self.readable: list[Any] = []  # the files themselves, or their contents as UTF-8
        self._scratch = Scratch()
        self.types: dict[str, pl.DataType] = {}

    @property
    def files(self) -> FileSet | RemoteFiles:
        """The files; :meth:`prepare` finds them."""
        assert self._files is not None, "prepare() comes first"
        return self._files

    def as_text(self) -> Source:
        """Return the same source, read as text; it takes over the temporary files."""
        other = type(self)(self.options, self._base)
        other.text = True
        other._files, other.readable, other.types = self._files, self.readable, self.types
        other._scratch, self._scratch = self._scratch, Scratch()
        return other

    def prepare(self) -> Iterator[None]:
        """Find the files, look whether they are text, and transcode them if need be."""
        if self.readable:
            return
        yield
        self._files = find_files(self.options, self._base, self.format)
        for path in self.files.paths:
            if isinstance(path, str) or self._look(path):
                self.readable.append(path)
            else:
                copy, target = self._scratch.make(f".{self.format}")
                self.readable.append(copy)
                yield from transcoded(partial(self.files.error, path), path, self._encoding, target)
            yield
        try:
            self.types = self.told()
        except UNREADABLE as exc:
            yield from self.explained(exc)
        for path, real in zip(self.readable, self.files.paths, strict=True):
            self.check_columns(path, real)
            yield

    @property
    def _encoding(self) -> str:
        # A byte order mark is no part of the text, whether or not somebody mentions it.
        return "utf-8-sig" if is_utf8(self.options.encoding) else self.options.encoding

    def explained(self, exc: BaseException) -> Iterator[None]:
        """Look for the place in the files that an error of Polars is about, in short steps, and raise an error.

        :raises SourceError: naming the place if it is found, else translating what Polars said
        """
        failure = self.failure(exc)
        not_text = "utf-8" in str(exc).lower() or "utf8" in str(exc).lower()
        yield from self._not_text() if not_text else self.faults()
        raise failure from None

    def _look(self, path: Path) -> bool:
        """Look at the beginning of a file; return whether Polars can read it as it is."""
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
        if not head:
            raise self.files.error(path, "the file is empty")
        plain = is_utf8(self.options.encoding) and not (head.startswith(BOM_UTF8) and not self.reads_mark)
        if plain and not head.startswith(PACKED):
            if b"\0" in head:
                problem = "this is no text: it contains zero bytes; if it is UTF-16, give `encoding`"
                raise self.files.error(path, problem)
            if b"\r" in head.rstrip() and b"\n" not in head:
                problem = "its lines end with a carriage return alone; convert them to line feeds"
                raise self.files.error(path, problem)
        return plain

    def close(self) -> None:
        """Remove the transcoded copies."""
        self._scratch.close()

    def tell(self, text: str) -> str:
        """Return a message without the secrets of a URL."""
        return self.files.tell(text) if self._files is not None else text

    def describe(self) -> Description:
        """Return the columns and their types, which the options and the first rows told."""
        return described(self.types, text=self.text)

    @abstractmethod
    def told(self) -> dict[str, pl.DataType]:
        """Tell the types of the columns from the options and from the first rows."""

    @abstractmethod
    def check_columns(self, path: Any, real: Any) -> None:
        """Check that a file has the columns of the first one."""

    @abstractmethod
    def scan(self, path: Any, **more: Any) -> pl.LazyFrame:
        """Return a lazy frame of one file."""

    @abstractmethod
    def part(self, path: Any) -> Part:
        """Return a reader of the rows of one file, typed or as text."""

    @abstractmethod
    def faults(self) -> Iterator[None]:
        """Look for the first line that can not be read, in short steps; raise an error that names it."""

    @abstractmethod
    def problem(self, text: str) -> str:
        """Translate a message of Polars, which may show the data."""

    def failure(self, exc: BaseException) -> SourceError:
        """Return the error to raise for one of Polars."""
        return SourceError(self.label, self.problem(self.tell(first_line(exc))))

    @property
    def read_types(self) -> dict[str, pl.DataType]:
        """The types that columns are read as."""
        return {name: pl.String() if self.text or dtype == pl.Null else dtype for name, dtype in self.types.items()}

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return TextReader(self)

    def _not_text(self) -> Iterator[None]:
        for path, real in zip(self.readable, self.files.paths, strict=True):
            if not isinstance(path, str):
                yield from transcoded(partial(self.files.error, real), path, "utf-8", None)

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile."""
        yield from self.files.verify()


class Part(Protocol):
    """Reads one file."""

    def read(self, rows: int) -> pl.DataFrame | None:
        """Return at most so many rows; ``None`` at the end."""

    def close(self) -> None:
        """Give back what is held."""


class Batches:
    """Reads one file as Polars streams it."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        self._reader = LazyReader(frame)

    def read(self, rows: int) -> pl.DataFrame | None:
        """Return the next batch."""
        morsel = self._reader.read(rows)
        if morsel is None or not morsel.rows:
            return None
        assert isinstance(morsel.frame, pl.DataFrame)
        return morsel.frame

    def close(self) -> None:
        """Drop the query."""
        self._reader.close()


class TextReader(Reader):
    """Reads the files one after another, in batches."""

    def __init__(self, source: TextSource) -> None:
        self._source = source
        self._paths = list(reversed(source.readable))
        self._current: Part | None = None
        self._index = self._row = 0
        self._search: Iterator[None] | None = None

    def read(self, rows: int) -> Morsel | None:
        """Return the next batch, of several files if they are small, cast if it was read as text.

        After an error that may have a line, its search goes on from call to call, and each returns no rows:
        a search through a long file must be open to cancellation as well.
        """
        if self._search is not None:
            return self._seek()
        try:
            frame = self._gather(rows)
        except (*UNREADABLE, Suspicious) as exc:
            return self._failed(exc)
        if frame is None:
            return None if self._index else self._morsel(self._empty())
        return self._morsel(frame)

    def _gather(self, rows: int) -> pl.DataFrame | None:
        frames: list[pl.DataFrame] = []
        height = 0
        # A few rows more are not worth a query.
        while height <= rows // 2 and (self._paths or self._current is not None):
            if self._current is None:
                self._current = self._source.part(self._paths.pop())
            frame = self._current.read(rows - height)
            if frame is None:
                self._current.close()
                self._current = None
            else:
                frames.append(frame)
                height += frame.height
        return pl.concat(frames) if frames else None

    def _morsel(self, frame: pl.DataFrame) -> Morsel:
        typed = cast_texts(frame, self._source.types) if self._source.text else frame
        morsel = Morsel(self._index, self._row, frame.height, typed)
        self._index += 1
        self._row += frame.height
        return morsel

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self._source.read_types)

    def _failed(self, exc: BaseException) -> Morsel | None:
        self.close()
        if not self._source.text and self._source.misfit in str(exc):
            raise ReadAsText from None
        self._search = self._source.explained(exc)
        return self._seek()

    def _seek(self) -> Morsel | None:
        assert self._search is not None
        for _ in self._search:
            return self._morsel(self._empty())
        return None

    def close(self) -> None:
        """Drop the query."""
        if self._current is not None:
            self._current.close()
        self._current, self._paths = None, []
