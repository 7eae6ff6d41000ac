"""Files: what a path stands for, Parquet, and how options become a source."""

from __future__ import annotations

__all__ = ("FileSet", "find_files", "make_source")

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import polars as pl

from sentrio._plugins import Registry
from sentrio.errors import OptionValueError, SourceError
from sentrio.validation.facts import Known
from sentrio.validation.sources.base import Description, Reader, Source
from sentrio.validation.sources.frames import FrameSource, LazySource, PandasSource, as_frame, is_pandas
from sentrio.validation.sources.options import FORMATS, SUFFIXES, SourceOptions, format_of, suffix_of
from sentrio.validation.sources.remote import RemoteFiles
from sentrio.validation.sources.streams import StreamSource, is_stream
from sentrio.validation.wording import listed

_MAGIC = "*?["
_DATABASES = (".db", ".sqlite", ".sqlite3")  # what files of SQLite are usually called


@attrs.define(eq=False)
class FileSet:
    """The files that a path stands for, and what they looked like when they were found."""

    label: str
    paths: list[Path]
    root: Path  #: the folder that the pattern or folder begins at
    marks: list[tuple[int, int, int]] = attrs.field(factory=list)

    @classmethod
    def find(cls, label: str, pattern: str, base: Path | None, fmt: str | None) -> FileSet:
        """Find the files of a path, a folder or a glob pattern, and check that they can be read."""
        found = cls.named(label, pattern, base, fmt)
        found.marks = [found.mark(p) for p in found.paths]
        for each in found.paths:
            try:
                with each.open("rb"):
                    str(each).encode()
            except OSError as exc:
                raise SourceError(label, _os_problem(exc, each, pattern)) from exc
            except UnicodeEncodeError:
                # Polars takes paths as text.
                problem = f"the name {str(each)!a} is not UTF-8 text; rename it"
                raise SourceError(label, problem) from None
        return found

    @classmethod
    def named(cls, label: str, pattern: str, base: Path | None, fmt: str | None) -> FileSet:
        """Find the files of a path, a folder or a glob pattern by their names alone."""
        path = root = (base or Path()) / pattern
        try:
            if any(char in pattern for char in _MAGIC) and not path.exists():
                start = Path(path.anchor) if path.is_absolute() else Path()
                paths = sorted(p for p in start.glob(str(path.relative_to(path.anchor))) if p.is_file())
                nothing = "no file matches this pattern"
                root = Path(*_plain_parts(path))
            elif path.is_dir():
                known = [ending for ending, name in SUFFIXES.items() if fmt in {None, name}]
                paths = sorted(p for p in path.rglob("*") if suffix_of(p.name) in known and _is_data(p, path))
                nothing = f"the folder holds no files named {listed([f'*{ending}' for ending in known], most=99)}"
            else:
                paths, nothing = [path], ""
        except (OSError, ValueError) as exc:
            raise SourceError(label, str(exc)) from exc
        if not paths:
            raise SourceError(label, nothing)
        return cls(label, paths, root)

    def mark(self, path: Path) -> tuple[int, int, int]:
        """Return what changes when a file does: size, time of modification, and inode."""
        try:
            found = path.stat()
        except (OSError, ValueError) as exc:
            raise SourceError(self.label, _os_problem(exc, path, str(path))) from exc
        if not stat.S_ISREG(found.st_mode):
            # Opening a pipe would wait for whoever writes to it.
            raise SourceError(self.label, "not a file; data from a pipe must be saved first")
        return found.st_size, found.st_mtime_ns, found.st_ino

    def verify(self) -> Iterator[None]:
        """Check that each file is what it was when it was found, some in each step.

        :raises SourceError: if one is not
        """
        for number, (path, mark) in enumerate(zip(self.paths, self.marks, strict=True)):
            if self.mark(path) != mark:
                raise SourceError(self.label, f"{self.name(path)} changed while it was read; run the check again")
            if number % _IN_A_STEP == _IN_A_STEP - 1:
                yield

    def folders(self, path: Path) -> Sequence[str]:
        """Return the names of the folders between the one that was named and a file."""
        return () if path == self.root else path.relative_to(self.root).parts[:-1]

    def name(self, path: Any) -> str:
        """Return how messages call one of the files."""
        # Files of partitions have the same name more often than not.
        return str(path.name if path == self.root else path.relative_to(self.root))

    def display(self, path: Path) -> str:
        """Return how messages about one of the files begin: with nothing where there is only one."""
        return "" if len(self.paths) == 1 else f"{self.name(path)}: "

    def error(self, path: Any, problem: str) -> SourceError:
        """Return the error for what is wrong with one of the files."""
        return SourceError(self.label, self.display(path) + problem)

    @property
    def scan_options(self) -> Mapping[str, Any]:
        """What scanners are told beside the path."""
        return {"glob": False}

    def tell(self, text: str) -> str:
        """Return a message about the files."""
        return text


# Files that are looked at in one step.
_IN_A_STEP = 200


def find_files(given: SourceOptions, base: Path | None, fmt: str | None) -> FileSet | RemoteFiles:
    """Find what options of a source name.

    :raises SourceError: if there is nothing, or it can not be read
    """
    if given.url is not None:
        return RemoteFiles.find(given.shown, given.url)
    assert given.path is not None
    return FileSet.find(given.shown, given.path, base, fmt)


def _plain_parts(path: Path) -> list[str]:
    """Return the folders before the first one with a pattern."""
    parts = list(path.parts)
    first = next(i for i, part in enumerate(parts) if any(char in part for char in _MAGIC))
    return parts[:first]


def _is_data(path: Path, folder: Path) -> bool:
    """Tell whether a file of a folder holds rows: what begins with a dot or an underscore is somebody's notes.

    So is what office programs put beside a file that is open.
    """
    parts = path.relative_to(folder).parts
    if any(part[0] in "._" and "=" not in part for part in parts) or path.name.startswith("~$"):
        return False
    return path.is_file()


