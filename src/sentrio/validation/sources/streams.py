"""Whatever hands out its rows through the Arrow C stream interface, batch by batch."""

from __future__ import annotations

__all__ = ("OnceReader", "StreamSource", "is_stream")

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import polars as pl
from polars.exceptions import PanicException

from sentrio.errors import SourceError
from sentrio.validation.sources.arrow_stream import ArrowStream, ArrowStreamReader
from sentrio.validation.sources.base import Description, Morsel, Reader, Source
from sentrio.validation.sources.scratch import Scratch
from sentrio.validation.sources.spill import Spill
from sentrio.validation.wording import first_line

# What objects have that hand out each batch once.
_ONCE = ("__next__", "read_next_batch", "read_next")

# Rows that an object gave when it was read before; it may be empty now and look like a source without rows.
_read: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def is_stream(data: Any) -> bool:
    """Tell whether data are handed out through the Arrow C stream interface."""
    return hasattr(data, "__arrow_c_stream__") and not isinstance(data, type)


class OnceReader(Reader):
    """Passes on the rows of a reader and keeps them for the passes to come."""

    def __init__(self, inner: Reader, spill: Spill) -> None:
        self._inner, self._spill = inner, spill

    def read(self, rows: int) -> Morsel | None:
        """Return the next morsel."""
        morsel = self._inner.read(rows)
        if morsel is None:
            self._spill.complete = True
        else:
            assert isinstance(morsel.frame, pl.DataFrame)
            self._spill.add(morsel.frame)
        return morsel

    def close(self) -> None:
        """Close the inner reader."""
        self._inner.close()


class StreamSource(Source):
    """An object with ``__arrow_c_stream__``: a reader of record batches, a relation of a database, ..."""

    def __init__(self, data: Any) -> None:
        super().__init__(type(data).__name__)
        self._data = data
        self._stream: ArrowStream | None = None
        self._spill = Spill(Scratch())
        self.rows = 0  # read in the first pass

    def prepare(self) -> Iterator[None]:
        """Ask for the stream, which may begin a query somewhere."""
        yield
        once = any(hasattr(self._data, name) for name in _ONCE)
        if once and self._before() is not None:
            raise SourceError(self.label, "it gives its rows only once, and was read before; make a new one")
        self._note()
        try:
            self._stream = ArrowStream(self._data)
        except (Exception, PanicException) as exc:  # whatever the object raises
            raise SourceError(self.label, f"it gives no rows: {first_line(exc)}") from exc

    def _before(self) -> int | None:
        try:
            return _read.get(self._data)
        except TypeError:  # it can not be remembered
            return None

    def _note(self) -> None:
        try:
            _read[self._data] = max(self.rows, self._before() or 0)
        except TypeError:
            return

    def describe(self) -> Description:
        """Return the columns; how many rows there are is not known."""
        assert self._stream is not None, "prepare() comes first"
        return Description(schema=self._stream.schema)

    def open(self, description: Description) -> Reader:
        """Begin a pass; each after the first one goes over the rows that were kept."""
        if self._spill.complete:
            return self._spill.open()
        assert self._stream is not None, "prepare() comes first"
        reader = _StreamReader(self, self._stream)
        return OnceReader(reader, self._spill) if self.read_again else reader

    def verify(self) -> Iterator[None]:
        """Check that an object that was read before is not simply exhausted."""
        before = self._before()
        if not self.rows and before:
            problem = f"it gave {before:,} rows before and none now: it gives them only once; make a new one"
            raise SourceError(self.label, problem)
        self._note()
        return iter(())

    def close(self) -> None:
        """Forget the rows, and the stream."""
        self._stream = None
        self._spill.close()


class _StreamReader(ArrowStreamReader):
    def __init__(self, source: StreamSource, stream: ArrowStream) -> None:
        super().__init__(stream)
        self._source = source

    def read(self, rows: int) -> Morsel | None:
        try:
            morsel = super().read(rows)
        except (Exception, PanicException) as exc:  # whatever the object raises
            raise SourceError(self._source.label, first_line(exc)) from exc
        if morsel is not None:
            self._source.rows += morsel.rows
        return morsel
