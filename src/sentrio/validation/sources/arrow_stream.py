"""Arrow streams, read batch by batch."""

from __future__ import annotations

__all__ = ("ArrowStream", "ArrowStreamReader")

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from polars.exceptions import PanicException

from sentrio.validation.sources.frames import BatchReader

# PostgreSQL's numbers know no bounds; these have 20 digits before the point.
_NUMERIC = pl.Decimal(38, 18)


class ArrowStream:
    """What an object with ``__arrow_c_stream__`` hands out; reading and closing it block.

    Polars holds the interpreter while somebody makes a batch, and with it every event loop; for a query of a
    database that may be minutes. pyarrow does not, and reads the stream if it is installed.

    :raises Exception: whatever the object raises
    :raises TypeError: if a column has a type that Polars has not
    """

    def __init__(self, data: Any) -> None:
        try:
            import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            self._frame: pl.LazyFrame | None = pl.scan_arrow_c_stream(data)
            self._reader: Any = None
            schema: Mapping[str, pl.DataType] = self._frame.collect_schema()
        else:
            self._frame, self._reader = None, pa.RecordBatchReader.from_stream(data)
            schema = _schema(pa, self._reader.schema)
        self._plain = _plain(schema)
        self.schema = pl.DataFrame(schema=schema).with_columns(self._plain).schema

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Read the batches that there are.

        :param rows: a wish
        """
        given: Any = self._reader
        if self._frame is not None:
            given = self._frame.collect_batches(chunk_size=rows, maintain_order=True)
        for batch in given:
            frame: Any = batch if isinstance(batch, pl.DataFrame) else pl.from_arrow(batch)
            yield frame.with_columns(self._plain)

    def close(self) -> None:
        """Forget the stream."""
        self._frame = self._reader = None


def _schema(pa: Any, schema: Any) -> Mapping[str, pl.DataType]:
    told: dict[str, pl.DataType] = {}
    for field in schema:
        if field.name in told:
            raise TypeError(f"two columns are named {field.name!r}; name them apart")
        try:
            frame: Any = pl.from_arrow(pa.schema([field]).empty_table())
        except (Exception, PanicException) as exc:  # one or the other, for the same reason
            problem = f"column {field.name!r} is {field.type}, a type that Polars has not"
            raise TypeError(f"{problem}; make it another one before") from exc
        told |= frame.schema
    return told


def _plain(schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return columns of types that only their maker knows as what they hold, and exact numbers as such."""
    columns = []
    for name, dtype in schema.items():
        if isinstance(dtype, pl.BaseExtension):
            column = pl.col(name).ext.storage()
            if dtype.ext_storage() == pl.String and '"numeric"' in (dtype.ext_metadata() or ""):
                column = column.cast(_NUMERIC)  # a number that does not fit is an error, which names it
            columns.append(column)
    return columns


class ArrowStreamReader(BatchReader):
    """One pass over a stream, which gives each batch once."""

    def __init__(self, stream: ArrowStream) -> None:
        super().__init__(stream.schema)
        self._stream = stream

    def _begin(self, rows: int) -> Iterator[pl.DataFrame]:
        return self._stream.batches(rows)
