"""Files that are written slice by slice: CSV, NDJSON, and Parquet, for which Polars has no writer of this kind.

A Parquet file is row groups, then a footer that says where they are. Polars writes each slice as a small file in
memory; its row groups are copied behind those before, and the one footer at the end is put together from theirs, with
every offset moved. So a file of any size takes the memory of one slice.
"""

from __future__ import annotations

__all__ = ("SUFFIXES", "Sink", "make_sink", "sink_problem")

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import attrs
import polars as pl

from sentrio.validation.sources.thrift import field_head, integer, list_head, skip, written

_MAGIC = b"PAR1"


@attrs.define(eq=False)
class Sink(ABC):
    """Writes frames with the same columns to a stream, one behind another. Its methods block."""

    stream: BinaryIO
    begun: bool = attrs.field(default=False, init=False)

    #: how lists of names are written
    joins_lists: ClassVar[bool] = False

    @abstractmethod
    def write(self, frame: pl.DataFrame) -> None:
        """Write rows; the first frame, which may be empty, tells the columns."""

    def finish(self) -> None:
        """Write what comes after the last row."""
        return

    @staticmethod
    def refuses(dtype: pl.DataType) -> bool:
        """Tell whether values of a type can not be written."""
        return False


class _CsvSink(Sink):
    joins_lists = True
    separator = ","

    def write(self, frame: pl.DataFrame) -> None:
        # A field that is empty is null; text that is empty stands in quotes.
        text = frame.write_csv(separator=self.separator, include_header=not self.begun, quote_style="non_numeric")
        self.stream.write(text.encode())
        self.begun = True

    @staticmethod
    def refuses(dtype: pl.DataType) -> bool:
        return dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Duration | pl.Object)


class _TsvSink(_CsvSink):
    separator = "\t"


class _NdjsonSink(Sink):
    def write(self, frame: pl.DataFrame) -> None:
        self.begun = True
        if frame.height:
            frame.write_ndjson(self.stream)

    @staticmethod
    def refuses(dtype: pl.DataType) -> bool:
        return isinstance(dtype, pl.Binary | pl.Object) or any(map(_NdjsonSink.refuses, _below(dtype)))


def _below(dtype: pl.DataType) -> list[pl.DataType]:
    """Return the types that a nested one holds."""
    inner = getattr(dtype, "inner", None)
    return [each for each in (inner, *(field.dtype for field in getattr(dtype, "fields", ()))) if each is not None]


@attrs.define(eq=False)
class _ParquetSink(Sink):
    """Copies the row groups of small files behind one another."""

    at: int = 0
    rows: int = 0
    groups: int = 0
    footer: bytes = b""  #: of the first slice: it tells the columns
    described: bytearray = attrs.field(factory=bytearray)  #: the row groups, as footers describe them

    def write(self, frame: pl.DataFrame) -> None:
        if self.begun and not frame.height:
            return
        buffer = io.BytesIO()
        frame.write_parquet(buffer, row_group_size=max(frame.height, 1))
        whole = buffer.getbuffer()
        length = int.from_bytes(whole[-8:-4], "little")
        body, footer = whole[: -8 - length], bytes(whole[-8 - length : -8])
        if not self.begun:
            self.begun, self.footer = True, footer
            self.stream.write(_MAGIC)
            self.at = len(_MAGIC)
        if frame.height:
            self.stream.write(body[len(_MAGIC) :])
            self._describe(footer, self.at - len(_MAGIC))
            self.at += len(body) - len(_MAGIC)
            self.rows += frame.height

    def _describe(self, footer: bytes, shift: int) -> None:
        count, at, _ = list_head(footer, _fields(footer)[4][0])
        for _ in range(count):
            at = _moved(footer, at, _ROW_GROUP, _Move(shift, self.groups), self.described)
            self.groups += 1

    @staticmethod
    def refuses(dtype: pl.DataType) -> bool:
        # It has no columns for the fields of a struct without any.
        empty = isinstance(dtype, pl.Struct) and not dtype.fields
        return empty or isinstance(dtype, pl.Object) or any(map(_ParquetSink.refuses, _below(dtype)))

    def finish(self) -> None:
        out, last = bytearray(), 0
        for number, (at, end) in sorted(_fields(self.footer).items()):
            # What is needed is never more than 15 fields away, so each head is one byte.
            kind = {3: _INT64, 4: _LIST}.get(number) or self.footer[at - 1] & 15
            out.append(number - last << 4 | kind)
            last = number
            if number == 3:
                out += _zigzag(self.rows)
            elif number == 4:
                out += _list_head(self.groups) + self.described
            else:
                out += self.footer[at:end]
        out.append(0)
        self.stream.write(bytes(out) + len(out).to_bytes(4, "little") + _MAGIC)


