"""Excel sheets, through Polars' own reader; a sheet is in memory as a whole."""

from __future__ import annotations

__all__ = ("ExcelSource",)

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException

from sentrio.errors import SourceError
from sentrio.validation.sources.base import Description, Reader, Source
from sentrio.validation.sources.files import FileSet
from sentrio.validation.sources.frames import FrameReader
from sentrio.validation.sources.options import SourceOptions
from sentrio.validation.sources.typed import TEXT, FitsType, cast_text, is_cast, told_types
from sentrio.validation.wording import first_line

# The reader warns of columns without values, which have no type here either.
logging.getLogger("fastexcel").addHandler(logging.NullHandler())


# What Polars says of whole numbers that no integer holds: to Excel, all numbers are floats.
_TOO_LARGE = re.compile(r"conversion from `f64` to `i64` failed in column '(.*)' for \d+ out of", re.DOTALL)


class ExcelSource(Source):
    """A sheet of each of some Excel files, with the same columns."""

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given.shown)
        self._given, self._base = given, base
        self._files: FileSet | None = None
        self._sheets: list[pl.DataFrame] = []
        self._types: dict[str, pl.DataType] = {}
        self._cast: dict[str, pl.DataType] = {}

    def prepare(self) -> Iterator[None]:
        """Read the sheets, one in each step: the reader knows no smaller ones."""
        yield
        assert self._given.path is not None
        files = self._files = FileSet.find(self.label, self._given.path, self._base, "excel")
        for path in files.paths:
            sheet = self._read(files, path)
            if self._sheets and sheet.columns != self._sheets[0].columns:
                raise SourceError(self.label, f"{path.name} has other columns than {files.paths[0].name}")
            self._sheets.append(sheet)
            yield
        whole = self._joined(files)
        self._types = told_types(self.label, whole.schema, whole, self._given.schema)
        # What the options say counts where the cells have another type.
        self._cast = {
            name: dtype
            for name, dtype in self._types.items()
            if name in self._given.schema and dtype != whole.schema[name]
        }
        self._sheets = [whole.with_columns(_as_given(whole, self._cast))]

    def _read(self, files: FileSet, path: Path) -> pl.DataFrame:
        sheet = self._given.sheet
        which: dict[str, Any] = {"sheet_name": sheet} if isinstance(sheet, str) else {"sheet_id": sheet or 1}
        floats: dict[str, Any] = {}
        while True:
            try:
                # From all rows: the reader makes nulls of cells that do not fit the type of the first ones.
                found: pl.DataFrame = pl.read_excel(
                    path,
                    **which,
                    has_header=self._given.has_header,
                    infer_schema_length=None,
                    raise_if_empty=False,
                    schema_overrides=floats,
                )
            except ModuleNotFoundError as exc:
                problem = f"Excel files need {exc.name}; pip install 'sentrio[excel]'"
                raise SourceError(self.label, problem) from exc
            except (Exception, PanicException) as exc:  # the reader's errors have no common base that is public
                column = _TOO_LARGE.search(str(exc))
                if column is None or column[1] in floats:
                    raise files.error(path, f"not a readable Excel sheet: {first_line(exc)}") from exc
                floats[column[1]] = pl.Float64
            else:
                return found

    def _joined(self, files: FileSet) -> pl.DataFrame:
        try:
            return pl.concat(_alike(self._sheets), how="vertical_relaxed")
        except pl.exceptions.PolarsError as exc:
            raise SourceError(self.label, f"its files have columns of different types: {first_line(exc)}") from exc

    def describe(self) -> Description:
        """Return columns and rows."""
        whole = self._sheets[0]
        return Description(
            schema=self._types,
            rows=whole.height,
            bytes_per_row=whole.estimated_size() / whole.height if whole.height else None,
            checks=[FitsType(column=name, dtype=dtype) for name, dtype in self._cast.items() if is_cast(dtype)],
            hidden={TEXT + name: pl.String() for name, dtype in self._cast.items() if is_cast(dtype)},
        )

    def open(self, description: Description) -> Reader:
        """Begin a pass."""
        return FrameReader(self._sheets[0])

    def verify(self) -> Iterator[None]:
        """Check that no file changed meanwhile."""
        return self._files.verify() if self._files is not None else iter(())


def _alike(sheets: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the sheets with columns that can follow one another, as they would stand in one sheet.

    A column without values has no type; times among what is none are text, which else would become numbers.
    """
    casts: list[dict[Any, Any]] = [{} for _ in sheets]
    for name in sheets[0].columns:
        empty = [sheet[name].null_count() == sheet.height for sheet in sheets]
        kinds = {sheet.schema[name].is_temporal() for sheet, none in zip(sheets, empty, strict=True) if not none}
        for cast, none in zip(casts, empty, strict=True):
            if none:
                cast[name] = pl.Null
            elif len(kinds) > 1:
                cast[name] = pl.String
    return [sheet.cast(cast) for sheet, cast in zip(sheets, casts, strict=True)]


def _as_given(sheet: pl.DataFrame, types: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return the columns with the types that the options give them, and the texts of their cells."""
    columns = []
    for name, dtype in types.items():
        cell, text = pl.col(name), pl.col(name).cast(pl.String)
        if not is_cast(dtype):
            columns.append(text)
            continue
        columns.append(text.alias(TEXT + name))
        if sheet.schema[name].is_numeric() and dtype.is_numeric():
            value = cell.cast(dtype, strict=False)
            columns.append(pl.when(value == cell).then(value).alias(name))
        elif sheet.schema[name].is_temporal() and dtype.is_temporal():
            columns.append(cell.cast(dtype, strict=False))
        else:
            columns.append(cast_text(text, dtype))
    return columns
