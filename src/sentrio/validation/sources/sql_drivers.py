"""Ways to ask a database: SQLite by the standard library, others by an ADBC driver or SQLAlchemy."""

from __future__ import annotations

__all__ = ("Answer", "Driver", "driver_for", "quoted")

import importlib
import importlib.util
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs
import polars as pl

from sentrio.validation.sources.arrow_stream import ArrowStream

# Names of databases whose ADBC driver is called differently.
_ADBC = {"postgres": "postgresql", "grpc": "flightsql"}
# Databases whose drivers fetch all the rows of a query that was not ended before they close its connection.
_FETCH_ALL = {"mysql", "mariadb"}
_STEPS = 100_000  # of SQLite's machine, less than a millisecond
_IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


class Unusable(Exception):
    """Why a database can not be asked, for people."""


@attrs.frozen(kw_only=True)
class Answer:
    """What a query gave: the columns, and either rows, to be fetched by and by, or a stream of Arrow batches."""

    columns: Sequence[str] = ()
    types: Sequence[pl.DataType | None] = ()  #: types that the database declares
    fetch: Callable[[int], Sequence[Sequence[Any]]] | None = None
    stream: ArrowStream | None = None


class Driver(ABC):
    """One connection; its methods block, and are called by one thread at a time except for :meth:`interrupt`."""

    _over = False

    @abstractmethod
    def ask(self, table: str | None, query: str | None) -> Answer:
        """Connect, and ask for the rows of a table or a query.

        :raises Exception: whatever the driver raises
        """

    def interrupt(self) -> None:
        """Have a call that runs in another thread end soon, if the driver can; nothing is asked any more."""
        self._over = True

    def _is_over(self) -> bool:
        return self._over

    def _go_on(self) -> None:
        # An interrupt ends a query that runs, and is lost on one that is about to begin.
        if self._over:
            raise Unusable("the run ended before the query had begun")

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


def parts_of(table: str) -> list[str]:
    """Return the parts of a table's name: those between dots, where double quotes keep dots together.

    :raises Unusable: if a quote is missing
    """
    parts, at = [], 0
    while True:
        found = _IDENTIFIER.match(table, at)
        if found is None:
            raise Unusable(f"table {table!r} is no name; a name that holds a dot or a quote stands in double quotes")
        parts.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        at = found.end()
        if at == len(table):
            return parts
        if table[at] != ".":
            raise Unusable(f"table {table!r} is no name; a name that holds a dot or a quote stands in double quotes")
        at += 1


def quoted(table: str, quote: Callable[[str], str] | None = None) -> str:
    """Return the name of a table as SQL has it, every part in quotes.

    :param quote: of a database with other quotes than the standard's
    """
    return ".".join((quote or _standard)(part) for part in parts_of(table))


def _standard(part: str) -> str:
    if "\0" in part:
        raise Unusable("the name of a table can not hold a zero byte")
    return '"' + part.replace('"', '""') + '"'


def _statement(table: str | None, query: str | None, quote: Callable[[str], str] | None = None) -> str:
    return query if table is None else f"SELECT * FROM {quoted(table, quote)}"  # type: ignore[return-value]  # noqa: S608


@attrs.define(eq=False)
class SqliteDriver(Driver):
    """A SQLite file, opened for reading only."""

    path: Path
    _connection: sqlite3.Connection | None = attrs.field(default=None, init=False)

    def ask(self, table: str | None, query: str | None) -> Answer:
        """Ask; columns of a table have the types that it declares for numbers and text."""
        if not self.path.is_file():
            raise Unusable(f"there is no such file (looked for {self.path.absolute()})")
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        # Used by one call at a time, but not always in the same thread.
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self._connection.set_progress_handler(self._is_over, _STEPS)
        declared: dict[str, pl.DataType] = {}
        if table is not None:
            *schema, name = parts_of(table)
            marks = "?, ?" if schema else "?"
            found = self._connection.execute(
                f"SELECT name, type FROM pragma_table_info({marks})",  # noqa: S608  # question marks
                (name, *schema),
            )
            declared = {column: dtype for column, kind in found if (dtype := _affinity(kind)) is not None}
        self._go_on()
        cursor = self._connection.execute(_statement(table, query))
        if cursor.description is None:
            raise Unusable("the query gives no rows; it must be a SELECT")
        columns = [column[0] for column in cursor.description]
        return Answer(columns=columns, types=[declared.get(name) for name in columns], fetch=cursor.fetchmany)

    def interrupt(self) -> None:
        """End a running query."""
        super().interrupt()
        if (connection := self._connection) is not None:
            connection.interrupt()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()


def _affinity(kind: str) -> pl.DataType | None:
    """Return the type that SQLite prefers in a column, by its own rules; where it takes anything, none."""
    kind = kind.upper()
    if "INT" in kind:
        return pl.Int64()
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
        return pl.String()
    return pl.Float64() if any(word in kind for word in ("REAL", "FLOA", "DOUB")) else None


