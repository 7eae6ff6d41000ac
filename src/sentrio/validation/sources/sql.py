"""Tables and queries of databases, read in batches through one connection."""

from __future__ import annotations

__all__ = ("SqlSource",)

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.sources.arrow_stream import ArrowStream, ArrowStreamReader
from sentrio.validation.sources.base import Description, Morsel, ReadAsText, Reader, Source, concealed
from sentrio.validation.sources.options import SourceOptions
from sentrio.validation.sources.scratch import Scratch
from sentrio.validation.sources.spill import Spill
from sentrio.validation.sources.sql_drivers import Answer, Driver, Unusable, driver_for
from sentrio.validation.sources.sql_rows import Rows, frame_of, told_type, typed_frame
from sentrio.validation.sources.streams import OnceReader
from sentrio.validation.sources.text import TOLD_BY
from sentrio.validation.sources.typed import described, with_given
from sentrio.validation.wording import first_line

T = TypeVar("T")


class SqlSource(Source):
    """A table or a query; its rows are read once, and kept if a second pass needs them."""

    remote = True

    def __init__(self, given: SourceOptions, base: Path | None, *, text: bool = False) -> None:
        super().__init__(f"{given.shown} ({given.table or 'query'})")
        self._given, self._base, self._text = given, base, text
        assert given.url is not None
        self._url = given.url
        self._driver: Driver | None = None
        self._answer = Answer()
        self._head: Rows = ()
        self._types: dict[str, pl.DataType] = {}
        self._spill = Spill(Scratch())
        self._busy = self._closed = False

    def as_text(self) -> Source:
        """Return the same source with values that do not fit kept as text; it asks again."""
        self.close()
        other = SqlSource(self._given, self._base, text=True)
        other._types = self._types
        return other

    def prepare(self) -> Iterator[None]:
        """Connect and ask, and tell the types from what the database declares and from the first rows."""
        yield
        try:
            self._driver = driver_for(self._url, self._base)
        except Unusable as exc:
            raise SourceError(self.label, str(exc)) from None
        self._answer = self.call(self._driver.ask, self._given.table, self._given.query)
        yield
        if (stream := self._answer.stream) is not None:
            if self._given.schema:
                raise SourceError(self.label, "`schema` is of no use here: the database tells its types")
            self._types = dict(stream.schema)
            return
        columns = self._answer.columns
        if len(set(columns)) < len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise SourceError(self.label, f"two columns are named {twice!r}; name them apart with AS")
        assert self._answer.fetch is not None
        self._head = self.call(self._answer.fetch, TOLD_BY)
        if not self._types:
            self._types = self._told()

    def _told(self) -> dict[str, pl.DataType]:
        cells: Sequence[Sequence[Any]] = list(zip(*self._head, strict=True)) or [()] * len(self._answer.columns)
        told = {
            name: declared or told_type(values)
            for name, declared, values in zip(self._answer.columns, self._answer.types, cells, strict=True)
        }
        return with_given(self.label, told, self._given.schema)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Use the connection: whoever closes it meanwhile leaves that to this call.

        :raises SourceError: if the driver raises anything
        """
        self._busy = True
        try:
            if self._closed:  # by a cancelled run that left this call behind
                raise Unusable("the run has ended")
            return function(*args)
        except ReadAsText:
            raise
        except Unusable as exc:
            raise SourceError(self.label, str(exc)) from None
        except Exception as exc:  # noqa: BLE001  # drivers have no common base
            said = first_line(getattr(exc, "orig", None) or exc)
            if isinstance(exc, ModuleNotFoundError):
                said = f"the driver {exc.name!r} is not installed"
            # Drivers repeat the URL, the query and its values in what they raise.
            raise SourceError(self.label, self.tell(said)) from None
        finally:
            self._busy = False
            if self._closed:
                self._disconnect()

    def describe(self) -> Description:
        """Return the columns; how many rows there are is not known."""
        return described(self._types, text=self._text)

    def open(self, description: Description) -> Reader:
        """Begin a pass; each after the first one goes over the rows that were kept."""
        if self._spill.complete:
            return self._spill.open()
        if self._answer.stream is not None:
            reader: Reader = _StreamReader(self, self._answer.stream)
        else:
            reader = _RowReader(self, self._head, self._answer.fetch, self._types, text=self._text)
            self._head = ()
        return OnceReader(reader, self._spill) if self.read_again else reader

    def tell(self, text: str) -> str:
        """Return a message without the secrets of the URL."""
        return concealed(text, self._url)

    def close(self) -> None:
        """End the query, and close the connection as soon as nobody uses it."""
        self._closed = True
        if self._busy and self._driver is not None:
            with suppress(Exception):  # it may have ended just now
                self._driver.interrupt()
        if not self._busy:
            self._disconnect()
        self._spill.close()

    def _disconnect(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            with suppress(Exception):  # a connection that broke can not be closed in order
                driver.close()


class _RowReader(Reader):
    """Fetches rows, and makes frames of them."""

    def __init__(
        self,
        source: SqlSource,
        head: Rows,
        fetch: Callable[[int], Rows] | None,
        types: dict[str, pl.DataType],
        *,
        text: bool,
    ) -> None:
        assert fetch is not None
        self._source, self._head, self._fetch = source, head, fetch
        self._frame = typed_frame if text else frame_of
        self._types = types
        self._index = self._row = 0

    def read(self, rows: int) -> Morsel | None:
        """Return the next rows; of a table without rows, one morsel without rows."""
        found, self._head = self._head[:rows], self._head[rows:]
        if not found:
            found = self._source.call(self._fetch, min(rows, _MOST_ROWS))
        if not found and self._index:
            return None
        frame = self._frame(found, self._types)
        self._index += 1
        self._row += frame.height
        return Morsel(self._index - 1, self._row - frame.height, frame.height, frame)


# Rows are Python objects first, which take much more memory than a frame.
_MOST_ROWS = 20_000


class _StreamReader(ArrowStreamReader):
    def __init__(self, source: SqlSource, stream: ArrowStream) -> None:
        super().__init__(stream)
        self._source = source

    def read(self, rows: int) -> Morsel | None:
        return self._source.call(super().read, rows)
