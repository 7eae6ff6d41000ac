"""CSV, read so that a bad value is a finding and not the end of the run.

A first pass reads typed columns, which is fast. If a value does not fit the type of its column, the pass
begins anew: all columns are read as text and cast, what can not be cast is null to the checks, and a ``type``
check for each column counts it. Lines with missing fields, which Polars fills with null, are looked for where
the last column has nulls.
"""

from __future__ import annotations

__all__ = ("CsvSource",)

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from sentrio.errors import SourceError
from sentrio.validation.sources.base import UNREADABLE
from sentrio.validation.sources.csv_chunks import ChunkReader, Dialect, beginning, joined
from sentrio.validation.sources.csv_lines import count_fields
from sentrio.validation.sources.options import SourceOptions
from sentrio.validation.sources.scratch import PACKED, is_packed, no_zeros
from sentrio.validation.sources.text import TOLD_BY, Batch, Batches, Part, Slab, TextSource
from sentrio.validation.sources.typed import told_types, widened
from sentrio.validation.wording import first_line

# What Polars says of lines and quotes.
_MALFORMED = ("could not parse", "found more fields", "CSV malformed", "specified in schema")
# Polars infers types value by value. So few rows tell most columns, and the others are looked at in one sweep.
_FEW = 100
_PLAIN = {
    pl.Int64(): "^-?[0-9]{1,18}$",
    pl.Float64(): r"^-?[0-9]{1,18}(\.[0-9]+)?$",
    pl.Boolean(): "^(true|false)$",
}


def _agree(told: Mapping[str, pl.DataType], head: pl.DataFrame) -> bool:
    """Tell whether Polars would certainly infer the same types from all the first rows as from a few of them."""
    for name, dtype in told.items():
        column = head[name]
        if dtype == pl.String:
            if column[:_FEW].null_count() == len(column[:_FEW]):
                return False  # nothing tells what it is
        elif dtype not in _PLAIN or not column.str.contains(_PLAIN[dtype]).all():
            return False
    return True


