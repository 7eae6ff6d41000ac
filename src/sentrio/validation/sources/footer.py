"""What the footer of a Parquet file says of its row groups: rows, nulls, and extremes that can be trusted.

Polars uses these statistics to pass over row groups and shows them to nobody, so the few fields that matter are
read here, from the Thrift compact encoding that the Parquet format prescribes. Whatever is not understood is not
known, and is read from the data instead: nested columns, text (its extremes may be cut short), floats (nothing is
said of NaN), the extremes of old writers, whose order nobody defined.
"""

from __future__ import annotations

__all__ = ("DamagedFooter", "Footer", "flat_columns", "footer_bytes", "footer_size", "read_footer")

import math
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import attrs
import polars as pl

from sentrio.validation.facts import Chunk, RowGroup
from sentrio.validation.sources.thrift import field_head, integer, list_head, read_struct, skip, structs

_MAGIC = b"PAR1"
_STRUCT = 12

# Bytes that are read in one step.
_STEP = 2**17

# The fields of a footer that are read, and the only order of extremes that anybody defined.
_SCHEMA, _ROWS, _ROW_GROUPS, _KEY_VALUES, _COLUMN_ORDERS = 2, 3, 4, 5, 7
_TYPE_ORDER = 1
# Fields of a chunk: how many values, bytes once unpacked and in the file, where pages begin and the dictionary.
_VALUES, _UNPACKED_BYTES, _BYTES, _PAGES, _DICTIONARY = 5, 6, 7, 9, 11
# The last of the fields of a chunk that come before its sizes.
_REPEATED_FIELDS = 4

_INT32, _INT64 = 1, 2
_REQUIRED, _REPEATED = 0, 2
_DATE, _UNITS = 6, {9: "ms", 10: "us"}  # converted types
_UNSIGNED, _SIGNED = range(11, 15), range(15, 19)
_LOGICAL_UNITS = {1: "ms", 2: "us", 3: "ns"}


_Place = tuple[int, int, int]  # number of values, first byte, bytes


class DamagedFooter(Exception):
    """A footer that contradicts itself or its file, on which Polars would panic."""


@attrs.define
class _Column:
    """How to read the statistics of one leaf; no name: it is not wanted."""

    name: str | None = None
    required: bool = False
    width: int = 0  #: bytes of an extreme; 0: extremes are not to be trusted
    signed: bool = True
    within: str | None = None  #: the wanted column of which it is a leaf
    repeated: bytes = b""  #: the first fields of the chunk before: type, encodings, path and codec seldom change


@attrs.frozen
class Footer:
    """The footer of one file."""

    stored: bytes  #: names and types as they are written; equal bytes mean equal columns
    rows: int
    groups: tuple[RowGroup, ...]
    elements: bytes  #: the part of ``stored`` that ``columns`` were told by
    columns: list[_Column]


def footer_size(path: Path) -> int:
    """Return the number of bytes of the footer; 0 if it can not be found.

    :raises OSError: if the file can not be read
    """
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        return _length(file.read(8), size)


def _length(tail: bytes, size: int) -> int:
    length = int.from_bytes(tail[-8:-4], "little")
    return length if tail[-4:] == _MAGIC and length <= size - 12 else 0


def footer_bytes(path: Path, most: int) -> bytes:
    """Return the footer, or nothing if it can not be found or has more than ``most`` bytes.

    :raises OSError: if the file can not be read
    """
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        begin = file.seek(max(0, size - 8 - most))
        tail = file.read(size - begin)
    length = _length(tail, size)
    return tail[-8 - length : -8] if 0 < length <= len(tail) - 8 else b""


