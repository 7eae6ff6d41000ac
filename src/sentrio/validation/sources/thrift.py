"""Thrift's compact encoding, in which Parquet writes its footers and the heads of its pages: read and written."""

from __future__ import annotations

__all__ = ("field_head", "integer", "list_head", "read_struct", "skip", "structs", "varint", "written")

from typing import Any

# The types of the compact encoding.
_TRUE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = 1, 3, 7, 8, 9, 10, 11, 12, 13
# Deeper nesting than any real footer has.
_DEEPEST = 32


def field_head(data: bytes, at: int, last: int) -> tuple[int, int, int]:
    """Read the head of a field: its number, its type, and where its value begins."""
    head = data[at]
    if head > 15:
        return last + (head >> 4), head & 15, at + 1
    number, at = integer(data, at + 1)
    return number, head, at


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value, shift = value & 127, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def written(number: int) -> bytes:
    """Return a number from 0 as :func:`varint` reads it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def list_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Read the head of a list: its length, where it begins, and the type of its items."""
    head = data[at]
    count, at = (head >> 4, at + 1) if head < 0xF0 else varint(data, at + 1)
    if count > len(data):
        raise ValueError("a list longer than the footer")
    return count, at, head & 15


def structs(data: bytes, at: int) -> tuple[list[dict[int, Any]], int]:
    count, at, _ = list_head(data, at)
    found = []
    for _ in range(count):
        item, at = read_struct(data, at)
        found.append(item)
    return found, at


def read_struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Read the numbers, texts, flags and structs of a struct, by the numbers of their fields."""
    found: dict[int, Any] = {}
    last = 0
    while head := data[at]:
        kind = head & 15
        if head > 15:
            last += head >> 4
            at += 1
        else:
            last, at = integer(data, at + 1)
        if kind <= 2:
            found[last] = kind == _TRUE
        elif kind == _BINARY:
            length, at = varint(data, at)
            found[last] = data[at : at + length]
            at += length
        elif kind == _BYTE:
            found[last] = data[at]
            at += 1
        elif kind < _DOUBLE:
            found[last], at = integer(data, at)
        elif kind == _STRUCT and depth < _DEEPEST:
            found[last], at = read_struct(data, at, depth + 1)
        else:
            at = skip(data, at, kind)
    return found, at + 1


def skip(data: bytes, at: int, kind: int, depth: int = 0, *, item: bool = False) -> int:
    """Return where the value of this type that begins at ``at`` ends."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if kind <= 2:
        return at + item  # a flag is its type, but for the items of lists
    if kind == _BYTE:
        return at + 1
    if kind < _DOUBLE:
        while data[at] > 127:
            at += 1
        return at + 1
    if kind == _BINARY:
        length, at = varint(data, at)
        return at + length
    if kind == _STRUCT:
        last = 0
        while data[at]:
            last, kind, at = field_head(data, at, last)
            at = skip(data, at, kind, depth + 1)
        return at + 1
    if kind in {_LIST, _SET}:
        count, at, kind = list_head(data, at)
        if kind == _BINARY:
            for _ in range(count):
                length, at = varint(data, at)
                at += length
            return at
        for _ in range(count):
            at = skip(data, at, kind, depth + 1, item=True)
        return at
    if kind in {_DOUBLE, _UUID}:
        return at + (8 if kind == _DOUBLE else 16)
    raise ValueError(f"no type {kind} is expected in a footer")
