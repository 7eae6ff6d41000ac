"""Folders whose names are values: ``year=2026/month=11/part-0.parquet``."""

from __future__ import annotations

__all__ = ("Partitions", "is_partitioned")

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import unquote

import attrs
import polars as pl

from sentrio.errors import SourceError

# What Hive writes for null.
_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@attrs.define(eq=False)
class Partitions:
    """The columns that the folders of some files stand for, and the value of each in each file."""

    types: Mapping[str, pl.DataType] = attrs.field(factory=dict)
    values: Mapping[Any, Mapping[str, Any]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, label: str, folders: Mapping[Any, Sequence[str]]) -> Partitions:
        """Tell the columns from the folders of each file, below the one that was named.

        :raises SourceError: if not all files lie in folders of the same names
        """
        texts = {path: _texts(parts) for path, parts in folders.items()}
        first = next(iter(texts))
        for path, found in texts.items():
            if list(found) != list(texts[first]):
                here, there = ("/".join(folders[each]) or "the folder itself" for each in (path, first))
                raise SourceError(label, f"files of {here} lie in other partitions than those of {there}")
        types = {name: _type([found[name] for found in texts.values()]) for name in texts[first]}
        values = {
            path: {name: _value(text, types[name]) for name, text in found.items()} for path, found in texts.items()
        }
        return cls(types, values)

    def apply(self, frame: pl.LazyFrame, path: Any) -> pl.LazyFrame:
        """Return the rows of a file with the columns of its folders, which win over columns of the same name."""
        if not self.types:
            return frame
        columns = [pl.lit(value, self.types[name]).alias(name) for name, value in self.values[path].items()]
        return frame.with_columns(columns)


def is_partitioned(folders: Sequence[str]) -> bool:
    """Tell whether one of the folders stands for a value."""
    return any("=" in folder for folder in folders)


def _texts(folders: Sequence[str]) -> dict[str, str | None]:
    pairs = (folder.partition("=") for folder in folders)
    return {unquote(name): None if text == _NULL else unquote(text) for name, equals, text in pairs if equals}


def _type(texts: list[str | None]) -> pl.DataType:
    """Return the type that fits all values of a column: integer, date, else text."""
    given = [text for text in texts if text is not None]
    if given and all(_INTEGER.fullmatch(text) for text in given):
        return pl.Int64()
    if given and all(_DATE.fullmatch(text) for text in given):
        try:
            for text in given:
                date.fromisoformat(text)
        except ValueError:
            return pl.String()
        return pl.Date()
    return pl.String()


def _value(text: str | None, dtype: pl.DataType) -> Any:
    if text is None:
        return None
    if dtype == pl.Int64:
        return int(text)
    return date.fromisoformat(text) if dtype == pl.Date else text
