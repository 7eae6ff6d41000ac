"""What CSV and NDJSON have in common: lines of text, read typed at first, and as text if a value does not fit."""

from __future__ import annotations

__all__ = ("TOLD_BY", "Batch", "Batches", "Part", "Slab", "TextReader", "TextSource")

from abc import abstractmethod
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import attrs
import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.sources.base import (
    UNREADABLE,
    CuttingReader,
    Description,
    Morsel,
    Piece,
    ReadAsText,
    Reader,
    Source,
    Suspicious,
)
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
# The first bytes of a packed file, which tell how it is packed.
_MAGIC = 4
# Opening so many takes about as long as anybody should wait for a cancellation.
_FILES_IN_A_PIECE = 256
# Above that, the engine that streams a query shares the threads better with those that parse the next pieces.
_STREAMED_ROWS = 50_000
# Files that are looked at in one step.
_FILES_AT_ONCE = 16


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
        self.heads: dict[Any, bytes] = {}  # how files begin that are read as they are: see `_head_of`
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
        other.heads = self.heads
        other._scratch, self._scratch = self._scratch, Scratch()
        return other

    def prepare(self) -> Iterator[None]:
        """Find the files, look whether they are text, and transcode them if need be."""
        if self.readable:
            return
        yield
        self._files = find_files(self.options, self._base, self.format)
        paths: list[Any] = list(self.files.paths)
        for number, path in enumerate(paths):
            if isinstance(path, str) or self._look(path):
                self.readable.append(path)
            else:
                copy, target = self._scratch.make(f".{self.format}")
                self.readable.append(copy)
                yield from transcoded(partial(self.files.error, path), path, self._encoding, target)
            if number % _FILES_AT_ONCE == 0:
                yield
        try:
            self.types = self.told()
        except UNREADABLE as exc:
            yield from self.explained(exc)
        for number, (path, real) in enumerate(zip(self.readable, self.files.paths, strict=True)):
            self.check_columns(path, real)
            if number % _FILES_AT_ONCE == 0:
                yield
        if len(self.readable) > 1:
            try:
                yield from self.told_by_more()
            except UNREADABLE as exc:
                yield from self.explained(exc)

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
        if plain:
            first = _head_of(head)
            before = next(iter(self.heads.values()), b"")
            self.heads[path] = before if first == before else first  # once, for however many files
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
        """Tell the types of the columns from the options and from the first rows of the first file."""

    @abstractmethod
    def told_by_more(self) -> Iterator[None]:
        """Tell them from the first rows of several files, in short steps, where the first one has too few."""

    def some_files(self) -> Iterator[list[Any]]:
        """Return the files, a few together."""
        for start in range(0, len(self.readable), _FILES_AT_ONCE):
            yield self.readable[start : start + _FILES_AT_ONCE]

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

    def together(self, slabs: Sequence[Slab]) -> pl.DataFrame:
        """Parse what was cut off, of one file or of several; see :attr:`Piece.parse`."""
        frames = [slab.parse() for slab in slabs]
        return pl.concat(frames) if frames else pl.DataFrame(schema=self.read_types)

    def _not_text(self) -> Iterator[None]:
        for path, real in zip(self.readable, self.files.paths, strict=True):
            if not isinstance(path, str):
                yield from transcoded(partial(self.files.error, real), path, "utf-8", None)

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile."""
        yield from self.files.verify()


def _head_of(head: bytes) -> bytes:
    """Return the first line among the first bytes of a file, with its end, or what shows that it is packed."""
    if head.startswith(PACKED):
        return head[:_MAGIC]
    return head[: head.find(b"\n") + 1]


class Slab(Protocol):
    """Rows of one file that are cut off together."""

    @property
    def rows(self) -> int:
        """About how many rows there are."""

    @property
    def full(self) -> bool:
        """Whether nothing should be put beside it."""

    def parse(self) -> pl.DataFrame:
        """Return the rows."""


class Part(Protocol):
    """Reads one file."""

    def cut(self, rows: int) -> Slab | None:
        """Cut off about so many rows; ``None`` at the end."""

    def close(self) -> None:
        """Give back what is held."""


@attrs.frozen(eq=False)
class Batch:
    """Rows that are parsed already."""

    frame: pl.DataFrame
    full: ClassVar[bool] = False

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.frame.height

    def parse(self) -> pl.DataFrame:
        """Return the rows."""
        return self.frame


class Batches:
    """Reads one file as Polars streams it."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        self._reader = LazyReader(frame)

    def cut(self, rows: int) -> Batch | None:
        """Return the next batch."""
        morsel = self._reader.read(rows)
        if morsel is None or not morsel.rows:
            return None
        assert isinstance(morsel.frame, pl.DataFrame)
        return Batch(morsel.frame)

    def close(self) -> None:
        """Drop the query."""
        self._reader.close()


