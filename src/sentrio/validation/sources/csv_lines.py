"""How many fields each line of a CSV file has."""

from __future__ import annotations

__all__ = ("count_fields", "fields_of")

import csv
import re
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.sources.frames import LazyReader

#: makes an error of what is wrong
Fail = Callable[[str], SourceError]

# Lines that are looked at in one step; the slow way takes a part of them.
_LINES = 200_000
_SLOW_LINES = _LINES // 4
# A quoted field with more characters does not end, or is nothing that anybody would check.
_LONGEST_FIELD = 2**24


def count_fields(fail: Fail, lines: pl.LazyFrame, separator: str, quote: str | None) -> Iterator[None]:
    """Count the fields of each line, in short steps.

    Separators outside quotes are counted by Polars, as long as no field spans several lines; from there on the
    standard library counts, which follows quoted line breaks.

    :param fail: makes an error of what is wrong
    :param lines: one text column ``line``
    :raises SourceError: naming the first line that has another number of fields than the first one
    """
    reader, width = LazyReader(lines), 0
    try:
        while (batch := reader.read(_LINES)) is not None and batch.rows:
            assert isinstance(batch.frame, pl.DataFrame)
            text = _texts(batch.frame, first=batch.first_row == 0)
            if quote is not None and (text.str.count_matches(quote, literal=True) % 2 == 1).any():
                reader.close()
                # Complete lines were counted before, so quotes are even up to here.
                skipped = lines.slice(batch.first_row)
                yield from _count_slowly(fail, skipped, separator, quote, width, batch.first_row)
                return
            counted = fields_of(text, separator, quote)
            width = width or int(counted[0])
            wrong = (counted != width) & ~((counted == 0) & (width == 1))
            if (at := wrong.arg_max()) is not None and wrong[at]:
                raise _ragged(fail, batch.first_row + at + 1, int(counted[at]), width)
            yield
    finally:
        reader.close()


def _texts(batch: pl.DataFrame, *, first: bool) -> pl.Series:
    text = batch["line"].str.strip_chars_end("\r")
    if first and text[0].startswith("\ufeff"):
        text = pl.concat([text[:1].str.strip_prefix("\ufeff"), text[1:]])
    return text


def fields_of(line: pl.Series, separator: str, quote: str | None) -> pl.Series:
    """Return the number of fields of each line, as long as no field spans several lines."""
    bare = line
    if quote is not None:
        mark = re.escape(quote)
        bare = line.str.replace_all(f"{mark}[^{mark}]*{mark}", "")
    return bare.str.count_matches(separator, literal=True) + (line != "").cast(pl.UInt32)


class _Lines:
    """The lines of a lazy frame as the standard library wants them, one by one."""

    def __init__(self, lines: pl.LazyFrame, *, first: bool) -> None:
        self._reader, self._first = LazyReader(lines), first
        self._batch: Iterator[Any] = iter(())

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        while True:
            for text in self._batch:
                return f"{text}\n"
            morsel = self._reader.read(_SLOW_LINES)
            if morsel is None or not morsel.rows:
                raise StopIteration
            assert isinstance(morsel.frame, pl.DataFrame)
            self._batch = iter(_texts(morsel.frame, first=self._first and morsel.first_row == 0))

    def close(self) -> None:
        self._reader.close()


def _count_slowly(
    fail: Fail, lines: pl.LazyFrame, separator: str, quote: str, width: int, skipped: int
) -> Iterator[None]:
    source = _Lines(lines, first=skipped == 0)
    rows = csv.reader(source, delimiter=separator, quotechar=quote)
    line = skipped
    try:
        while True:
            for _ in range(_SLOW_LINES):
                try:
                    fields = _with_long_fields(rows.__next__)
                except StopIteration:
                    return
                except csv.Error:
                    problem = f"line {line + 1}: a quoted field does not end; is quote_char right?"
                    raise fail(problem) from None
                width = width or len(fields)
                if len(fields) != width and not (width == 1 and not fields):
                    raise _ragged(fail, line + 1, len(fields), width)
                line = skipped + rows.line_num
            yield
    finally:
        source.close()


def _with_long_fields(call: Callable[[], list[str]]) -> list[str]:
    """Call with the limit of the standard library raised; it is everybody's, so it is put back at once."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        return call()
    finally:
        csv.field_size_limit(before)


def _ragged(fail: Fail, line: int, fields: int, width: int) -> SourceError:
    if not fields:
        return fail(f"line {line} is empty where {width} fields are expected")
    found = f"{fields} field{'s' if fields > 1 else ''}"
    return fail(f"line {line} has {found} where {width} are expected")
