"""CSV, read so that a bad value is a finding and not the end of the run.

A first pass reads typed columns, which is fast. If a value does not fit the type of its column, the pass
begins anew: all columns are read as text and cast, what can not be cast is null to the checks, and a ``type``
check for each column counts it. Lines with missing fields, which Polars fills with null, are looked for where
the last column has nulls.
"""

from __future__ import annotations

__all__ = ("CsvSource", "FitsType")

import csv
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio.errors import SourceError, suggestion
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.sources.base import Description, Morsel, ReadAsText, Reader, Source
from sentrio.validation.sources.files import FileSet, SourceOptions
from sentrio.validation.sources.frames import LazyReader
from sentrio.validation.validators._base import Check, RowRule
from sentrio.validation.wording import first_line

# The rows that tell the types of columns.
_TOLD_BY = 10_000
# Bytes that are transcoded in one step, and the first bytes that show whether a file is text at all.
_CHUNK = 4 * 2**20
_LOOKED_AT = 2**16
# Lines whose fields are counted in one step.
_LINES = 200_000
# A separator that ends no field of any sensible file, to read whole lines.
_NO_SEPARATOR = "\x01"

_TEXT = "__sentrio_text__"


@attrs.define(kw_only=True)
class FitsType(RowRule):
    """Every text of a CSV column is a value of the column's type. The source adds it when one is not."""

    validator_name: ClassVar[str] = "type"

    dtype: pl.DataType

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the text was cast; null where there was no text."""
        return nw.when(nw.col(_TEXT + column).is_not_null()).then(nw.col(column).is_not_null())

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; every text is evaluated."""
        return {"failed": Matching(~passes), "evaluated": Count(_TEXT + column)}

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check; its samples show the text, since the value is null."""
        check = super().bind_column(name, dtype)
        check.shown = {name: pl.col(_TEXT + name)}
        return check

    @property
    def requirement(self) -> str:
        """The type."""
        return str(self.dtype)


class CsvSource(Source):
    """CSV files with the same columns."""

    def __init__(self, given: SourceOptions, base: Path | None, *, text: bool = False) -> None:
        super().__init__(given.path)
        self._options, self._base, self._text = given, base, text
        self._separator = given.separator or ("\t" if given.path.lower().endswith(".tsv") else ",")
        self._files: FileSet | None = None
        self._readable: list[Path] = []  # the files themselves, or their contents as UTF-8
        self._temporary: list[Path] = []
        self._types: dict[str, pl.DataType] = {}
        self.suspect = False  # the last column has nulls: a line may lack fields

    @property
    def files(self) -> FileSet:
        """The files; :meth:`prepare` finds them."""
        assert self._files is not None, "prepare() comes first"
        return self._files

    def as_text(self) -> Source:
        """Return the same source, read as text."""
        other = CsvSource(self._options, self._base, text=True)
        other._files, other._readable, other._types = self._files, self._readable, self._types
        other._temporary, self._temporary = self._temporary, []
        return other

    def prepare(self) -> Iterator[None]:
        """Find the files, look whether they are text, and transcode them if need be."""
        if self._readable:
            return
        self._files = FileSet.find(self.label, self._options.path, self._base, "csv")
        plain = self._options.encoding.lower().replace("_", "-") in {"utf-8", "utf8", "utf-8-sig"}
        for path in self.files.paths:
            self._look(path, plain)
            if plain:
                self._readable.append(path)
                continue
            yield from self._transcode(path)

    def _look(self, path: Path, plain: bool) -> None:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
        if not head:
            raise SourceError(self.label, f"{self.files.display(path)}the file is empty")
        packed = head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x9c"))
        if plain and not packed and b"\0" in head:
            problem = "this is no text: it contains zero bytes; if it is UTF-16, give `encoding`"
            raise SourceError(self.label, self.files.display(path) + problem)
        if plain and not packed and b"\r" in head.rstrip() and b"\n" not in head:
            problem = "its lines end with a carriage return alone; convert them to line feeds"
            raise SourceError(self.label, self.files.display(path) + problem)

    def _transcode(self, path: Path) -> Iterator[None]:
        handle, name = tempfile.mkstemp(prefix="sentrio-", suffix=".csv")
        self._temporary.append(Path(name))
        self._readable.append(Path(name))
        try:
            with (
                os.fdopen(handle, "w", encoding="utf-8", newline="") as target,
                path.open(encoding=self._options.encoding, newline="") as source,
            ):
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    yield
        except UnicodeError as exc:
            problem = f"{self.files.display(path)}not {self._options.encoding} text: {exc}"
            raise SourceError(self.label, problem) from exc

    def close(self) -> None:
        """Remove the transcoded copies."""
        while self._temporary:
            self._temporary.pop().unlink(missing_ok=True)

    def scan(self, path: Path, **more: Any) -> pl.LazyFrame:
        """Return a lazy frame of one file with the options given."""
        given = {
            "separator": self._separator,
            "quote_char": self._options.quote_char,
            "has_header": self._options.has_header,
            "null_values": list(self._options.null_values) or None,
            "glob": False,
            "infer_schema": False,
        }
        return pl.scan_csv(path, **(given | more))

    def describe(self) -> Description:
        """Tell the columns and their types from the options and from the first rows."""
        if not self._types:
            self._types = self._told_types(self._readable[0])
        for path, real in zip(self._readable, self.files.paths, strict=True):
            self._check_columns(path, real)
        if not self._text:
            return Description(schema=self._types)
        cast = {name: dtype for name, dtype in self._types.items() if not isinstance(dtype, pl.String | pl.Null)}
        return Description(
            schema=self._types,
            checks=[FitsType(column=name, dtype=dtype) for name, dtype in cast.items()],
            hidden={_TEXT + name: pl.String() for name in cast},
        )

    def _told_types(self, path: Path) -> dict[str, pl.DataType]:
        try:
            self._check_header(path)
            head = self.scan(path).head(_TOLD_BY).collect()
            told = self.scan(path, infer_schema=True, infer_schema_length=_TOLD_BY).collect_schema()
        except (pl.exceptions.PolarsError, OSError) as exc:
            for _ in self.count_fields():
                pass  # the header and the first rows: an error names the line
            raise self.problem(exc) from exc
        types: dict[str, pl.DataType] = {}
        for name, dtype in told.items():
            # A column without any value has no type yet, which is not the same as being text.
            types[name] = pl.Null() if head[name].null_count() == head.height else dtype
        for name, dtype in self._options.schema.items():
            if name not in types:
                problem = f"`schema` names column {name!r}, which is not there{suggestion(name, tuple(types))}"
                raise SourceError(self.label, problem)
            types[name] = dtype
        return types

    def _check_header(self, path: Path) -> None:
        if not self._options.has_header:
            return
        names = self.scan(path, has_header=False, null_values=None).head(1).collect()
        first: dict[str, int] = {}
        for number, name in enumerate(names.row(0) if names.height else (), 1):
            if first.setdefault(name, number) != number:
                # By number: in a file without its header the names are somebody's values.
                problem = f"line 1: columns {first[name]} and {number} have the same name"
                raise SourceError(self.label, problem)

    def _check_columns(self, path: Path, real: Path) -> None:
        try:
            columns = self.scan(path).collect_schema().names()
        except (pl.exceptions.PolarsError, OSError) as exc:
            raise self.problem(exc) from exc
        if columns != list(self._types):
            first = self.files.paths[0].name
            raise SourceError(self.label, f"{real.name} has other columns than {first}")

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return _CsvReader(self)

    def frame(self, path: Path) -> pl.LazyFrame:
        """Return the rows of one file, typed or as text."""
        types = {
            name: pl.String() if self._text or dtype == pl.Null else dtype for name, dtype in self._types.items()
        }
        return self.scan(path, schema_overrides=types)

    def cast(self, batch: pl.DataFrame) -> pl.DataFrame | pl.LazyFrame:
        """Give a batch that was read as text its types, and keep the texts beside the values."""
        if not self._text:
            return batch
        cast = {name: dtype for name, dtype in self._types.items() if not isinstance(dtype, pl.String | pl.Null)}
        texts = [pl.col(name).alias(_TEXT + name) for name in cast]
        return (
            batch.lazy().with_columns(texts).with_columns(_cast(pl.col(name), dtype) for name, dtype in cast.items())
        )

    def problem(self, exc: BaseException) -> SourceError:
        """Translate an error of Polars."""
        text = first_line(exc)
        if "invalid utf-8" in text:
            text = f"not {self._options.encoding} text; give `encoding`, for instance cp1252 or latin-1"
        elif "could not parse" in text or "found more fields" in text:
            # Polars' text shows a piece of the data, which is nobody's business here.
            text = "not well-formed CSV, for instance a quoted field that does not end; is quote_char right?"
        elif isinstance(exc, pl.exceptions.NoDataError):
            text = "the file holds no line"
        return SourceError(self.label, text)

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile, and that no line lacked fields."""
        self.files.verify()
        if self.suspect:
            yield from self.count_fields()
            self.files.verify()

    def count_fields(self) -> Iterator[None]:
        """Count the fields of every line; raise an error that names the first line with another number."""
        for path, real in zip(self._readable, self.files.paths, strict=True):
            yield from self._count_in(path, self.files.display(real))

    def _count_in(self, path: Path, prefix: str) -> Iterator[None]:
        """Count separators outside quotes with Polars, as long as no field spans several lines."""
        whole = {"separator": _NO_SEPARATOR, "quote_char": None, "has_header": False, "null_values": None}
        lines = self.scan(path, **whole, schema={"line": pl.String()}, truncate_ragged_lines=True)
        reader, width = LazyReader(lines), 0
        quote = self._options.quote_char
        while True:
            try:
                batch = reader.read(_LINES)
            except pl.exceptions.PolarsError as exc:
                raise self.problem(exc) from exc
            if batch is None:
                return
            line = pl.col("line").fill_null("").str.strip_chars_end("\r")
            bare = line
            if quote is not None:
                quotes = line.str.count_matches(quote, literal=True)
                if batch.frame.lazy().select((quotes % 2 == 1).any()).collect().item():
                    reader.close()
                    yield from self._count_slowly(path, prefix)
                    return
                mark = re.escape(quote)
                bare = line.str.replace_all(f"{mark}[^{mark}]*{mark}", "")
            fields = bare.str.count_matches(self._separator, literal=True) + (line != "").cast(pl.UInt32)
            counted = batch.frame.lazy().select(fields.alias("n")).collect()["n"]
            width = width or int(counted[0])
            wrong = (counted != width) & ~((counted == 0) & (width == 1))
            if (at := wrong.arg_max()) is not None and wrong[at]:
                raise self._ragged(prefix, batch.first_row + at + 1, int(counted[at]), width)
            yield

    def _count_slowly(self, path: Path, prefix: str) -> Iterator[None]:
        """Count fields with the standard library, which follows quoted line breaks."""
        quoting: dict[str, Any] = {"quotechar": self._options.quote_char}
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=self._separator, **quoting)
            width = line = 0
            for number, fields in enumerate(rows):
                width = width or len(fields)
                if len(fields) != width and not (width == 1 and not fields):
                    raise self._ragged(prefix, line + 1, len(fields), width)
                line = rows.line_num
                if number % (_LINES // 4) == 0:
                    yield

    def _ragged(self, prefix: str, line: int, fields: int, width: int) -> SourceError:
        if not fields:
            return SourceError(self.label, f"{prefix}line {line} is empty where {width} fields are expected")
        found = f"{fields} field{'s' if fields > 1 else ''}"
        return SourceError(self.label, f"{prefix}line {line} has {found} where {width} are expected")


def _cast(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Boolean:
        return text.str.to_lowercase().replace_strict(
            {"true": True, "false": False}, default=None, return_dtype=pl.Boolean
        )
    if dtype == pl.Date:
        return text.str.to_date(strict=False)
    if isinstance(dtype, pl.Datetime):
        return text.str.to_datetime(time_unit=dtype.time_unit, time_zone=dtype.time_zone, strict=False)
    # The typed reader passes over leading spaces of numbers, so the cast does as well.
    return text.str.strip_chars_start(" ").cast(dtype, strict=False)


class _CsvReader(Reader):
    """Reads the files one after another, in batches."""

    def __init__(self, source: CsvSource) -> None:
        self._source = source
        self._paths = list(source._readable)
        self._current: LazyReader | None = None
        self._index = self._row = 0

    def read(self, rows: int) -> Morsel | None:
        """Return the next batch, cast if it was read as text."""
        while True:
            if self._current is None:
                if not self._paths:
                    return None
                self._current = LazyReader(self._source.frame(self._paths.pop(0)), self._row, self._index)
            try:
                morsel = self._current.read(rows)
            except (pl.exceptions.PolarsError, OSError) as exc:
                raise self._translated(exc) from exc
            if morsel is not None:
                break
            self._index, self._row = self._current.index, self._current.row
            self._current = None
        assert isinstance(morsel.frame, pl.DataFrame)
        if morsel.frame.width and morsel.frame[:, -1].null_count():
            self._source.suspect = True
        return attrs.evolve(morsel, frame=self._source.cast(morsel.frame))

    def _translated(self, exc: BaseException) -> BaseException:
        text = str(exc)
        if "found more fields" in text:
            try:
                for _ in self._source.count_fields():
                    pass
            except SourceError as found:
                return found
        elif "could not parse" in text and not self._source._text:
            return ReadAsText()
        return self._source.problem(exc)

    def close(self) -> None:
        """Drop the query."""
        if self._current is not None:
            self._current.close()
        self._current, self._paths = None, []
