"""What people write to name a source, and which options fit which format."""

from __future__ import annotations

__all__ = ("CLOUD_SCHEMES", "FORMATS", "SourceOptions", "format_of", "redacted_path", "suffix_of")

import codecs
import os
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError
from sentrio.validation.sources.base import redacted_url
from sentrio.validation.types import parse_type
from sentrio.validation.wording import listed

#: formats by the ending of a file's name
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".arrow": "ipc",
    ".arrows": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
CLOUD_SCHEMES = frozenset({"s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl", "http", "https"})

# Text formats may be compressed as a whole; the others compress what they hold.
_COMPRESSIONS = (".gz", ".zst")
_COMPRESSIBLE = frozenset({"csv", "ndjson"})
_NAMES = {"csv": "CSV", "parquet": "Parquet", "ndjson": "NDJSON", "ipc": "Arrow IPC", "excel": "Excel", "sql": "SQL"}
_FITTING = {
    "null_values": ("csv",),
    "separator": ("csv",),
    "quote_char": ("csv",),
    "encoding": ("csv", "ndjson"),
    "has_header": ("csv", "excel"),
    "schema": ("csv", "ndjson", "excel", "sql"),
    "sheet": ("excel",),
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def _refuse(option: str, problem: str) -> OptionValueError:
    return OptionValueError("data_source", option, problem)


def _path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _null_values(value: Any) -> Any:
    return (value,) if isinstance(value, str) else options.as_tuple(value)


def _null_texts(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
        raise _refuse(field.name, f"null_values must be a list of texts, got {value!r}")


def _one_byte(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or len(value.encode("utf-8", "surrogatepass")) != 1 or value in "\r\n\0":
        raise _refuse(field.name, f"{field.name} must be one ASCII character, got {value!r}")


def _codec(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    try:
        found = codecs.lookup(value)
    except (LookupError, TypeError, ValueError):
        found = None
    # Codecs such as base64 turn bytes into bytes; the flag that says so has no public name.
    text = found is not None and getattr(found, "_is_text_encoding", True)
    if found is None or not text or found.incrementaldecoder is None:
        problem = f"encoding must name a Python codec of text such as 'utf-8' or 'cp1252', got {value!r}"
        raise _refuse("encoding", problem)


def _sheet(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not whole and not (isinstance(value, str) and value):
        raise _refuse("sheet", f"sheet must be a name, or a number from 1, got {value!r}")


def _schema(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: parse_type(dtype, "data_source", f"schema.{name}") for name, dtype in value.items()}


@attrs.frozen(kw_only=True)
class SourceOptions(metaclass=options.OptionsMeta):
    """Where data are and how they are written: a ``path``, or a ``url`` (of a database with ``table`` or ``query``).

    :param path: a file, a folder or a glob pattern; what has a scheme is taken as ``url``
    :param url: ``s3://``, ``gs://``, ``az://`` or ``https://`` of files, or the URL of a database
    :param table: of a database; a schema stands before it with a dot, a name that holds a dot in double quotes
    :param query: of a database, one statement that gives rows
    :param format: ``csv``, ``parquet``, ``ndjson``, ``ipc`` or ``excel``; ``None``: told by the extension
    :param null_values: texts that stand for null in CSV files, besides the empty field
    :param separator: of CSV fields; ``None``: a comma, or a tab in ``.tsv`` files
    :param encoding: of CSV and NDJSON files, any Python codec of text
    :param quote_char: of CSV fields; ``None``: quotes are ordinary characters
    :param has_header: whether the first line of a CSV file or an Excel sheet names the columns
    :param schema: types of columns by name, spelt as for the ``type`` validator; the types of other columns
        are told by the first 10,000 rows. For CSV, NDJSON, Excel and SQL
    :param sheet: of an Excel file, by name or by number from 1; ``None``: the first
    """

    option_owner = "data_source"

    path: str | None = attrs.field(default=None, converter=_path, validator=options.optional(options.text()))
    url: str | None = attrs.field(default=None, validator=options.optional(options.text()), repr=False)
    table: str | None = attrs.field(default=None, validator=options.optional(options.text()))
    query: str | None = attrs.field(default=None, validator=options.optional(options.text()))
    format: str | None = attrs.field(default=None, validator=options.optional(options.one_of(FORMATS)))
    null_values: tuple[str, ...] = attrs.field(default=(), converter=_null_values, validator=_null_texts)
    separator: str | None = attrs.field(default=None, validator=options.optional(_one_byte))
    encoding: str = attrs.field(default="utf-8", validator=_codec)
    quote_char: str | None = attrs.field(default='"', validator=options.optional(_one_byte))
    has_header: bool = attrs.field(default=True, validator=options.flag())
    schema: Mapping[str, pl.DataType] = attrs.field(factory=dict, converter=_schema, validator=options.mapping())
    sheet: str | int | None = attrs.field(default=None, validator=options.optional(_sheet))

    def __attrs_post_init__(self) -> None:
        self._settle_place()
        if self.is_database:
            self._check_database()
        else:
            self._check_files()
        told = "sql" if self.is_database else self.told_format
        for name, fitting in _FITTING.items():
            if told is not None and told not in fitting and getattr(self, name) != _default(name):
                kinds = listed([_NAMES[each] for each in fitting])
                problem = f"option {name!r} is for {kinds}, and {self.shown!r} is {_NAMES[told]}"
                raise _refuse(name, problem)
        if self.separator is not None and self.separator == self.quote_char:
            raise _refuse("separator", f"separator and quote_char are both {self.separator!r}")

    def _settle_place(self) -> None:
        """Leave exactly one of path and url: a path with a scheme is a URL, and a file's URL a path."""
        if self.path is None and self.url is None:
            raise _refuse("path", "option 'path' is missing; give a path, or a `url`")
        if self.path is not None and self.url is not None:
            raise _refuse("url", "path and url are both given; give one of them")
        if self.path is not None and _SCHEME.match(self.path):
            object.__setattr__(self, "url", self.path)
            object.__setattr__(self, "path", None)
        if self.url is None:
            return
        if not _SCHEME.match(self.url):
            raise _refuse("url", f"url must begin with a scheme such as https://, got {redacted_url(self.url)!r}")
        parts = urlsplit(self.url)
        if parts.scheme == "file":
            if parts.netloc not in {"", "localhost"}:
                raise _refuse("url", f"a file's URL names no host, got {redacted_url(self.url)!r}")
            object.__setattr__(self, "path", url2pathname(parts.path))
            object.__setattr__(self, "url", None)

    @property
    def scheme(self) -> str:
        """The scheme of the URL in small letters, empty for a path."""
        found = _SCHEME.match(self.url or "")
        return found[1].lower() if found else ""

    @property
    def is_database(self) -> bool:
        """Whether rows come from a database."""
        return self.scheme not in CLOUD_SCHEMES and (self.table is not None or self.query is not None)

    @property
    def shown(self) -> str:
        """The path or URL without what nobody should see."""
        return self.path if self.path is not None else redacted_url(self.url or "")

    def _check_database(self) -> None:
        if self.url is None:
            raise _refuse(
                "table", f"table and query are for databases; give `url`, for instance sqlite:///{self.path}"
            )
        if self.table is not None and self.query is not None:
            raise _refuse("query", "table and query are both given; give one of them")
        if self.format is not None:
            raise _refuse("format", f"format is for files, and {self.shown!r} is a database")

    def _check_files(self) -> None:
        for name in ("table", "query"):
            if getattr(self, name) is not None:
                raise _refuse(name, f"{name} is for databases, and {self.shown!r} names files")
        if self.url is None:
            return
        if self.scheme not in CLOUD_SCHEMES:
            problem = (
                f"there is no reader of files for {self.scheme!r} URLs ({self.shown}); known are "
                f"{listed(sorted(CLOUD_SCHEMES), most=99)}. If it is a database, give `table` or `query`"
            )
            raise _refuse("url", problem)
        told = self.told_format
        if told is None:
            problem = f"the name of {self.shown!r} tells no format; give `format`, one of {', '.join(FORMATS)}"
            raise _refuse("url", problem)
        if told == "excel" or not is_utf8(self.encoding):
            what = "Excel files" if told == "excel" else f"files in {self.encoding}"
            raise _refuse("url", f"{what} can not be read from a URL ({self.shown}); fetch the file first")

    @property
    def told_format(self) -> str | None:
        """The format by option or extension; ``None`` if neither tells."""
        return self.format or format_of(self.place)

    @property
    def place(self) -> str:
        """The path, or what is the path of the URL."""
        return self.path if self.path is not None else redacted_path(self.url or "")


def _default(name: str) -> Any:
    field = getattr(attrs.fields(SourceOptions), name)
    return field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]


def is_utf8(encoding: str) -> bool:
    """Tell whether an encoding is UTF-8, with a byte order mark or without."""
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}


def redacted_path(url: str) -> str:
    """Return the path of a URL, which tells the format."""
    return unquote(url.partition("://")[2].partition("?")[0].partition("#")[0])


def suffix_of(path: str) -> str:
    """Return the ending of a name in small letters, without that of a compression."""
    name = PurePath(path.lower()).name
    for ending in _COMPRESSIONS:
        if name.endswith(ending) and SUFFIXES.get(PurePath(name.removesuffix(ending)).suffix) in _COMPRESSIBLE:
            name = name.removesuffix(ending)
    return PurePath(name).suffix


def format_of(path: str) -> str | None:
    """Return the format that the name of a file tells."""
    return SUFFIXES.get(suffix_of(path))