@attrs.define(eq=False)
class AdbcDriver(Driver):
    """A database by its ADBC driver, which gives Arrow batches."""

    name: str
    uri: str = attrs.field(repr=False)
    _open: list[Any] = attrs.field(factory=list, init=False)

    def ask(self, table: str | None, query: str | None) -> Answer:
        """Ask; the types are those of the database."""
        dbapi = importlib.import_module(f"adbc_driver_{self.name}.dbapi")
        connection = dbapi.connect(self.uri)
        self._open.append(connection)
        cursor = connection.cursor()
        self._open.append(cursor)
        self._go_on()
        cursor.execute(_statement(table, query))
        return Answer(stream=ArrowStream(cursor.fetch_arrow()))

    def interrupt(self) -> None:
        """End a running query."""
        super().interrupt()
        for part in tuple(self._open):
            part.adbc_cancel()

    def close(self) -> None:
        """Close cursor and connection."""
        while self._open:
            self._open.pop().close()


@attrs.define(eq=False)
class AlchemyDriver(Driver):
    """A database by SQLAlchemy, read through a cursor of the server where there is one."""

    url: str = attrs.field(repr=False)
    _connection: Any = attrs.field(default=None, init=False)
    _engine: Any = attrs.field(default=None, init=False)
    _unread: Any = attrs.field(default=None, init=False)  # a result with rows that nobody fetched

    def ask(self, table: str | None, query: str | None) -> Answer:
        """Ask; the types are told by the first rows."""
        import sqlalchemy

        self._engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.pool.NullPool)
        self._connection = self._engine.connect().execution_options(stream_results=True)
        native = self._connection.connection.driver_connection
        if (watch := getattr(native, "set_progress_handler", None)) is not None:
            watch(self._is_over, _STEPS)
        quote = self._engine.dialect.identifier_preparer.quote_identifier
        self._go_on()
        # As it is: SQLAlchemy's own text() takes `:name` in it for a parameter.
        result = self._connection.exec_driver_sql(_statement(table, query, quote))
        if not result.returns_rows:
            raise Unusable("the query gives no rows; it must be a SELECT")
        columns = list(result.keys())

        def fetch(rows: int) -> Sequence[Sequence[Any]]:
            found: Sequence[Sequence[Any]] = result.fetchmany(rows)
            if len(found) < rows:
                self._unread = None
            return found

        self._unread = result
        return Answer(columns=columns, types=[None] * len(columns), fetch=fetch)

    def interrupt(self) -> None:
        """End a running query."""
        super().interrupt()
        if (connection := self._connection) is None:
            return
        native = connection.connection.driver_connection
        if self._engine.dialect.name in _FETCH_ALL:
            with self._engine.connect() as other:
                other.exec_driver_sql(f"KILL QUERY {native.thread_id():d}")
        elif (cancel := getattr(native, "cancel", None) or getattr(native, "interrupt", None)) is not None:
            cancel()

    def close(self) -> None:
        """Close the connection, which takes back whatever the query did."""
        if self._connection is not None:
            if self._unread is not None and self._engine.dialect.name in _FETCH_ALL:
                self.interrupt()
                with suppress(Exception):  # it was interrupted
                    self._unread.cursor.close()
            self._connection.close()
        if self._engine is not None:
            self._engine.dispose()


def driver_for(url: str, base: Path | None) -> Driver:
    """Return the driver for the URL of a database.

    ``adbc+NAME://`` asks for the ADBC driver of that name, ``NAME+DRIVER://`` is SQLAlchemy's.

    :raises Unusable: if nothing that is installed can read it
    """
    parts = urlsplit(url)
    scheme, _, way = parts.scheme.lower().partition("+")
    if scheme == "sqlite" and way in {"", "pysqlite"}:
        return SqliteDriver(_sqlite_path(url, base))
    if scheme == "adbc":
        if not _is_there(f"adbc_driver_{way}"):
            raise Unusable(f"there is no ADBC driver for {way}; pip install 'sentrio[sql]' adbc-driver-{way}")
        uri = str(_sqlite_path(url, base)) if way == "sqlite" else url.partition("+")[2]
        return AdbcDriver(way, uri)
    name = _ADBC.get(scheme, scheme)
    if not way and _is_there(f"adbc_driver_{name}"):
        return AdbcDriver(name, url)
    if _is_there("sqlalchemy"):
        return AlchemyDriver(url)
    raise Unusable(
        f"nothing here reads {scheme} databases; pip install 'sentrio[sql]' and the driver of the database"
    )


def _is_there(module: str) -> bool:
    return module.isidentifier() and importlib.util.find_spec(module) is not None


def _sqlite_path(url: str, base: Path | None) -> Path:
    parts = urlsplit(url)
    if parts.netloc:
        raise Unusable("the URL of a SQLite file has three slashes: sqlite:///orders.db, and four before a root")
    if parts.query:
        raise Unusable("the URL of a SQLite file takes no options; it is opened for reading only")
    path = unquote(parts.path).removeprefix("/")
    if not path or path == ":memory:":
        raise Unusable("a database in memory is empty when it is opened here; save it to a file")
    return (base or Path()) / path