def _os_problem(exc: Exception, path: Path, pattern: str) -> str:
    if isinstance(exc, FileNotFoundError):
        return f"there is no such file (looked for {path.absolute()})"
    if isinstance(exc, PermissionError):
        return "no permission to read it"
    return getattr(exc, "strerror", None) or str(exc)


def _format_names(cls: type[Source]) -> Iterable[str]:
    return (cls.__dict__["format_name"],) if "format_name" in cls.__dict__ else ()


#: Kinds of sources that plugins and installed packages offer, by their ``format``; made as ``cls(options, base)``.
REGISTRY: Registry[Any] = Registry("source", Source, _format_names)


def _offered(name: object) -> Any:
    """Return the class of a format that is not built in; ``None`` if nobody offers it."""
    if not isinstance(name, str) or name in FORMATS or name not in REGISTRY.names():
        return None
    return REGISTRY.find(name)


def make_source(data: Any, base: Path | None = None) -> Source:
    """Return the source for what a user named as data.

    :param data: a path or URL; a mapping of :class:`SourceOptions`; a frame of Polars, pandas or pyarrow;
        whatever has ``__arrow_c_stream__``
    :param base: the folder that relative paths start from; ``None``: the working directory
    :raises UnknownOptionError: if the mapping has an option that nobody knows
    :raises OptionValueError: if an option is bad, or ``data`` is none of these
    :raises PluginError: if an installed package offers the ``format``, and it can not be used
    """
    if isinstance(data, str | os.PathLike):
        return _file_source(SourceOptions(path=data), base)
    if isinstance(data, Mapping):
        if (offered := _offered(data.get("format"))) is not None:
            made: Source = offered({name: value for name, value in data.items() if name != "format"}, base)
            return made
        return _file_source(SourceOptions(**data), base)
    frame = as_frame(data)
    if isinstance(frame, pl.DataFrame):
        return FrameSource(frame)
    if isinstance(frame, pl.LazyFrame):
        return LazySource(frame)
    if is_pandas(data):
        return PandasSource(data)
    if hasattr(data, "to_frame"):
        problem = f"a {type(data).__name__} is one column and no table; give its to_frame()"
        raise OptionValueError("data_source", "data_source", problem)
    if is_stream(data):
        return StreamSource(data)
    raise OptionValueError(
        "data_source",
        "data_source",
        f"data_source must be a path, a frame, or a mapping with a path or URL, got {type(data).__name__}",
    )


def _file_source(given: SourceOptions, base: Path | None) -> Source:
    if given.is_database:
        from sentrio.validation.sources.sql import SqlSource

        return SqlSource(given, base)
    fmt = given.told_format
    if given.path is None:
        assert fmt is not None
        return _of_format(fmt, given, base)
    path = (base or Path()) / given.path
    suffix = suffix_of(given.path)
    if fmt is None and suffix and not path.is_dir():
        problem = (
            f"extension {suffix!r} of {given.path!r} names no format; "
            f"known are {listed(sorted(SUFFIXES), most=99)}, or give `format`"
        )
        if suffix in _DATABASES:
            problem = (
                f"extension {suffix!r} of {given.path!r} is that of a database; "
                f"give `url: sqlite:///{given.path}` with `table` or `query` instead of `path`"
            )
        raise OptionValueError("data_source", "path", problem)
    if fmt is None or (fmt == "parquet" and not path.is_file()):
        return _FolderSource(given, base)
    return _of_format(fmt, given, base)


def _of_format(fmt: str, given: SourceOptions, base: Path | None, *, partitioned: bool = False) -> Source:
    # The modules of formats build on this one.
    if fmt == "csv":
        from sentrio.validation.sources.csv import CsvSource

        return CsvSource(given, base)
    if fmt == "ndjson":
        from sentrio.validation.sources.ndjson import NdjsonSource

        return NdjsonSource(given, base)
    if fmt == "excel":
        from sentrio.validation.sources.excel import ExcelSource

        return ExcelSource(given, base)
    from sentrio.validation.sources.parquet import ParquetSource
    from sentrio.validation.sources.sliced import IpcSource, PartitionedParquet

    if fmt == "ipc":
        return IpcSource(given, base)
    cls = PartitionedParquet if partitioned or given.url is not None else ParquetSource
    return cls(given, base)


class _FolderSource(Source):
    """A folder or pattern whose files tell their format and their partitions when it is read."""

    def __init__(self, given: SourceOptions, base: Path | None) -> None:
        super().__init__(given.shown)
        self._options, self._base = given, base
        self._inner: Source | None = None

    def prepare(self) -> Iterator[None]:
        assert self._options.path is not None
        files = FileSet.named(self.label, self._options.path, self._base, self._options.format)
        formats = {self._options.format or format_of(path.name) for path in files.paths}
        fmt = formats.pop()
        if formats or fmt is None:
            raise SourceError(self.label, "its files have several formats or none that is known; give `format`")
        try:
            given = attrs.evolve(self._options, format=fmt)
        except OptionValueError as exc:
            raise SourceError(self.label, exc.problem) from exc
        partitioned = any("=" in folder for path in files.paths for folder in files.folders(path))
        self._inner = _of_format(fmt, given, self._base, partitioned=partitioned)
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

    def known(self) -> Known | None:
        return self.inner.known()

    def open(self, description: Description) -> Reader:
        return self.inner.open(description)

    def as_text(self) -> Source:
        return self.inner.as_text()

    def verify(self) -> Iterator[None]:
        return self.inner.verify()

    def tell(self, text: str) -> str:
        return self._inner.tell(text) if self._inner is not None else text

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