def read_footer(
    data: bytes, schema: Mapping[str, pl.DataType], like: Footer | None = None, size: int | None = None
) -> Generator[None, None, Footer | None]:
    """Return what a footer says of the columns of ``schema``, or ``None`` if it is not understood.

    A large footer takes several steps.

    :param like: a footer that was read before with this schema, probably of a file with the same columns
    :param size: of the file in bytes, within which the columns must lie; ``None``: not known
    :raises DamagedFooter: if the columns of ``schema`` can not be where it says, or as long
    """
    try:
        return (yield from _parse(data, schema, like, math.inf if size is None else size))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None  # damaged or written by somebody else's rules; Polars decides whether the file can be read


def _parse(
    data: bytes, schema: Mapping[str, pl.DataType], like: Footer | None, size: float
) -> Generator[None, None, Footer | None]:
    rows = -1
    written = more = b""
    columns: list[_Column] = []
    groups: list[RowGroup] = []
    orders: list[dict[int, Any]] = []
    at = last = 0
    while data[at]:
        last, kind, at = field_head(data, at, last)
        begin = at
        if last == _SCHEMA and like is not None and data.startswith(like.elements, at):
            written, columns, at = like.elements, like.columns, at + len(like.elements)
        elif last == _SCHEMA:
            elements, at = structs(data, at)
            written, columns = data[begin:at], _columns(elements, schema)
        elif last == _ROWS:
            rows, at = integer(data, at)
        elif last == _ROW_GROUPS:
            count, at, _ = list_head(data, at)
            for _ in range(count):
                group, at = _group(data, at, columns, size)
                groups.append(group)
                if at - begin > _STEP:
                    yield
                    begin = at
        elif last == _COLUMN_ORDERS:
            orders, at = structs(data, at)
        else:
            at = skip(data, at, kind)
        if last == _KEY_VALUES:
            more = data[begin:at]  # where Arrow keeps types that Parquet has no word for
    if sum(group.rows for group in groups) != rows:
        return None
    for number, column in enumerate(columns):
        if column.width and (number >= len(orders) or _TYPE_ORDER not in orders[number]):
            for group in groups:
                group.chunks[column.name].low = group.chunks[column.name].high = None  # type: ignore[index]
    return Footer(written + more, rows, tuple(groups), written, columns)


def flat_columns(data: bytes, schema: Mapping[str, pl.DataType]) -> list[str | None]:
    """Return the leaves of a list of schema elements: their names, or ``None`` where it is not one value a row."""
    return [column.name for column in _columns(structs(data, 0)[0], schema)]


def _columns(elements: list[dict[int, Any]], schema: Mapping[str, pl.DataType]) -> list[_Column]:
    """Return the leaves in the order of their chunks; only those right below the root are of use."""
    leaves: list[_Column] = []
    at = 1

    def walk(within: str | None) -> None:
        nonlocal at
        element = elements[at]
        at += 1
        name = element[4].decode()
        if children := element.get(5, 0):
            for _ in range(children):
                walk(name if within is None else within)
            return
        if within is not None or element.get(3) == _REPEATED or name not in schema:
            wanted = name if within is None else within
            leaves.append(_Column(within=wanted if wanted in schema else None))
            return
        leaves.append(_Column(name, element.get(3) == _REQUIRED, *_extremes(element, schema[name])))

    for _ in range(elements[0].get(5, 0)):
        walk(None)
    return leaves


def _extremes(element: dict[int, Any], dtype: pl.DataType) -> tuple[int, bool]:
    """Return width and signedness of the extremes of a column, or width 0 if they mean something else."""
    width = {_INT32: 4, _INT64: 8}.get(element.get(1, -1), 0)
    converted, logical = element.get(6), element.get(10) or {}
    if dtype.is_integer():
        if 10 in logical:
            signed = bool(logical[10].get(2))
        elif converted is not None or logical:
            signed = converted in _SIGNED
            width = width if signed or converted in _UNSIGNED else 0
        else:
            signed = True
        return (width, signed) if signed == dtype.is_signed_integer() else (0, signed)
    if isinstance(dtype, pl.Date):
        return (width if width == 4 and (6 in logical or converted == _DATE) else 0), True
    if isinstance(dtype, pl.Datetime) and dtype.time_unit != "ns":  # Python's times have no nanoseconds
        if 8 in logical:
            unit = _LOGICAL_UNITS.get(next(iter(logical[8].get(2, ())), 0))
        else:
            unit = _UNITS.get(converted or 0)
        return (width if width == 8 and unit == dtype.time_unit else 0), True
    return 0, True


