"""Frames in memory: Polars, and whatever Polars can take over without copying row by row."""

from __future__ import annotations

__all__ = (
    "BatchReader",
    "FrameReader",
    "FrameSource",
    "LazyReader",
    "LazySource",
    "PandasSource",
    "as_frame",
    "is_pandas",
)

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from sentrio.errors import OptionValueError, SourceError
from sentrio.validation.sources.base import UNREADABLE, Description, Morsel, Reader, Source
from sentrio.validation.wording import first_line, listed


def as_frame(data: Any) -> pl.DataFrame | pl.LazyFrame | None:
    """Return a frame for data that is one, of Polars or (without a conversion) of pyarrow; else ``None``."""
    if isinstance(data, pl.DataFrame | pl.LazyFrame):
        return data
    if isinstance(data, pl.Series):
        return data.to_frame()
    if type(data).__module__.partition(".")[0] == "pyarrow" and hasattr(data, "num_columns"):
        try:
            return pl.DataFrame(data)
        except UNREADABLE as exc:
            problem = f"Polars can not take this {type(data).__name__} over: {_reason(exc)}"
            raise OptionValueError("data_source", "data_source", problem) from exc
    return None


def _reason(exc: BaseException) -> str:
    """Return what somebody's code, or a library, says of data that can not be had."""
    if isinstance(exc, pl.exceptions.PanicException):
        return str(exc).splitlines()[0]
    return first_line(exc) if isinstance(exc, UNREADABLE) else f"{type(exc).__name__}: {first_line(exc)}"


def is_pandas(data: Any) -> bool:
    """Tell whether data are a frame of pandas, without importing it."""
    return type(data).__module__.partition(".")[0] == "pandas" and type(data).__name__ == "DataFrame"


class FrameReader(Reader):
    """Cuts a frame into slices, which costs nothing."""

    blocking = False

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._index = self._row = 0

    def read(self, rows: int) -> Morsel | None:
        """Return the next slice; of an empty frame, one morsel without rows."""
        if self._row >= self._frame.height and self._index:
            return None
        part = self._frame.slice(self._row, rows)
        morsel = Morsel(self._index, self._row, part.height, part)
        self._index += 1
        self._row += part.height
        return morsel


class FrameSource(Source):
    """A frame in memory."""

    instant = True

    def __init__(self, frame: pl.DataFrame) -> None:
        super().__init__(f"DataFrame[{frame.height}x{frame.width}]")
        self.frame = frame

    def describe(self) -> Description:
        """Return schema and size."""
        rows = self.frame.height
        # A small frame is one morsel whatever a row weighs; measuring it would take longer than checking it.
        weight = self.frame.estimated_size() / rows if rows > _WEIGHED else None
        return Description(schema=self.frame.schema, rows=rows, bytes_per_row=weight)

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return FrameReader(self.frame)


_WEIGHED = 100


class PandasSource(Source):
    """A frame of pandas, which is converted when it is read; its index is no column."""

    def __init__(self, data: Any) -> None:
        rows, columns = data.shape
        super().__init__(f"DataFrame[{rows}x{columns}]")
        self.instant = rows * columns <= _CONVERTED
        self._data = data
        self._inner: FrameSource | None = None

    def prepare(self) -> Iterator[None]:
        """Convert the frame."""
        if not self._data.columns.is_unique:
            raise SourceError(self.label, "two of its columns have the same name")
        try:
            self._inner = FrameSource(pl.from_pandas(self._data))
        except ModuleNotFoundError as exc:
            raise SourceError(self.label, f"pandas frames need {exc.name}; install it") from exc
        except pl.exceptions.PolarsError as exc:
            raise SourceError(self.label, f"it can not be taken over: {first_line(exc)}") from exc
        except Exception:  # noqa: BLE001  # of pandas or pyarrow; what it says shows a value
            bad = [repr(name) for name in self._data.columns if not _is_convertible(self._data[[name]])]
            where = listed(bad) or "its columns"
            problem = f"it can not be taken over: values of several types, or of one that Arrow has not, in {where}"
            raise SourceError(self.label, problem) from None
        return iter(())

    @property
    def inner(self) -> FrameSource:
        """The converted frame."""
        assert self._inner is not None, "prepare() comes first"
        return self._inner

    def describe(self) -> Description:
        """Return schema and size."""
        return self.inner.describe()

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return self.inner.open(description)


