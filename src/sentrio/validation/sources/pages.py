"""Some pages of a Parquet column, as a small Parquet file in memory.

Polars reads a column chunk from its start, whichever of its rows are asked for: pieces of a large row group would
take a time that grows with their square. But pages can be read by themselves. So a few of them, in bytes as they
are, get a footer of their own, and Polars reads nothing else.
"""

from __future__ import annotations

__all__ = ("ColumnPages", "FilePages", "Pages")

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import attrs
import polars as pl

from sentrio.validation.sources import thrift
from sentrio.validation.sources.footer import flat_columns, footer_bytes

_MAGIC = b"PAR1"
# Types of fields, as they stand in the head of one.
_I32, _I64, _LIST, _STRUCT = 5, 6, 9, 12
_STRUCTS = 0xFC
# What `FileMetaData`, `RowGroup`, `ColumnChunk` and `ColumnMetaData` call what is read here.
_SCHEMA, _ROW_GROUPS, _KEY_VALUES = 2, 4, 5
_METADATA = 3
_ELSEWHERE = {1, 8, 9}  # chunks in other files, or encrypted
_COPIED, _IN_COPIED = 4, {1, 4}  # the last of the fields that are copied, and which of them are numbers
_VALUES, _UNPACKED, _PACKED, _FIRST_PAGE, _DICTIONARY = 5, 6, 7, 9, 11
# Kinds of pages, and the fields of their heads.
_DATA, _INDEX, _DICTIONARY_PAGE, _DATA_2 = 0, 1, 2, 3
_HEAD_OF = {_DATA: 5, _DICTIONARY_PAGE: 7, _DATA_2: 8}
# How many bytes the head of a page takes: with the extremes of long values, a great many.
_HEADS = (512, 2**16, 2**22)

#: what reading a file raises here that is damaged, or built in a way that is not expected
UNUSUAL = (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError)


def _number(step: int, kind: int, value: int) -> bytes:
    """Write a field that is a number.

    :param step: by how much its own number is above that of the field before
    """
    return bytes([step << 4 | kind]) + thrift.written(value << 1)


@attrs.frozen
class _Page:
    kind: int
    values: int
    at: int  #: its first byte in the file
    bytes: int  #: with its head
    unpacked: int


@attrs.frozen
class Pages:
    """Consecutive pages of a column, as a Parquet file."""

    data: bytes
    column: str
    rows: int
    unpacked: int  #: bytes, decoded

    def scan(self) -> pl.LazyFrame:
        """Return the rows, not decoded yet."""
        return pl.scan_parquet(self.data, glob=False, hive_partitioning=False).select(pl.col(self.column))


@attrs.define(eq=False)
class ColumnPages:
    """The pages of one column chunk, read one after another.

    :raises ValueError: and others of :data:`UNUSUAL`, if they are not what is expected
    """

    path: Path
    column: str
    rows: int  #: of the row group
    file: Callable[[int, bytes], bytes]  #: makes a footer, of a number of rows and the metadata of this chunk
    copied: bytes  #: the first fields of its metadata
    at: int
    end: int
    dictionary: _Page | None = attrs.field(default=None, init=False)
    row: int = attrs.field(default=0, init=False)  #: the first row that was not returned yet

    def __attrs_post_init__(self) -> None:
        page = self._page(self.at)
        if page.kind == _DICTIONARY_PAGE:
            self.dictionary, self.at = page, self.at + page.bytes

    @property
    def value_bytes(self) -> float | None:
        """The size of a value of the dictionary; ``None`` without one."""
        if self.dictionary is None or not self.dictionary.values:
            return None
        return self.dictionary.unpacked / self.dictionary.values

    def take(self, end: int, least: int) -> Pages:
        """Return the next pages.

        :param end: the row of the group that they must reach
        :param least: bytes, decoded, that they should have at least
        """
        dictionary = self.dictionary
        # A large dictionary is decoded anew with each of these.
        least = max(least, 4 * dictionary.unpacked if dictionary is not None else 0)
        begin, start, unpacked = self.at, self.row, 0
        at, row = self.at, self.row
        while row < self.rows and (row < end or unpacked < least):
            page = self._page(at)
            if page.kind not in {_DATA, _DATA_2, _INDEX}:
                raise ValueError("a second dictionary")
            at, unpacked = at + page.bytes, unpacked + page.unpacked
            row += page.values
        if row > self.rows or (row == self.rows) != (at == self.end) or row == start:
            raise ValueError("the pages do not have the rows of their group")
        with self.path.open("rb", buffering=0) as file:
            first = _read(file, dictionary.at, dictionary.bytes) if dictionary is not None else b""
            body = _read(file, begin, at - begin)
        meta = [self.copied, _number(1, _I64, row - start)]
        meta.append(_number(1, _I64, unpacked + (dictionary.unpacked if dictionary is not None else 0)))
        meta += [_number(1, _I64, len(first) + len(body)), _number(2, _I64, len(_MAGIC) + len(first))]
        if dictionary is not None:
            meta.append(_number(2, _I64, len(_MAGIC)))
        data = b"".join((_MAGIC, first, body, self.file(row - start, b"".join((*meta, b"\0")))))
        self.at, self.row = at, row
        return Pages(data, self.column, row - start, unpacked)

    def _page(self, at: int) -> _Page:
        with self.path.open("rb", buffering=0) as file:
            for most in _HEADS:
                data = _read(file, at, min(most, self.end - at))
                try:
                    head, size = thrift.read_struct(data, 0)
                    break
                except IndexError:
                    if len(data) < most:
                        raise
            else:
                raise ValueError("the head of a page has no end")
        kind, unpacked, packed = head[1], head[2], head[3]
        values = head[_HEAD_OF[kind]][1] if kind != _INDEX else 0
        if min(unpacked, packed, values) < 0 or at + size + packed > self.end:
            raise ValueError("a page lies beyond the end of its column")
        if kind == _DATA_2 and head[_HEAD_OF[kind]][3] != values:
            raise ValueError("rows and values of a page differ")
        return _Page(kind, values, at, size + packed, size + unpacked)