class CsvSource(TextSource):
    """CSV files with the same columns."""

    format = "csv"
    misfit = "could not parse"
    reads_mark = True

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given, base)
        tabs = given.place.lower().removesuffix(".gz").removesuffix(".zst").endswith(".tsv")
        self._separator = given.separator or ("\t" if tabs else ",")
        self._dialect = Dialect(self._parsed, self._separator, given.quote_char, given.has_header)
        self._doubtful: set[Any] = set()  # files in which a line may lack fields
        self._too_few = False  # rows of the first file, to tell the types by

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
        part = self._beginning(path, TOLD_BY + 1)
        head = self.scan(part).head(TOLD_BY).collect()
        if part is not path and head.height < TOLD_BY and len(part) < path.stat().st_size:
            head = self.scan(path).head(TOLD_BY).collect()
            part = path
        if len(self.readable) > 1 and head.height < TOLD_BY:
            self._too_few = True
        told = self._inferred(part, _FEW)
        if not isinstance(part, bytes) or self._dialect.mark in part or not _agree(told, head):
            told = self._inferred(part, TOLD_BY)
        return told_types(self.label, told, head, self.options.schema)

    def told_by_more(self) -> Iterator[None]:
        """Tell the types of the columns from the first rows of several files."""
        if not self._too_few:
            return
        heads: list[pl.DataFrame] = []
        left = TOLD_BY
        for paths in self.some_files():
            if left <= 0:
                break
            heads.append(self.scan(paths).head(left).collect())
            left -= heads[-1].height
            yield
        head = pl.concat(heads)
        # Written anew, so that Polars infers the types from all of them as from one file.
        told = pl.scan_csv(head.write_csv().encode(), infer_schema_length=TOLD_BY).collect_schema()
        types = dict(zip(head.columns, told.dtypes(), strict=True))
        self.types = widened(self.types, told_types(self.label, types, head, self.options.schema))

    def _inferred(self, part: Any, rows: int) -> pl.Schema:
        return self.scan(part, infer_schema=True, infer_schema_length=rows).collect_schema()

    def _beginning(self, path: Any, rows: int) -> Any:
        """Return the first bytes of a file, or its path where they do not suffice: Polars would read far more."""
        if isinstance(path, str) or is_packed(path):
            return path
        return beginning(path, rows, self.options.quote_char) or path

    def _check_header(self, path: Any) -> None:
        if not self.options.has_header:
            return
        names = self.scan(self._beginning(path, 1), has_header=False, null_values=None).head(1).collect()
        first: dict[str, int] = {}
        for number, name in enumerate(names.row(0) if names.height else (), 1):
            if first.setdefault(name, number) != number:
                # By number: in a file without its header the names are somebody's values.
                problem = f"line 1: columns {first[name]} and {number} have the same name"
                raise SourceError(self.label, problem)

    def check_columns(self, path: Any, real: Any) -> None:
        """Check that a file has the columns of the first one."""
        head = self.heads.get(path)
        if head and head == self.heads.get(self.readable[0]) and self._dialect.named_by(head):
            return
        try:
            columns = self.scan(path).collect_schema().names()
        except UNREADABLE as exc:
            raise self.failure(exc) from None
        if columns != list(self.types):
            name, first = self.files.name(real), self.files.name(self.files.paths[0])
            raise SourceError(self.label, f"{name} has other columns than {first}")

    def part(self, path: Any) -> Part:
        """Return a reader of the rows of one file, typed or as text."""
        doubt = partial(self._doubtful.add, path)
        if isinstance(path, str) or self.heads.get(path, b"").startswith(PACKED):
            return _Watched(self.scan(path, schema_overrides=self.read_types), doubt)
        return ChunkReader(path, self._dialect, doubt)

    def _parsed(self, data: bytes, first: bool, quoted: bool) -> pl.DataFrame:
        """Return the rows of a piece of a file.

        :param first: it begins the file
        :param quoted: it holds quotes; without them, Polars need not look for them
        """
        more: dict[str, Any] = {} if quoted else {"quote_char": None}
        if first:
            more["schema_overrides"] = self.read_types
        else:
            more |= {"schema": self.read_types, "has_header": False}
        frame: pl.DataFrame = self.scan(data, **more).collect(engine="in-memory")
        return frame

    def together(self, slabs: Sequence[Slab]) -> pl.DataFrame:
        """Parse what was cut off, of one file or of several."""
        return super().together(joined(slabs))

    def problem(self, text: str) -> str:
        """Translate a message of Polars, which may show a piece of the data."""
        if "invalid utf-8" in text or "invalid utf8" in text:
            return f"not {self.options.encoding} text; give `encoding`, for instance cp1252 or latin-1"
        if any(said in text for said in _MALFORMED):
            return "not well-formed CSV, for instance a quoted field that does not end; is quote_char right?"
        return "the file holds no line" if "empty CSV" in text else text

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile, and that no line lacked fields."""
        yield from super().verify()
        if self._doubtful:
            yield from self._count(self._doubtful)
            yield from super().verify()

    def faults(self) -> Iterator[None]:
        """Look for zero bytes, and for the first line with another number of fields than the first one has."""
        for path, real in zip(self.readable, self.files.paths, strict=True):
            if not isinstance(path, str):
                yield from no_zeros(partial(self.files.error, real), path)
        yield from self._count(self.readable)

    def _count(self, paths: Collection[Any]) -> Iterator[None]:
        for path, real in zip(self.readable, self.files.paths, strict=True):
            if path not in paths:
                continue
            fail = partial(self.files.error, real)
            lines = pl.scan_lines(path, name="line", **self.files.scan_options)
            try:
                yield from count_fields(fail, lines, self._separator, self.options.quote_char)
            except UNREADABLE as exc:
                raise fail(self.problem(self.tell(first_line(exc)))) from None


class _Watched(Batches):
    """Notes whether the last column has nulls, as it has where a line lacks fields."""

    def __init__(self, frame: pl.LazyFrame, doubt: Callable[[], None]) -> None:
        super().__init__(frame)
        self._doubt = doubt

    def cut(self, rows: int) -> Batch | None:
        """Return the next batch."""
        batch = super().cut(rows)
        if batch is not None and batch.frame.width > 1 and batch.frame[:, -1].null_count():
            self._doubt()
        return batch
