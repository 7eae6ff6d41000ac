"""Where the messages of an Arrow IPC file or stream lie, and whether they can be what they say.

Neither form has checksums, and Polars trusts the places and sizes that are written in them: a damaged one may
ask for more memory than there is. So they are looked at before. The layout is that of the Arrow columnar format
(``Message.fbs``, ``File.fbs``): flatbuffers, of which the few fields that matter are read here.
"""

from __future__ import annotations

__all__ = ("DICTIONARY", "RECORDS", "SCHEMA", "Layout", "Message", "check_schema", "read_layout")

import os
import struct
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO

import attrs

MAGIC = b"ARROW1"
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3

_CONTINUES = b"\xff\xff\xff\xff"
_END = _CONTINUES + bytes(4)
_ZSTD = 1
# What a compressed byte can stand for at most: LZ4 by its format, zstd by blocks of 128 KiB in four bytes.
_LZ4_RATIO, _ZSTD_RATIO = 255, 2**17 // 4
_LENGTH = 8  # bytes before a compressed buffer
_LARGEST_HEADER = 2**28
_DEEPEST = 64
# Bytes between messages that fill up to the next multiple of whatever their writer likes.
_SLACK = 1024
# Messages that are looked at in one step.
_IN_A_STEP = 200


class _Damaged(Exception):
    """What is wrong with a file."""


@attrs.frozen
class Message:
    """One message: where it is, and what it holds."""

    kind: int
    start: int
    end: int
    rows: int = 0  #: of a record batch
    dictionary: int = 0  #: id of the dictionary that the message is about
    delta: bool = False  #: it adds to its dictionary and does not replace it


@attrs.frozen
class Layout:
    """The messages of a file or stream, in their order."""

    messages: tuple[Message, ...]
    is_stream: bool

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(message.rows for message in self.messages)