class FilePages:
    """Finds the pages of one Parquet file.

    :param schema: its columns
    :raises ValueError: and others of :data:`UNUSUAL`, if it is not what is expected
    """

    def __init__(self, path: Path, schema: Mapping[str, pl.DataType]) -> None:
        self.path = path
        data = self._data = footer_bytes(path, 2**31)
        self._groups: list[int] = []
        parts: dict[int, bytes] = {}
        at = last = 0
        while data[at]:
            last, kind, at = thrift.field_head(data, at, last)
            begin = at
            if last == _ROW_GROUPS:
                count, at, kind = thrift.list_head(data, at)
                for _ in range(count):
                    self._groups.append(at)
                    at = thrift.skip(data, at, kind)
            else:
                at = thrift.skip(data, at, kind)
                parts[last] = data[begin:at]
        self._schema, self._more = parts[_SCHEMA], parts.get(_KEY_VALUES)
        self._leaves = flat_columns(self._schema, schema)

    def columns(self, group: int, names: Collection[str]) -> dict[str, ColumnPages]:
        """Return the pages of those columns that have one value a row."""
        rows, chunks = self._chunks(group)
        # What no query asks for may be anywhere.
        nothing = _number(1, _I64, 0) * 3 + _number(2, _I64, len(_MAGIC)) + b"\0"
        empty = [_chunk(copied + nothing) for copied, _ in chunks]
        found = {}
        for place, name in enumerate(self._leaves):
            if name is None or name not in names:
                continue
            copied, numbers = chunks[place]
            begin = numbers.get(_DICTIONARY) or numbers[_FIRST_PAGE]
            if numbers[_VALUES] != rows or not copied:
                raise ValueError("not one value a row")

            def footer(height: int, metadata: bytes, place: int = place) -> bytes:
                return self._footer(height, [*empty[:place], _chunk(metadata), *empty[place + 1 :]])

            found[name] = ColumnPages(self.path, name, rows, footer, copied, begin, begin + numbers[_PACKED])
        return found

    def _chunks(self, group: int) -> tuple[int, list[tuple[bytes, dict[int, int]]]]:
        """Return the rows of a group, and of each chunk what is copied of its metadata, and its numbers."""
        data, at, last, rows = self._data, self._groups[group], 0, -1
        chunks = []
        while data[at]:
            last, kind, at = thrift.field_head(data, at, last)
            if last == 1:
                count, at, _ = thrift.list_head(data, at)
                for _ in range(count):
                    chunk, at = self._metadata(at)
                    chunks.append(chunk)
            elif last == 3:
                rows, at = thrift.integer(data, at)
            else:
                at = thrift.skip(data, at, kind)
        if len(chunks) != len(self._leaves):
            raise ValueError("chunks and columns do not match")
        return rows, chunks

    def _metadata(self, at: int) -> tuple[tuple[bytes, dict[int, int]], int]:
        data, last = self._data, 0
        copied, numbers = b"", {}
        while data[at]:
            last, kind, at = thrift.field_head(data, at, last)
            if last in _ELSEWHERE:
                raise ValueError("a column in another file, or encrypted")
            if last != _METADATA:
                at = thrift.skip(data, at, kind)
                continue
            begin, number = at, 0
            while data[at]:
                number, kind, at = thrift.field_head(data, at, number)
                if kind in {_I32, _I64}:
                    numbers[number], at = thrift.integer(data, at)
                else:
                    at = thrift.skip(data, at, kind)
                if number == _COPIED and not numbers.keys() - _IN_COPIED:
                    copied = data[begin:at]
            at += 1
        return (copied, numbers), at + 1

    def _footer(self, rows: int, chunks: list[bytes]) -> bytes:
        columns = bytes([_STRUCTS]) + thrift.written(len(chunks)) + b"".join(chunks)
        group = bytes([1 << 4 | _LIST]) + columns + _number(1, _I64, 0) + _number(1, _I64, rows) + b"\0"
        parts = [_number(1, _I32, 1), bytes([1 << 4 | _LIST]), self._schema, _number(1, _I64, rows)]
        parts += [bytes([1 << 4 | _LIST, 1 << 4 | _STRUCT]), group]
        if self._more is not None:
            parts += [bytes([1 << 4 | _LIST]), self._more]
        footer = b"".join((*parts, b"\0"))
        return footer + len(footer).to_bytes(4, "little") + _MAGIC


def _chunk(metadata: bytes) -> bytes:
    return _number(2, _I64, 0) + bytes([1 << 4 | _STRUCT]) + metadata + b"\0"


def _read(file: Any, at: int, size: int) -> bytes:
    parts = []
    file.seek(at, os.SEEK_SET)
    while size > 0:
        part = file.read(size)
        if not part:
            raise ValueError("the file ends before its columns do")
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
