"""What can be read, and how it is cut into morsels."""

from __future__ import annotations

__all__ = (
    "UNREADABLE",
    "CuttingReader",
    "Description",
    "Morsel",
    "Piece",
    "ReadAsText",
    "Reader",
    "Source",
    "Suspicious",
    "concealed",
    "redacted_url",
)

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import polars as pl
from polars.exceptions import PanicException, PolarsError

from sentrio.validation.facts import Known

if TYPE_CHECKING:
    from sentrio.validation.validators import Validator


#: what Polars raises about data that it can not read
UNREADABLE = (PolarsError, PanicException, OSError)


@attrs.frozen(eq=False)
class Morsel:
    """A short part of a source, small enough for one quick query."""

    index: int  #: position among the morsels, counted from 0
    first_row: int  #: number of its first row within the source
    rows: int
    frame: pl.DataFrame | pl.LazyFrame
    known: Known | None = None  #: what need not be read


@attrs.frozen(eq=False)
class Piece:
    """What a reader has cut off and not yet parsed, so that several threads can parse at once."""

    index: int  #: position among the pieces, counted from 0
    parse: Callable[[], pl.DataFrame]  #: may be called again; raises what :meth:`CuttingReader.failed` explains


@attrs.frozen(kw_only=True)
class Description:
    """What is known of a source before its rows are read."""

    schema: Mapping[str, pl.DataType]
    rows: int | None = None  #: number of rows, where that is cheap to know
    bytes_per_row: float | None = None
    #: checks that the source itself needs, for instance of text that should be numbers
    checks: Sequence[Validator] = ()
    #: columns of morsels that only these checks see
    hidden: Mapping[str, pl.DataType] = attrs.field(factory=dict)


class ReadAsText(Exception):
    """A value does not fit the type that was planned for its column: read the columns as text and cast.

    A signal between reader and engine, never seen by users.
    """


class Suspicious(Exception):
    """Some bytes are damaged, and a search through the source will tell where.

    A signal between readers, never seen by users.
    """


class Reader(ABC):
    """One pass over a source. Its methods block; they are called from one thread at a time."""

    #: whether :meth:`read` does work worth a worker thread
    blocking: bool = True
    #: rows that are read together at hardly more cost than a few of them
    unit: int = 1
    #: the size of a row, where the pass knows it better than the description
    bytes_per_row: float | None = None
    #: set before the first read: tells which columns of a part the pass will read, if that is known
    reads: Callable[[Known], Collection[str]] | None = None

    def lacks(self, rows: int) -> bool:
        """Tell whether :meth:`load` must be called before the next morsel of about so many rows can be had."""
        return False

    def load(self) -> None:
        """Do a short step of what must be done before the next morsel can be had; blocks."""
        return

    @abstractmethod
    def read(self, rows: int) -> Morsel | None:
        """Return the next morsel of about so many rows, or ``None`` at the end.

        :raises ReadAsText: if a value does not fit the planned type
        :raises SourceError: if the source can not be read
        """

    def close(self) -> None:
        """Give back what the reader holds; quick, and called in any case."""
        return


class CuttingReader(Reader):
    """A reader that only cuts: others parse the pieces, as many at once as they like, and place them in order."""

    @abstractmethod
    def cut(self, rows: int) -> Piece | None:
        """Cut off about so many rows; ``None`` at the end. It does not raise: parsing the piece does."""

    @abstractmethod
    def place(self, frame: pl.DataFrame, rows: int) -> Sequence[Morsel]:
        """Number the rows of the next piece; called in the order of the pieces, and quick.

        :return: morsels of at most so many rows
        """

    @abstractmethod
    def failed(self, exc: Exception) -> Iterator[None]:
        """Look for the reason why a piece can not be parsed, in steps that block shortly.

        :raises ReadAsText: if a value does not fit the planned type
        :raises SourceError: if the source can not be read
        :raises Exception: ``exc`` itself, if it is not about the data
        """


class Source(ABC):
    """Something with columns and rows that can be read again and again."""

    #: whether nothing but reading rows takes any time
    instant: bool = False
    #: whether :meth:`close` may wait for somebody else
    remote: bool = False
    #: set before :meth:`open`: whether another pass may follow, so that what can not be read again must be kept
    read_again: bool = True

    def __init__(self, label: str) -> None:
        #: how people see it: a path, a URL without credentials, the shape of a frame
        self.label = label

    @abstractmethod
    def describe(self) -> Description:
        """Find out schema and size; blocks.

        :raises SourceError: if the source can not be read
        """

    def study(self, columns: Collection[str]) -> Iterator[None]:
        """Look what is known of some columns without reading rows, in steps that block shortly.

        What is found goes with the morsels; nothing, if finding it takes longer than it may save.
        """
        return iter(())

    def known(self) -> Known | None:
        """Return what was found out about all rows together, if that is quickly said."""
        return None

    @abstractmethod
    def open(self, description: Description) -> Reader:
        """Begin a pass."""

    def as_text(self) -> Source:
        """Return the same source, read as text and cast afterwards."""
        raise NotImplementedError(f"{type(self).__name__} never asks to be read as text")

    def prepare(self) -> Iterator[None]:
        """Do what must be done before :meth:`describe`, in steps that block shortly.

        :raises SourceError: if the source can not be read
        """
        return iter(())

    def verify(self) -> Iterator[None]:
        """Check after the last morsel that what was read can be trusted, in steps that block shortly.

        :raises SourceError: if it can not, for instance since the source changed meanwhile
        """
        return iter(())

    def close(self) -> None:
        """Remove what the source made for itself; blocks shortly."""
        return

    def tell(self, text: str) -> str:
        """Return a message about the source in words that everybody may see."""
        return text


# Shorter values of a query are numbers and switches, and would be found all over a message.
_SECRET = 4


def concealed(text: str, url: str) -> str:
    """Return text without user, password and query of a URL, however they are written there."""
    parts = urlsplit(url)
    secrets = {parts.query, parts.netloc.rpartition("@")[0], parts.password or ""}
    secrets |= {value for _, value in parse_qsl(parts.query) if len(value) >= _SECRET}
    for secret in sorted(filter(None, secrets | {unquote(each) for each in secrets}), key=len, reverse=True):
        text = text.replace(f"?{secret}", "").replace(f"{secret}@", "").replace(secret, "[...]")
    return redacted_url(text)


def redacted_url(text: str) -> str:
    """Return text in which no URL shows its user, its password or its query."""
    text = re.sub(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@", r"\1", text)
    return re.sub(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s?#]*)\?[^\s#]*", r"\1", text)
