"""CSV, read so that a bad value is a finding and not the end of the run.

A first pass reads typed columns, which is fast. If a value does not fit the type of its column, the pass
begins anew: all columns are read as text and cast, what can not be cast is null to the checks, and a ``type``
check for each column counts it. Lines with missing fields, which Polars fills with null, are looked for where
the last column has nulls.
"""

from __future__ import annotations

__all__ = ("CsvSource",)

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.sources.base import UNREADABLE
from sentrio.validation.sources.csv_lines import count_fields, separators_suffice
from sentrio.validation.sources.options import SourceOptions
from sentrio.validation.sources.scratch import is_packed, no_zeros
from sentrio.validation.sources.text import TOLD_BY, TextSource
from sentrio.validation.sources.typed import told_types
from sentrio.validation.wording import first_line


class CsvSource(TextSource):
    """CSV files with the same columns."""

    format = "csv"
    misfit = "could not parse"
    reads_mark = True

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given, base)
        tabs = given.place.lower().removesuffix(".gz").removesuffix(".zst").endswith(".tsv")
        self._separator = given.separator or ("\t" if tabs else ",")
        self._suspect = False  # the last column has nulls: a line may lack fields

    def scan(self, path: Any, **more: Any) -> pl.LazyFrame:
        """Return a lazy frame of one file with the options given."""
        given = {
            "separator": self._separator,
            "quote_char": self.options.quote_char,
            "has_header": self.options.has_header,
            "null_values": list(self.options.null_values) or None,
            "infer_schema": False,
            **self.files.scan_options,
        }
        return pl.scan_csv(path, **(given | more))

    def told(self) -> dict[str, pl.DataType]:
        """Tell the types of the columns from the first rows."""
        path = self.readable[0]
        self._check_header(path)
        head = self.scan(path).head(TOLD_BY).collect()
        told = self.scan(path, infer_schema=True, infer_schema_length=TOLD_BY).collect_schema()
        return told_types(self.label, told, head, self.options.schema)

    def _check_header(self, path: Any) -> None:
        if not self.options.has_header:
            return
        names = self.scan(path, has_header=False, null_values=None).head(1).collect()
        first: dict[str, int] = {}
        for number, name in enumerate(names.row(0) if names.height else (), 1):
            if first.setdefault(name, number) != number:
                # By number: in a file without its header the names are somebody's values.
                problem = f"line 1: columns {first[name]} and {number} have the same name"
                raise SourceError(self.label, problem)

    def check_columns(self, path: Any, real: Any) -> None:
        """Check that a file has the columns of the first one."""
        try:
            columns = self.scan(path).collect_schema().names()
        except UNREADABLE as exc:
            raise self.failure(exc) from None
        if columns != list(self.types):
            name, first = self.files.name(real), self.files.name(self.files.paths[0])
            raise SourceError(self.label, f"{name} has other columns than {first}")

    def frame(self, path: Any) -> pl.LazyFrame:
        """Return the rows of one file, typed or as text."""
        types = {name: pl.String() if self.text or dtype == pl.Null else dtype for name, dtype in self.types.items()}
        return self.scan(path, schema_overrides=types)

    def problem(self, text: str) -> str:
        """Translate a message of Polars, which may show a piece of the data."""
        if "invalid utf-8" in text or "invalid utf8" in text:
            return f"not {self.options.encoding} text; give `encoding`, for instance cp1252 or latin-1"
        if "could not parse" in text or "found more fields" in text:
            return "not well-formed CSV, for instance a quoted field that does not end; is quote_char right?"
        return "the file holds no line" if "empty CSV" in text else text

    def look_at(self, morsel: pl.DataFrame) -> None:
        """Note whether the last column has nulls, as it has where a line lacks fields."""
        if morsel.width and morsel[:, -1].null_count():
            self._suspect = True

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile, that no line lacked fields, and that none holds zero bytes."""
        yield from super().verify()
        for path, real in zip(self.readable, self.files.paths, strict=True):
            if not isinstance(path, str):
                yield from no_zeros(partial(self.files.error, real), path)
        if self._suspect:
            yield from self.faults(read=True)
            yield from super().verify()

    def faults(self, *, read: bool = False) -> Iterator[None]:
        """Count the fields of every line; raise an error that names the first line with another number.

        :param read: Polars has read every line, so none has too many
        """
        for path, real in zip(self.readable, self.files.paths, strict=True):
            if read and isinstance(path, Path) and not is_packed(path):
                separator, quote = self._separator, self.options.quote_char
                if (yield from separators_suffice(path, separator, quote, len(self.types))):
                    continue
            fail = partial(self.files.error, real)
            lines = pl.scan_lines(path, name="line", **self.files.scan_options)
            try:
                yield from count_fields(fail, lines, self._separator, self.options.quote_char)
            except UNREADABLE as exc:
                raise fail(self.problem(self.tell(first_line(exc)))) from None
