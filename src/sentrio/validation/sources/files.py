"""Files: what a path stands for, and how options become a source."""

from __future__ import annotations

__all__ = ("FileSet", "SourceOptions", "make_source")

import codecs
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError, SourceError
from sentrio.validation.sources.base import Description, Reader, Source, redacted_url
from sentrio.validation.sources.frames import FrameSource, LazySource, as_frame
from sentrio.validation.types import parse_type
from sentrio.validation.wording import listed

_FORMATS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_SEPARATORS = {".tsv": "\t"}
_COMPRESSIONS = (".gz", ".zst")
_MAGIC = "*?["


def _path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _null_values(value: Any) -> Any:
    return (value,) if isinstance(value, str) else options.as_tuple(value)


def _texts_or_none(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
        raise OptionValueError("data_source", field.name, f"null_values must be a list of texts, got {value!r}")


def _one_byte(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or len(value.encode()) != 1:
        raise OptionValueError("data_source", field.name, f"{field.name} must be one ASCII character, got {value!r}")


def _codec(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    try:
        codecs.lookup(value)
    except (LookupError, TypeError):
        problem = f"encoding must name a Python codec such as 'utf-8' or 'cp1252', got {value!r}"
        raise OptionValueError("data_source", "encoding", problem) from None


def _schema(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: parse_type(dtype, "data_source", f"schema.{name}") for name, dtype in value.items()}


@attrs.frozen(kw_only=True)
class SourceOptions(metaclass=options.OptionsMeta):
    """Where data are and how they are written.

    :param path: a file, a folder or a glob pattern
    :param format: ``csv`` or ``parquet``; ``None``: told by the extension
    :param null_values: texts that stand for null in CSV files, besides the empty field
    :param separator: of CSV fields; ``None``: a comma, or a tab in ``.tsv`` files
    :param encoding: of CSV files, any Python codec
    :param quote_char: of CSV fields; ``None``: quotes are ordinary characters
    :param has_header: whether the first line of a CSV file names the columns
    :param schema: types of CSV columns by name, spelt as for the ``type`` validator; the types of other
        columns are told by the first 10,000 rows
    """

    option_owner = "data_source"

    path: str = attrs.field(converter=_path, validator=options.text())
    format: str | None = attrs.field(default=None, validator=options.optional(options.one_of(("csv", "parquet"))))
    null_values: tuple[str, ...] = attrs.field(default=(), converter=_null_values, validator=_texts_or_none)
    separator: str | None = attrs.field(default=None, validator=options.optional(_one_byte))
    encoding: str = attrs.field(default="utf-8", validator=_codec)
    quote_char: str | None = attrs.field(default='"', validator=options.optional(_one_byte))
    has_header: bool = attrs.field(default=True, validator=options.flag())
    schema: Mapping[str, pl.DataType] = attrs.field(factory=dict, converter=_schema, validator=options.mapping())

    def __attrs_post_init__(self) -> None:
        if "://" in self.path:
            scheme = self.path.partition("://")[0]
            problem = (
                f"there is no reader for {scheme!r} URLs ({redacted_url(self.path)}); "
                "give the path of a CSV or Parquet file, or a frame"
            )
            raise OptionValueError("data_source", "path", problem)
        if self.told_format == "parquet":
            for field in attrs.fields(SourceOptions):
                if field.name not in {"path", "format"} and getattr(self, field.name) != _default(field):
                    problem = f"option {field.name!r} is for CSV files, and {self.path!r} is Parquet"
                    raise OptionValueError("data_source", field.name, problem)

    @property
    def told_format(self) -> str | None:
        """The format by option or extension; ``None`` if neither tells."""
        return self.format or _FORMATS.get(_suffix(self.path))


def _default(field: Any) -> Any:
    return field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]


def _suffix(path: str) -> str:
    path = path.lower()
    for ending in _COMPRESSIONS:
        path = path.removesuffix(ending)
    return os.path.splitext(path)[1]  # noqa: PTH122  # of a pattern, not of a path


@attrs.define(eq=False)
class FileSet:
    """The files that a path stands for, and what they looked like when they were found."""

    label: str
    paths: list[Path]
    marks: list[tuple[int, int, int]] = attrs.field(factory=list)

    @classmethod
    def find(cls, label: str, pattern: str, base: Path | None, fmt: str | None) -> FileSet:
        """Find the files of a path, a folder or a glob pattern, and check that they can be read."""
        path = (base or Path()) / pattern
        if any(char in pattern for char in _MAGIC) and not path.exists():
            root = Path(path.anchor) if path.is_absolute() else Path()
            paths = sorted(p for p in root.glob(str(path.relative_to(path.anchor))) if p.is_file())
            nothing = "no file matches this pattern"
        elif path.is_dir():
            known = [ending for ending, name in _FORMATS.items() if fmt in {None, name}]
            paths = sorted(p for p in path.rglob("*") if p.is_file() and _suffix(p.name) in known)
            nothing = f"the folder holds no files named {listed([f'*{ending}' for ending in known])}"
        else:
            paths, nothing = [path], ""
        if not paths:
            raise SourceError(label, nothing)
        found = cls(label, paths)
        found.marks = [found.mark(p) for p in paths]
        for each in paths:
            try:
                with each.open("rb"):
                    pass
            except OSError as exc:
                raise SourceError(label, _os_problem(exc, each, pattern)) from exc
        return found

    def mark(self, path: Path) -> tuple[int, int, int]:
        """Return what changes when a file does: size, time of modification, and inode."""
        try:
            stat = path.stat()
        except OSError as exc:
            raise SourceError(self.label, _os_problem(exc, path, str(path))) from exc
        return stat.st_size, stat.st_mtime_ns, stat.st_ino

    def verify(self) -> None:
        """Raise an error if a file is not what it was when it was found."""
        for path, mark in zip(self.paths, self.marks, strict=True):
            if self.mark(path) != mark:
                raise SourceError(self.label, f"{path.name} changed while it was read; run the check again")

    def display(self, path: Path) -> str:
        """Return how messages call one of the files: nothing where there is only one."""
        return "" if len(self.paths) == 1 else f"{path.name}: "


def _os_problem(exc: OSError, path: Path, pattern: str) -> str:
    if isinstance(exc, FileNotFoundError):
        return f"there is no such file (looked for {path.absolute()})"
    if isinstance(exc, PermissionError):
        return "no permission to read it"
    return exc.strerror or str(exc)


def make_source(data: Any, base: Path | None = None) -> Source:
    """Return the source for what a user named as data.

    :param data: a path; a mapping of :class:`SourceOptions`; a frame of Polars, pandas or pyarrow
    :param base: the folder that relative paths start from; ``None``: the working directory
    :raises UnknownOptionError: if the mapping has an option that nobody knows
    :raises OptionValueError: if an option is bad, or ``data`` is none of these
    """
    if isinstance(data, str | os.PathLike):
        return _file_source(SourceOptions(path=data), base)
    if isinstance(data, Mapping):
        return _file_source(SourceOptions(**data), base)
    frame = as_frame(data)
    if isinstance(frame, pl.DataFrame):
        return FrameSource(frame)
    if isinstance(frame, pl.LazyFrame):
        return LazySource(frame)
    raise OptionValueError(
        "data_source",
        "data_source",
        f"data_source must be a path, a frame, or a mapping with a path, got {type(data).__name__}",
    )


def _file_source(given: SourceOptions, base: Path | None) -> Source:
    from sentrio.validation.sources.csv import CsvSource
    from sentrio.validation.sources.parquet import ParquetSource

    fmt = given.told_format
    if fmt is None:
        path = (base or Path()) / given.path
        suffix = _suffix(given.path)
        if suffix and not path.is_dir():
            problem = (
                f"extension {suffix!r} of {given.path!r} names no format; "
                f"known are {listed(sorted(_FORMATS))}, or give `format`"
            )
            raise OptionValueError("data_source", "path", problem)
        return _FolderSource(given, base)
    return CsvSource(given, base) if fmt == "csv" else ParquetSource(given, base)


class _FolderSource(Source):
    """A folder whose files tell their format when it is read."""

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given.path)
        self._options, self._base = given, base
        self._inner: Source | None = None

    def prepare(self) -> Iterator[None]:
        from sentrio.validation.sources.csv import CsvSource
        from sentrio.validation.sources.parquet import ParquetSource

        files = FileSet.find(self.label, self._options.path, self._base, None)
        formats = {_FORMATS.get(_suffix(path.name)) for path in files.paths}
        if formats not in ({"csv"}, {"parquet"}):
            raise SourceError(self.label, "its files have several formats or none that is known; give `format`")
        cls = CsvSource if formats == {"csv"} else ParquetSource
        self._inner = cls(attrs.evolve(self._options, format=formats.pop()), self._base)
        yield from self._inner.prepare()

    @property
    def inner(self) -> Source:
        """The source that the files turned out to be."""
        assert self._inner is not None, "prepare() comes first"
        return self._inner

    def describe(self) -> Description:
        return self.inner.describe()

    def study(self, columns: Collection[str]) -> Iterator[None]:
        return self.inner.study(columns)

    def open(self, description: Description) -> Reader:
        return self.inner.open(description)

    def as_text(self) -> Source:
        return self.inner.as_text()

    def verify(self) -> Iterator[None]:
        return self.inner.verify()

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