def _is_convertible(data: Any) -> bool:
    try:
        pl.from_pandas(data)
    except Exception:  # noqa: BLE001  # see above
        return False
    return True


# Cells of a frame that are converted in less time than a worker thread needs to begin.
_CONVERTED = 20_000


class BatchReader(Reader):
    """Cuts batches, as somebody else makes them, to size.

    :param schema: the columns; ``None`` asks for them when there is no batch at all
    """

    def __init__(self, schema: Mapping[str, pl.DataType] | None = None) -> None:
        self._schema = schema
        self._batches: Iterator[pl.DataFrame] | None = None
        self._rest: pl.DataFrame | None = None
        self.index = self.row = 0

    @abstractmethod
    def _begin(self, rows: int) -> Iterator[pl.DataFrame]:
        """Begin to make batches, of about so many rows."""

    def _columns(self) -> Mapping[str, pl.DataType]:
        assert self._schema is not None
        return self._schema

    def read(self, rows: int) -> Morsel | None:
        """Return the next batch, cut to size."""
        if self._batches is None:
            # One batch size for the whole pass: larger wishes are met by joining batches.
            self._batches = self._begin(rows)
        parts, height = ([], 0) if self._rest is None else ([self._rest], self._rest.height)
        self._rest = None
        while height < rows:
            batch = next(self._batches, None)
            if batch is None:
                break
            parts.append(batch)
            height += batch.height
        if not height and self.index:
            return None
        if not parts:
            # No batch at all: rules that hold on an empty frame need one.
            parts = [pl.DataFrame(schema=self._columns())]
        whole = parts[0] if len(parts) == 1 else pl.concat(parts)
        if height > rows:
            whole, self._rest = whole.slice(0, rows), whole.slice(rows)
        morsel = Morsel(self.index, self.row, whole.height, whole)
        self.index += 1
        self.row += whole.height
        return morsel

    def close(self) -> None:
        """Drop the iterator, which stops the query behind it."""
        self._batches = self._rest = None


class LazyReader(BatchReader):
    """Collects a lazy frame batch by batch."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        super().__init__()
        self._frame = frame

    def _begin(self, rows: int) -> Iterator[pl.DataFrame]:
        # Marked unstable by Polars.
        return iter(self._frame.collect_batches(chunk_size=rows, maintain_order=True))

    def _columns(self) -> Mapping[str, pl.DataType]:
        return self._frame.collect_schema()


class _UserReader(LazyReader):
    def __init__(self, source: LazySource) -> None:
        super().__init__(source.frame)
        self._source = source

    def read(self, rows: int) -> Morsel | None:
        label = self._source.label
        try:
            morsel = super().read(rows)
        except (Exception, *UNREADABLE) as exc:  # its upstream part may call any Python code
            raise SourceError(label, _reason(exc)) from exc
        if morsel is None:
            # A frame over a stream has no rows the second time, and that is not what the checks were asked.
            before, self._source.rows = self._source.rows, self.row
            if before not in {None, self.row}:
                raise SourceError(label, f"it gave {before:,} rows at first and {self.row:,} when it was read again")
        return morsel


class LazySource(Source):
    """A lazy frame that somebody else built; what lies upstream of it can not be interrupted."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        super().__init__("LazyFrame")
        self.frame = frame
        self.rows: int | None = None  # of a whole pass

    def describe(self) -> Description:
        """Return the schema; the number of rows is not known."""
        try:
            schema = self.frame.collect_schema()
        except (Exception, *UNREADABLE) as exc:  # see above
            raise SourceError(self.label, _reason(exc)) from exc
        return Description(schema=schema)

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return _UserReader(self)