def read_layout(path: Path) -> Generator[None, None, Layout]:
    """Find the messages of a file, in short steps.

    :raises ValueError: if the file is damaged or no Arrow IPC, with the reason
    :raises OSError: if it can not be read
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(8)
        try:
            if head.startswith(b"FEA1"):
                raise _Damaged("version 1 of Feather, which is no Arrow IPC; write it again as version 2")
            if head.startswith(MAGIC):
                layout = yield from _file(file, size)
            else:
                messages = yield from _messages(file, 0, size)
                layout = Layout(tuple(messages), is_stream=True)
        except (struct.error, IndexError, OverflowError, MemoryError):
            raise ValueError("damaged: its messages make no sense") from None
        except _Damaged as exc:
            raise ValueError(str(exc)) from None
    return layout


def _file(file: IO[bytes], size: int) -> Generator[None, None, Layout]:
    file.seek(max(0, size - 10))
    tail = file.read(10)
    if len(tail) < 10 or tail[4:] != MAGIC:
        raise _Damaged("it ends without its footer; it was cut off, or its writer did not finish")
    length = int.from_bytes(tail[:4], "little", signed=True)
    start = size - 10 - length
    if length <= 0 or start < 8:
        raise _Damaged("damaged: its footer makes no sense")
    file.seek(start)
    footer = _Table.root(file.read(length))
    found: list[Message] = []
    kinds = _columns(footer.table(1))
    # Before the first block stands the schema once more, so there is about as much as in the footer.
    at, gap = 8, length + _SLACK
    for offset, header, body in sorted(footer.blocks(2) + footer.blocks(3)):
        if not at <= offset <= at + gap or header <= 8 or body < 0 or offset + header + body > start:
            raise _Damaged("damaged: its footer and its record batches do not agree")
        file.seek(offset)
        skipped = 4 if file.read(4) == _CONTINUES else 0
        file.seek(offset + skipped + 4)
        message = _message(file, file.read(header - skipped - 4), offset, offset + header, start, kinds)
        at, gap = offset + header + body, _SLACK
        if message.end != at:
            raise _Damaged("damaged: its footer and its record batches do not agree")
        found.append(message)
        if len(found) % _IN_A_STEP == 0:
            yield
    if start - at > gap:
        raise _Damaged("damaged: its footer knows only a part of its record batches")
    return Layout(tuple(found), is_stream=False)


def _messages(file: IO[bytes], at: int, end: int) -> Generator[None, None, list[Message]]:
    """Return the messages between two places. Only its mark tells where a stream ends, so that must be there."""
    ended = False
    found: list[Message] = []
    kinds: list[int] = []
    while at < end:
        file.seek(at)
        prefix = file.read(8)
        if prefix == _END or (prefix[:4] == bytes(4) and end - at in {4, 8}):
            if at + len(_END) < end:
                raise _Damaged("damaged: more follows after its end")
            ended = True
            break
        # Writers before version 0.15 left the first four bytes out.
        skipped = 4 if prefix.startswith(_CONTINUES) else 0
        length = int.from_bytes(prefix[skipped : skipped + 4], "little", signed=True)
        begin = at + skipped + 4
        if not 0 < length <= _LARGEST_HEADER or begin + length > end:
            what = "no Arrow IPC" if not found else "damaged or cut off"
            raise _Damaged(f"{what}: message {len(found) + 1} does not fit into the file")
        file.seek(begin)
        message = _message(file, file.read(length), at, begin + length, end, kinds)
        if (message.kind == SCHEMA) == bool(found):
            raise _Damaged("damaged: its schema is not where it should be")
        found.append(message)
        at = message.end
        if len(found) % _IN_A_STEP == 0:
            yield
    if not ended:
        raise _Damaged("it ends without its end mark; it was cut off, or its writer did not finish")
    return found


def _message(file: IO[bytes], header: bytes, start: int, body: int, limit: int, kinds: list[int] | None) -> Message:
    table = _Table.root(header)
    kind, length = table.number(1, "B"), table.number(3, "q")
    if length < 0 or body + length > limit:
        raise _Damaged("damaged or cut off: a record batch is longer than the file")
    inner = table.table(2)
    end = body + length
    if kind == RECORDS:
        return Message(kind, start, end, rows=_records(file, inner, body, length, kinds))
    if kind == DICTIONARY:
        _records(file, inner.table(1), body, length, None)
        delta = bool(inner.number(2, "B"))
        return Message(kind, start, end, dictionary=inner.number(0, "q"), delta=delta)
    if kind == SCHEMA and kinds is not None:
        kinds[:] = _columns(inner)
    elif kind != SCHEMA:
        raise _Damaged(f"damaged, or a message of kind {kind}, which holds no columns")
    return Message(kind, start, end)


# Buffers of a column by its type, the one that tells the nulls first: 3 for text and bytes, 2 for what has a
# width or offsets, 1 for structs and lists of a fixed size, none for nulls. Views have more, by their own count.
_BUFFERS = {1: 0, 4: 3, 5: 3, 13: 1, 16: 1, 19: 3, 20: 3, 23: 2, 24: 2}
_VIEWS = frozenset({23, 24})
# Unions, lists of views and runs have other rules; their sizes are left to Polars.
_OTHERS = frozenset({14, 22, 25, 26})


def _columns(schema: _Table) -> list[int]:
    """Return the types of all columns in the order of their nodes, those within others after them."""
    found: list[int] = []

    def walk(field: _Table, depth: int) -> None:
        if depth > _DEEPEST:
            raise _Damaged("damaged, or nested too deeply")
        for pair in field.tables(6):
            _check_note(pair.text(0), pair.text(1))
        # A dictionary's indices are integers.
        found.append(2 if field.has(4) else field.number(2, "B"))
        if not field.has(4):
            for child in field.tables(5):
                walk(child, depth + 1)

    for field in schema.tables(1):
        walk(field, 0)
    return found


def _check_note(key: bytes, value: bytes) -> None:
    """Check what Polars notes at categorical columns, since it does not: texts, each behind its length."""
    if key not in {b"_PL_CATEGORICAL2", b"_PL_ENUM_VALUES2"}:
        return
    texts = 0
    while value and not (key == b"_PL_CATEGORICAL2" and texts == 2):
        size, mark, rest = value.partition(b";")
        if not mark or not size.isdigit() or int(size) > len(rest):
            raise _Damaged("damaged: what it says of its categories makes no sense")
        value, texts = rest[int(size) :], texts + 1
    if key == b"_PL_CATEGORICAL2" and value not in {b"u8;", b"u16;", b"u32;"}:
        raise _Damaged("damaged: what it says of its categories makes no sense")


def check_schema(message: bytes) -> None:
    """Check the schema that Arrow keeps in a Parquet file; an empty one is none.

    :raises ValueError: if it makes no sense
    """
    if not message:
        return
    try:
        skipped = 8 if message.startswith(_CONTINUES) else 4
        _columns(_Table.root(message[skipped:]).table(2))
    except (struct.error, IndexError, OverflowError, _Damaged):
        raise ValueError("damaged: its schema makes no sense") from None


def _check_nulls(table: _Table, kinds: Sequence[int]) -> None:
    """Check that columns with nulls have a place that tells which, and columns with values have values."""
    nodes, buffers = table.structs(1, "qq"), table.structs(2, "qq")
    views = iter(table.structs(4, "q"))
    if len(nodes) != len(kinds):
        raise _Damaged("damaged: a record batch has other columns than its schema")
    at = 0
    for kind, (count, nulls) in zip(kinds, nodes, strict=True):
        if kind in _OTHERS:
            return
        mine = _BUFFERS.get(kind, 2)
        if at + mine > len(buffers):
            raise _Damaged("damaged: a record batch lacks buffers")
        if mine and count and nulls and not buffers[at][1]:
            raise _Damaged("damaged: a column does not say which of its values are null")
        if mine > 1 and count and not buffers[at + 1][1]:
            raise _Damaged("damaged: a column has no values")
        at += mine
        if kind in _VIEWS:
            (more,) = next(views, (0,))
            at += more
    if at != len(buffers):
        raise _Damaged("damaged: a record batch has buffers that belong to no column")


def _records(file: IO[bytes], table: _Table, body: int, length: int, kinds: Sequence[int] | None) -> int:
    """Check the sizes within a record batch; return its rows.

    :param kinds: types of the columns, where they are known
    """
    rows = table.number(0, "q")
    nodes, buffers = table.structs(1, "qq"), table.structs(2, "qq")
    if kinds is not None:
        _check_nulls(table, kinds)
    if rows < 0 or (nodes and nodes[0][0] != rows):
        raise _Damaged("damaged: columns of a record batch have different lengths")
    if any(not 0 <= nulls <= count for count, nulls in nodes):
        raise _Damaged("damaged: a column says it has more nulls than values")
    if any(offset < 0 or size < 0 or offset + size > length for offset, size in buffers):
        raise _Damaged("damaged: a column lies outside its record batch")
    if table.has(3):
        ratio = _ZSTD_RATIO if table.table(3).number(0, "b") == _ZSTD else _LZ4_RATIO
        for offset, size in buffers:
            if 0 < size < _LENGTH:
                raise _Damaged("damaged: a column is too short to be compressed")
            if size:
                file.seek(body + offset)
                (unpacked,) = struct.unpack("<q", file.read(8))
                if unpacked < -1 or not unpacked or unpacked > (size + 64) * ratio:
                    raise _Damaged("damaged: a column says it unpacks to more than it can")
    return rows


@attrs.frozen
class _Table:
    """A table of a flatbuffer."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, cls._unpack(data, 0, "I"))

    @staticmethod
    def _unpack(data: bytes, at: int, kind: str) -> int:
        if at < 0:
            raise IndexError(at)
        value: int = struct.unpack_from(f"<{kind}", data, at)[0]
        return value

    def _place(self, field: int) -> int:
        """Return where a field is, 0 if it has its default."""
        table = self.at - self._unpack(self.data, self.at, "i")
        slot = 4 + 2 * field
        if slot >= self._unpack(self.data, table, "H"):
            return 0
        offset = self._unpack(self.data, table + slot, "H")
        return self.at + offset if offset else 0

    def has(self, field: int) -> bool:
        return bool(self._place(field))

    def number(self, field: int, kind: str) -> int:
        place = self._place(field)
        return self._unpack(self.data, place, kind) if place else 0

    def table(self, field: int) -> _Table:
        place = self._place(field)
        if not place:
            raise IndexError(field)
        return _Table(self.data, place + self._unpack(self.data, place, "I"))

    def text(self, field: int) -> bytes:
        place = self._place(field)
        if not place:
            return b""
        begin = place + self._unpack(self.data, place, "I")
        size = self._unpack(self.data, begin, "I")
        if begin + 4 + size > len(self.data):
            raise IndexError(begin)
        return self.data[begin + 4 : begin + 4 + size]

    def tables(self, field: int) -> list[_Table]:
        """Return a vector of tables."""
        place = self._place(field)
        if not place:
            return []
        begin = place + self._unpack(self.data, place, "I")
        count = self._unpack(self.data, begin, "I")
        if begin + 4 + 4 * count > len(self.data):
            raise IndexError(begin)
        places = range(begin + 4, begin + 4 + 4 * count, 4)
        return [_Table(self.data, each + self._unpack(self.data, each, "I")) for each in places]

    def structs(self, field: int, kind: str) -> list[tuple[int, ...]]:
        """Return a vector of structs."""
        place = self._place(field)
        if not place:
            return []
        begin = place + self._unpack(self.data, place, "I")
        count, width = self._unpack(self.data, begin, "I"), struct.calcsize(f"<{kind}")
        if begin + 4 + count * width > len(self.data):
            raise IndexError(begin)
        return list(struct.iter_unpack(f"<{kind}", self.data[begin + 4 : begin + 4 + count * width]))

    def blocks(self, field: int) -> list[tuple[int, int, int]]:
        """Return a vector of blocks: offset, size of the header, size of the body."""
        return [(offset, header, body) for offset, header, body in self.structs(field, "qi4xq")]