class TextReader(CuttingReader):
    """Reads the files one after another, in pieces, of several files if they are small."""

    def __init__(self, source: TextSource) -> None:
        self._source = source
        self._paths = list(reversed(source.readable))
        self._current: Part | None = None
        self._pieces = self._index = self._row = 0
        self._ready: list[Morsel] = []

    def read(self, rows: int) -> Morsel | None:
        """Return the next morsel; for those who parse one piece after another."""
        while not self._ready:
            if (piece := self.cut(rows)) is None:
                return None
            try:
                frame = piece.parse()
            except Exception as exc:
                for _ in self.failed(exc):
                    pass
                raise
            self._ready += self.place(frame, rows)
        return self._ready.pop(0)

    def cut(self, rows: int) -> Piece | None:
        """Cut off the next piece."""
        slabs: list[Slab] = []
        found = opened = 0
        try:
            # A few rows more are not worth a query.
            while found <= rows // 2 and opened < _FILES_IN_A_PIECE and self._more:
                if self._current is None:
                    self._current = self._source.part(self._paths.pop())
                    opened += 1
                slab = self._current.cut(rows - found)
                if slab is None:
                    self._current.close()
                    self._current = None
                else:
                    slabs.append(slab)
                    if slab.full:
                        break
                    found += slab.rows
        except (*UNREADABLE, Suspicious) as exc:
            self.close()
            slabs.append(_Unreadable(exc))
        if not slabs and self._pieces and not self._more:
            return None
        piece = Piece(self._pieces, partial(_parsed, self._source, slabs))
        self._pieces += 1
        return piece

    @property
    def _more(self) -> bool:
        return bool(self._paths) or self._current is not None

    def place(self, frame: pl.DataFrame, rows: int) -> list[Morsel]:
        """Number the rows of the next piece; those that were read as text are cast when they are looked at."""
        morsels = []
        for part in frame.iter_slices(rows) if frame.height > rows else (frame,):
            queried = part.lazy() if part.height > _STREAMED_ROWS else part
            typed = cast_texts(part, self._source.types) if self._source.text else queried
            morsels.append(Morsel(self._index, self._row, part.height, typed))
            self._index += 1
            self._row += part.height
        return morsels

    def failed(self, exc: Exception) -> Iterator[None]:
        """Look for the line that an error is about."""
        self.close()
        if not isinstance(exc, (*UNREADABLE, Suspicious)):
            raise exc
        if not self._source.text and self._source.misfit in str(exc):
            raise ReadAsText from None
        yield from self._source.explained(exc)

    def close(self) -> None:
        """Drop the query."""
        if self._current is not None:
            self._current.close()
        self._current, self._paths = None, []


def _parsed(source: TextSource, slabs: Sequence[Slab]) -> pl.DataFrame:
    try:
        return source.together(slabs)
    except pl.exceptions.PanicException as exc:
        # Which is no Exception, and would pass by all that handle one.
        raise pl.exceptions.ComputeError(str(exc)) from None


@attrs.frozen(eq=False)
class _Unreadable:
    """Stands where rows would, and raises why there are none."""

    exc: BaseException
    rows: int = 0
    full: ClassVar[bool] = True

    def parse(self) -> pl.DataFrame:
        raise self.exc
