"""NDJSON: one JSON object a line, read so that a value that does not fit its column is a finding."""

from __future__ import annotations

__all__ = ("NdjsonSource",)

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import polars as pl

from sentrio.validation.sources.base import UNREADABLE
from sentrio.validation.sources.frames import LazyReader
from sentrio.validation.sources.text import TOLD_BY, Batches, Part, TextSource
from sentrio.validation.sources.typed import told_types, widened
from sentrio.validation.wording import first_line

# Lines that are looked at in one step of a search.
_LINES = 20_000
# What Polars says of a file without any.
_NO_LINE = "could not infer"


class NdjsonSource(TextSource):
    """NDJSON files; the columns are the keys of the first rows."""

    format = "ndjson"
    misfit = "cannot parse"

    def scan(self, path: Any, **more: Any) -> pl.LazyFrame:
        """Return a lazy frame of one file."""
        options = {name: value for name, value in self.files.scan_options.items() if name != "glob"}
        return pl.scan_ndjson(path, **(options | more))

    def told(self) -> dict[str, pl.DataType]:
        """Tell the types of the columns from the first rows."""
        try:
            return self._told_by(self.readable[0])
        except UNREADABLE as exc:
            if len(self.readable) == 1 or _NO_LINE not in str(exc):
                raise
            return {}  # the others may hold lines

    def told_by_more(self) -> Iterator[None]:
        """Tell the types of the columns from the first rows of several files."""
        lines: list[str] = []
        for paths in self.some_files():
            if len(lines) >= TOLD_BY:
                break
            lines += self._first_lines(paths, TOLD_BY - len(lines))
            yield
        self.types = widened(self.types, self._told_by("\n".join(lines).encode()))

    def _told_by(self, rows: Any) -> dict[str, pl.DataType]:
        """Tell the types of the columns from some rows, which stand in a file or in bytes."""
        told: Mapping[str, pl.DataType]
        try:
            told = self.scan(rows, infer_schema_length=TOLD_BY).collect_schema()
        except pl.exceptions.SchemaError as exc:
            told = self._column_by_column(self._first_lines(rows, TOLD_BY), exc)
        head = self.scan(rows, schema=dict.fromkeys(told, pl.String())).head(TOLD_BY).collect()
        return told_types(self.label, told, head, self.options.schema, more=True)

    def _column_by_column(self, lines: Iterable[str], exc: Exception) -> dict[str, pl.DataType]:
        """Tell the types where a column holds objects as well as lists: for Polars that is no type, so it is text."""
        try:
            rows = [row for line in lines if isinstance(row := json.loads(line.strip() or "0"), dict)]
        except (RecursionError, ValueError):
            raise exc from None
        told: dict[str, pl.DataType] = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            values = "\n".join(json.dumps({name: row[name]}) for row in rows if name in row)
            try:
                told |= self.scan(values.encode(), infer_schema_length=TOLD_BY).collect_schema()
            except pl.exceptions.SchemaError:
                told[name] = pl.String()
        return told

    def _first_lines(self, path: Any, rows: int) -> list[str]:
        return list(self._lines(path).head(rows).collect()["line"])

    def _lines(self, path: Any) -> pl.LazyFrame:
        return pl.scan_lines(path, name="line", **self.files.scan_options)

    def check_columns(self, path: Any, real: Any) -> None:
        """Check nothing: an object may lack any key."""
        return

    def part(self, path: Any) -> Part:
        """Return a reader of the rows of one file, typed or as text."""
        return Batches(self.scan(path, schema=self.read_types))

    def problem(self, text: str) -> str:
        """Translate a message of Polars, which may show a piece of the data."""
        if "utf-8" in text.lower() or "utf8" in text.lower():
            return f"not {self.options.encoding} text; give `encoding`, for instance cp1252 or latin-1"
        if any(word in text for word in ("arsing", "parse", "Syntax", "ndjson", "JSON", "json")):
            return "not well-formed NDJSON; each line must hold one JSON object"
        return "the file holds no line" if "empty" in text or _NO_LINE in text else text

    def faults(self) -> Iterator[None]:
        """Look for the first line that is no JSON object; raise an error that names it."""
        for path, real in zip(self.readable, self.files.paths, strict=True):
            yield from self._looked_through(path, real)

    def _looked_through(self, path: Any, real: Any) -> Iterator[None]:
        fail = partial(self.files.error, real)
        reader = LazyReader(self._lines(path))
        try:
            while (batch := reader.read(_LINES)) is not None and batch.rows:
                assert isinstance(batch.frame, pl.DataFrame)
                for number, line in enumerate(batch.frame["line"], batch.first_row + 1):
                    if (problem := _fault(line)) is not None:
                        raise fail(f"line {number}: {problem}")
                yield
                if (place := self._refused(batch.frame["line"])) is not None:
                    number = batch.first_row + place + 1
                    problem = "a number is too large, or an escape in a text stands for no character"
                    raise fail(f"line {number}: no JSON that could be read: {problem}")
                yield
        except UNREADABLE as exc:
            raise fail(self.problem(self.tell(first_line(exc)))) from None
        finally:
            reader.close()

    def _refused(self, lines: pl.Series) -> int | None:
        """Return which line Polars refuses, of some that are well-formed."""
        first = 0
        if self._reads(lines):
            return None
        while (count := len(lines)) > 1:
            half = lines[: count // 2]
            if self._reads(half):
                first, half = first + len(half), lines[count // 2 :]
            lines = half
        return first

    def _reads(self, lines: pl.Series) -> bool:
        content = "\n".join(lines).encode()  # all as text, which every value fits
        try:
            self.scan(content, schema=dict.fromkeys(self.types or {"": pl.String()}, pl.String())).collect()
        except UNREADABLE:
            return False
        return True


class _Constant(ValueError):
    """NaN, or an infinity, which Python writes and reads although JSON has none."""


def _no_constant(name: str) -> None:
    raise _Constant(name)


def _fault(line: str) -> str | None:
    """Return what is wrong with a line, without showing it."""
    line = line.removeprefix("\ufeff").strip()
    if not line:
        return None
    try:
        found = json.loads(line, parse_constant=_no_constant)
    except _Constant as exc:
        return f"no JSON: it has no {exc}; write null instead"
    except json.JSONDecodeError as exc:
        return f"no JSON: {exc.msg} (column {exc.colno})"
    except (RecursionError, ValueError):
        return "no JSON that could be read: it is nested too deeply, or holds a number that is too long"
    return None if isinstance(found, dict) else "no JSON object"
