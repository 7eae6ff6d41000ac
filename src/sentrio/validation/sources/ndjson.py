"""NDJSON: one JSON object a line, read so that a value that does not fit its column is a finding."""

from __future__ import annotations

__all__ = ("NdjsonSource",)

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import polars as pl

from sentrio.validation.sources.base import UNREADABLE
from sentrio.validation.sources.frames import LazyReader
from sentrio.validation.sources.text import TOLD_BY, Batches, Part, TextSource
from sentrio.validation.sources.typed import told_types
from sentrio.validation.wording import first_line

# Lines that are looked at in one step of a search.
_LINES = 20_000


class NdjsonSource(TextSource):
    """NDJSON files; the columns are the keys of the first rows of the first file."""

    format = "ndjson"
    misfit = "cannot parse"

    def scan(self, path: Any, **more: Any) -> pl.LazyFrame:
        """Return a lazy frame of one file."""
        options = {name: value for name, value in self.files.scan_options.items() if name != "glob"}
        return pl.scan_ndjson(path, **(options | more))

    def told(self) -> dict[str, pl.DataType]:
        """Tell the types of the columns from the first rows."""
        path = self.readable[0]
        told = self.scan(path, infer_schema_length=TOLD_BY).collect_schema()
        head = self.scan(path, schema=dict.fromkeys(told, pl.String())).head(TOLD_BY).collect()
        return told_types(self.label, told, head, self.options.schema, more=True)

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
        return "the file holds no line" if "empty" in text or "could not infer" in text else text

    def faults(self) -> Iterator[None]:
        """Look for the first line that is no JSON object; raise an error that names it."""
        for path, real in zip(self.readable, self.files.paths, strict=True):
            yield from self._looked_through(path, real)

    def _looked_through(self, path: Any, real: Any) -> Iterator[None]:
        fail = partial(self.files.error, real)
        lines = pl.scan_lines(path, name="line", **self.files.scan_options)
        reader = LazyReader(lines)
        try:
            while (batch := reader.read(_LINES)) is not None and batch.rows:
                assert isinstance(batch.frame, pl.DataFrame)
                for number, line in enumerate(batch.frame["line"], batch.first_row + 1):
                    if (problem := _fault(line)) is not None:
                        raise fail(f"line {number}: {problem}")
                yield
        except UNREADABLE as exc:
            raise fail(self.problem(self.tell(first_line(exc)))) from None
        finally:
            reader.close()


def _fault(line: str) -> str | None:
    """Return what is wrong with a line, without showing it."""
    line = line.removeprefix("\ufeff").strip()
    if not line:
        return None
    try:
        found = json.loads(line)
    except json.JSONDecodeError as exc:
        return f"no JSON: {exc.msg} (column {exc.colno})"
    except (RecursionError, ValueError):
        return "no JSON that could be read: it is nested too deeply, or holds a number that is too long"
    return None if isinstance(found, dict) else "no JSON object"