def _group(data: bytes, at: int, columns: list[_Column], size: float) -> tuple[RowGroup, int]:
    last, rows = 0, -1
    found: list[tuple[_Place, Chunk]] = []
    while data[at]:
        last, kind, at = field_head(data, at, last)
        if last == 1:
            count, at, _ = list_head(data, at)
            if count != len(columns):
                raise ValueError("chunks and columns do not match")
            for column in columns:
                place, chunk, at = _chunk(data, at, column)
                found.append((place, chunk))
        elif last == 3:
            rows, at = integer(data, at)
        else:
            at = skip(data, at, kind)
    if rows < 0:
        raise ValueError("a row group without a number of rows")
    chunks = {}
    for column, ((values, begin, length), chunk) in zip(columns, found, strict=True):
        name = column.name or column.within
        if column.name is not None and values != rows:
            raise DamagedFooter(f"column {name!r} has {values:,} values in a row group of {rows:,} rows")
        if name is not None and (begin < 0 or length < 0 or begin + length > size):
            raise DamagedFooter(f"column {name!r} lies beyond the end of the file")
        if column.name is None:
            continue
        chunks[column.name] = chunk if chunk.nulls is None or 0 <= chunk.nulls <= rows else Chunk(None)
    return RowGroup(rows, chunks), at + 1


def _chunk(data: bytes, at: int, column: _Column) -> tuple[_Place, Chunk, int]:
    """Read one column chunk: its place, what is known of its values, and where the next one begins."""
    last = 0
    place, chunk = (-1, -1, -1), Chunk(None)
    while data[at]:
        last, kind, at = field_head(data, at, last)
        if last == 3 and kind == _STRUCT:
            place, chunk, at = _metadata(data, at, column)
        else:
            at = skip(data, at, kind)
    return place, chunk, at + 1


def _metadata(data: bytes, at: int, column: _Column) -> tuple[_Place, Chunk, int]:
    last = 0
    numbers: dict[int, int] = {}
    statistics: dict[int, Any] = {}
    begin, repeated = at, column.repeated
    if repeated and data.startswith(repeated, at):
        last, at = _REPEATED_FIELDS, at + len(repeated)
    # The busiest loop of all: a footer has one of these for each column of each row group.
    while head := data[at]:
        kind = head & 15
        if head > 15:
            last += head >> 4
            at += 1
        else:
            last, at = integer(data, at + 1)
        if kind == 5 or kind == 6:
            numbers[last], at = integer(data, at)
        elif last == 12 and column.name is not None:
            statistics, at = read_struct(data, at)
        else:
            at = skip(data, at, kind)
        if last == _REPEATED_FIELDS:
            column.repeated = data[begin:at]
    low = high = None
    if column.width:
        low = _extreme(statistics.get(6), statistics.get(8), column)
        high = _extreme(statistics.get(5), statistics.get(7), column)
        if low is None or high is None or low > high:
            low = high = None
    nulls = 0 if column.required else statistics.get(3)
    chunk = Chunk(nulls, low, high, _DICTIONARY in numbers, numbers.get(_UNPACKED_BYTES, 0))
    place = numbers.get(_VALUES, -1), numbers.get(_DICTIONARY, numbers.get(_PAGES, -1)), numbers.get(_BYTES, -1)
    return place, chunk, at + 1


def _extreme(value: bytes | None, exact: bool | None, column: _Column) -> int | None:
    if value is None or exact is False or not column.width or len(value) != column.width:
        return None
    return int.from_bytes(value, "little", signed=column.signed)