_INT64, _LIST, _STRUCT = 6, 9, 12


@attrs.frozen
class _Move:
    shift: int
    ordinal: int


# Where the positions are, by the numbers of fields: of a row group, of its column chunks, and of their metadata.
_OFFSET, _ORDINAL = "offset", "ordinal"
_METADATA: dict[int, Any] = dict.fromkeys((9, 10, 11, 14), _OFFSET)
_CHUNK: dict[int, Any] = {2: _OFFSET, 3: _METADATA, 4: _OFFSET, 6: _OFFSET}
_ROW_GROUP: dict[int, Any] = {1: [_CHUNK], 5: _OFFSET, 7: _ORDINAL}
_MOST_ORDINAL = 2**15 - 1


def _fields(data: bytes) -> dict[int, tuple[int, int]]:
    """Return where the value of each field of a footer begins and ends."""
    found: dict[int, tuple[int, int]] = {}
    at = last = 0
    while data[at]:
        last, kind, at = field_head(data, at, last)
        end = skip(data, at, kind)
        found[last] = at, end
        at = end
    return found


def _moved(data: bytes, at: int, plan: Mapping[int, Any], move: _Move, out: bytearray) -> int:
    """Copy a struct with its positions moved; return where it ends. What is not named is copied as it is."""
    last = 0
    while data[at]:
        begin = at
        last, kind, at = field_head(data, at, last)
        out += data[begin:at]
        what = plan.get(last)
        if isinstance(what, str):
            value, at = integer(data, at)
            if what == _ORDINAL:
                value = min(move.ordinal, _MOST_ORDINAL)
            elif value:  # 0: the writer does not say
                value += move.shift
            out += _zigzag(value)
        elif isinstance(what, dict) and kind == _STRUCT:
            at = _moved(data, at, what, move, out)
        elif isinstance(what, list) and kind == _LIST:
            begin = at
            count, at, _ = list_head(data, at)
            out += data[begin:at]
            for _ in range(count):
                at = _moved(data, at, what[0], move, out)
        else:
            end = skip(data, at, kind)
            out += data[at:end]
            at = end
    out.append(0)
    return at + 1


def _zigzag(value: int) -> bytes:
    return written(value << 1 if value >= 0 else (-value << 1) - 1)


def _list_head(count: int) -> bytes:
    return bytes([count << 4 | _STRUCT]) if count < 15 else bytes([0xF0 | _STRUCT]) + written(count)


#: The formats of files by their suffix.
SUFFIXES: dict[str, type[Sink]] = {
    ".csv": _CsvSink,
    ".tsv": _TsvSink,
    ".parquet": _ParquetSink,
    ".pq": _ParquetSink,
    ".ndjson": _NdjsonSink,
    ".jsonl": _NdjsonSink,
}


def make_sink(path: str, stream: BinaryIO) -> Sink:
    """Return the sink for a path, which writes to a stream."""
    return SUFFIXES[Path(path).suffix.lower()](stream)


def sink_problem(path: str, schema: Mapping[str, pl.DataType]) -> str:
    """Say why columns can not be written to a path; empty if they can."""
    cls = SUFFIXES[Path(path).suffix.lower()]
    for name, dtype in schema.items():
        if cls.refuses(dtype):
            instead = "" if _ParquetSink.refuses(dtype) else "; write .parquet instead"
            return f"column {name!r} is {dtype}, which a {Path(path).suffix} file can not hold{instead}"
    return ""
