"""Databases: names that are quoted, secrets that are not shown, values that do not fit, one call at a time."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import polars as pl
import pytest
import sqlalchemy
from tests.async_core._moments import cancelled_when, until

import sentrio
from sentrio.async_core.threads import thread_statistics
from sentrio.errors import OptionValueError
from sentrio.validation.sources import sql_drivers
from sentrio.validation.sources.base import ReadAsText
from sentrio.validation.sources.sql_rows import frame_of, told_type, typed_frame


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    monkeypatch.chdir(tmp_path)
    connection = sqlite3.connect("shop.db")
    connection.execute("CREATE TABLE orders (id INTEGER, amount REAL, name TEXT, day DATE, paid BOOLEAN, note)")
    rows = [(i, i / 2, f"name {i}", "2026-11-20", i % 2, None) for i in range(12_000)]
    connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.execute('CREATE TABLE "odd.""name; DROP TABLE orders" (id INTEGER)')
    connection.commit()
    yield connection
    connection.close()


def shop(**more: Any) -> dict[str, Any]:
    return {"url": "sqlite:///shop.db", "table": "orders"} | more


def test_a_table_and_a_query(database: sqlite3.Connection) -> None:
    result = sentrio.check(shop(), [{"unique": {"column": "id"}}, {"range": {"column": "amount", "max": 5999}}])
    assert (result.status, result.data_asset, result.report.row_count) == (
        "failure",
        "sqlite:///shop.db (orders)",
        12_000,
    )
    assert [(item.row, item.values) for item in result.report.failed[0].sample] == [(11_999, {"amount": 5999.5})]
    query = {"url": "sqlite:///shop.db", "query": "SELECT count(*) AS n, 'a:b' AS t FROM orders"}
    assert sentrio.check(query, [{"in_set": {"column": "n", "values": [12_000]}}, "not_null"]).passed


def test_the_name_of_a_table_is_quoted(database: sqlite3.Connection) -> None:
    name = '"odd.""name; DROP TABLE orders"'
    assert sentrio.check(shop(table=name), [{"row_count": {"max": 0}}]).passed
    assert sentrio.check(shop(table=f"main.{name}"), [{"row_count": {"max": 0}}]).passed
    assert "no such table" in str(sentrio.check(shop(table="x; DROP TABLE orders"), ["not_null"]).error)
    for bad in ('a"b', "a..b", "a.", '""'):
        assert "is no name" in str(sentrio.check(shop(table=bad), ["not_null"]).error)
    assert database.execute("SELECT count(*) FROM orders").fetchone() == (12_000,)
    assert sql_drivers.quoted('sales."a.b"', lambda part: f"`{part}`") == "`sales`.`a.b`"


def test_nothing_is_written(database: sqlite3.Connection) -> None:
    assert "readonly" in str(sentrio.check(shop(table=None, query="DELETE FROM orders"), ["not_null"]).error)
    two = sentrio.check(shop(table=None, query="SELECT 1; DELETE FROM orders"), ["not_null"])
    assert "one statement" in str(two.error)
    assert "gives no rows" in str(
        sentrio.check(shop(table=None, query="PRAGMA cache_size = 100"), ["not_null"]).error
    )


def test_a_value_that_does_not_fit_is_a_finding(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO orders VALUES ('many', 'much', 7, 'someday', 'maybe', 1)")
    database.commit()
    types = {"day": "date", "paid": "boolean"}
    result = sentrio.check(shop(schema=types), ["not_null", {"range": {"column": "id", "min": 0}}])
    checks = {check.id: check for check in result.report.checks}
    found = {
        name: [(item.row, item.values) for item in checks[f"type:{name}"].sample]
        for name in ("id", "amount", "day", "paid")
    }
    assert found == {
        "id": [(12_000, {"id": "many"})],
        "amount": [(12_000, {"amount": "much"})],
        "day": [(12_000, {"day": "someday"})],
        "paid": [(12_000, {"paid": "maybe"})],
    }
    assert checks["not_null:name"].passed
    assert checks["range:id"].evaluated_count == 12_000
    twice = shop(table=None, query="SELECT id, id FROM orders")
    assert "two columns are named 'id'" in str(sentrio.check(twice, ["not_null"]).error)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///none.db", "there is no such file"),
        ("sqlite://shop.db", "three slashes"),
        ("sqlite:///:memory:", "empty when it is opened"),
        ("sqlite:///shop.db?mode=rwc", "takes no options"),
        ("adbc+nothing://host/db", "pip install 'sentrio[sql]' adbc-driver-nothing"),
        ("nothing://user:hunter2@host/db", "nothing"),
        ("mysql+nothing://user:hunter2@host/db?key=hunter3", "mysql.nothing"),
    ],
)
def test_databases_that_can_not_be_read(url: str, message: str, database: sqlite3.Connection) -> None:
    result = sentrio.check(shop(url=url), ["not_null"])
    assert message in str(result.error)
    assert "hunter" not in str(result.to_dict())


def test_without_any_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = sentrio.check({"url": "postgresql://u:hunter2@host/db", "table": "t"}, ["not_null"])
    assert result.error == (
        "postgresql://host/db (t): nothing here reads postgresql databases; "
        "pip install 'sentrio[sql]' and the driver of the database"
    )


class Broken:
    """A driver whose words show everything."""

    def ask(self, *args: object) -> sql_drivers.Answer:
        raise RuntimeError("postgresql://me:s3cr%24t@host/db?token=t0ken refused s3cr$t and t0ken for me:s3cr%24t")

    def interrupt(self) -> None:
        return

    close = interrupt


def test_what_a_driver_says_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentrio.validation.sources.sql.driver_for", lambda *args: Broken())
    source = {"url": "postgresql://me:s3cr%24t@host/db?token=t0ken", "table": "t"}
    result = sentrio.check(source, ["not_null"])
    shown = str(result.to_dict()) + repr(sentrio.Checkpoint("a", source, ["not_null"]))
    assert "refused" in shown
    assert not [secret for secret in ("s3cr", "t0ken") if secret in shown]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": "SELECT 1"}, "table and query are both given"),
        ({"format": "csv"}, "format is for files"),
        ({"separator": ";"}, "option 'separator' is for CSV"),
        ({"url": None, "path": "a.csv"}, "table and query are for databases"),
        ({"url": "s3://bucket/a.csv"}, "table is for databases"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionValueError, match=message):
        sentrio.Checkpoint("a", shop(**options), ["not_null"])


async def test_a_running_query_ends_with_its_run(database: sqlite3.Connection) -> None:
    """It would take minutes; the interrupt reaches the thread that the cancelled run left behind."""
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) SELECT max(i) AS i FROM n"
    )
    started = time.monotonic()
    async with cancelled_when(lambda: until(lambda: thread_statistics().running)):
        await sentrio.check_async(shop(table=None, query=endless), ["not_null"])
    assert time.monotonic() - started < 10
    with anyio.fail_after(30):
        while thread_statistics().running:
            await anyio.sleep(0.01)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"


@pytest.mark.parametrize("url", ["sqlite:///shop.db", "sentriotest+lite:///shop.db", "adbc+sqlite:///shop.db"])
def test_an_interrupt_that_comes_before_the_query_ends_it_too(database: sqlite3.Connection, url: str) -> None:
    sqlalchemy.dialects.registry.register("sentriotest.lite", "sqlalchemy.dialects.sqlite.pysqlite", "dialect")
    driver = sql_drivers.driver_for(url, None)
    driver.interrupt()
    try:
        with pytest.raises(sql_drivers.Unusable, match="before the query had begun"):
            driver.ask(None, ENDLESS)
    finally:
        driver.close()


@pytest.mark.parametrize("url", ["sqlite:///shop.db", "sentriotest+lite:///shop.db"])
def test_an_interrupt_that_comes_as_the_query_begins_ends_it_too(
    database: sqlite3.Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite forgets an interrupt that meets no query."""
    sqlalchemy.dialects.registry.register("sentriotest.lite", "sqlalchemy.dialects.sqlite.pysqlite", "dialect")
    driver = sql_drivers.driver_for(url, None)
    monkeypatch.setattr(type(driver), "_go_on", sql_drivers.Driver.interrupt)
    try:
        with pytest.raises(Exception, match="interrupted"):
            driver.ask(None, ENDLESS)
    finally:
        driver.close()


async def test_a_running_query_of_sqlalchemy_ends_with_its_run(database: sqlite3.Connection) -> None:
    sqlalchemy.dialects.registry.register("sentriotest.lite", "sqlalchemy.dialects.sqlite.pysqlite", "dialect")
    async with cancelled_when(lambda: until(lambda: thread_statistics().running)):
        await sentrio.check_async({"url": "sentriotest+lite:///shop.db", "query": ENDLESS}, ["not_null"])
    with anyio.fail_after(30):
        while thread_statistics().running:
            await anyio.sleep(0.01)


class Server:
    """What SQLAlchemy shows of a database that would send all rows of a query before it lets go of a connection."""

    def __init__(self, name: str) -> None:
        self.dialect = SimpleNamespace(
            name=name, identifier_preparer=SimpleNamespace(quote_identifier=lambda part: f"`{part}`")
        )
        self.heard: list[str] = []
        self.left = 30

    def connect(self) -> Any:
        native = SimpleNamespace(thread_id=lambda: 7, cancel=lambda: self.heard.append("cancel"))
        fairy = SimpleNamespace(driver_connection=native)
        connection = SimpleNamespace(connection=fairy, close=lambda: self.heard.append("close"))
        connection.exec_driver_sql = self.ask
        connection.execution_options = lambda **options: connection
        return contextlib.nullcontext(connection) if self.heard else connection

    def ask(self, statement: str) -> Any:
        self.heard.append(statement)
        cursor = SimpleNamespace(close=lambda: self.heard.append("rows are left"))
        return SimpleNamespace(returns_rows=True, keys=lambda: ["id"], fetchmany=self.fetch, cursor=cursor)

    def fetch(self, rows: int) -> list[tuple[int]]:
        found = min(rows, self.left)
        self.left -= found
        return [(1,)] * found

    def dispose(self) -> None:
        self.heard.append("dispose")


@pytest.mark.parametrize(
    ("name", "rows", "heard"),
    [
        ("mysql", 10, ["KILL QUERY 7", "rows are left", "close", "dispose"]),
        ("mysql", 31, ["close", "dispose"]),
        ("postgresql", 10, ["close", "dispose"]),
    ],
)
def test_nobody_waits_for_rows_that_are_not_wanted(
    name: str, rows: int, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(name)
    monkeypatch.setattr("sqlalchemy.create_engine", lambda *args, **options: server)
    driver = sql_drivers.driver_for(f"{name}+driver://u:hunter2@host/db", None)
    answer = driver.ask("t", None)
    assert answer.fetch is not None
    answer.fetch(rows)
    driver.close()
    assert server.heard == ["SELECT * FROM `t`", *heard]


def test_a_driver_that_can_ends_its_query(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("postgresql")
    monkeypatch.setattr("sqlalchemy.create_engine", lambda *args, **options: server)
    url = "postgresql+psycopg://u:hunter2@host/db"
    sql_drivers.driver_for(url, None).interrupt()  # nothing runs
    driver = sql_drivers.driver_for(url, None)
    driver.ask("t", None)
    driver.interrupt()
    assert server.heard == ["SELECT * FROM `t`", "cancel"]


def test_rows_for_a_second_pass_are_kept_in_a_file(
    database: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr("sentrio.validation.sources.spill.MOST_BYTES", 100_000)
    database.execute("INSERT INTO orders SELECT * FROM orders WHERE id = 11000")
    database.commit()
    made: list[Path] = []
    add = sentrio.validation.sources.spill.Spill.add

    def watched(self: Any, frame: pl.DataFrame) -> None:
        add(self, frame)
        made.extend(scratch.iterdir())

    monkeypatch.setattr("sentrio.validation.sources.spill.Spill.add", watched)
    assert sentrio.check(shop(), ["not_null"]).report.row_count == 12_001
    assert made == []  # nobody asks for a second pass
    result = sentrio.check(shop(), [{"unique": {"column": "id"}}])
    assert [item.row for item in result.report.checks[0].sample] == [11_000, 12_000]
    assert made
    assert list(scratch.iterdir()) == []


ZONE = dt.timezone(dt.timedelta(hours=1))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, None], pl.Int64()),
        ([2**70], pl.Int128()),
        ([True, False], pl.Boolean()),
        ([1, 0.5], pl.Float64()),
        ([decimal.Decimal("0.1"), 2], pl.Decimal(38, 9)),
        ([dt.date(2026, 11, 20)], pl.Date()),
        ([dt.datetime(2026, 11, 20)], pl.Datetime("us")),
        ([dt.datetime(2026, 11, 20, tzinfo=ZONE)], pl.Datetime("us", "UTC")),
        ([dt.time(1)], pl.Time()),
        ([dt.timedelta(1)], pl.Duration("us")),
        ([b"x", memoryview(b"y")], pl.Binary()),
        ([uuid.UUID(int=1), "x", {"a": [1]}, 1, "\ud800", True], pl.String()),
        ([None], pl.Null()),
    ],
)
def test_types_of_python_values(values: list[Any], dtype: pl.DataType) -> None:
    assert told_type(values) == dtype
    frame = frame_of([(value,) for value in values], {"x": dtype})
    assert frame["x"].null_count() == values.count(None)
    assert frame_of([], {"x": dtype}).height == 0


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0.5, pl.Int64()),
        ("1", pl.Int64()),
        (2**64, pl.Int64()),
        (decimal.Decimal("0.0000000001"), pl.Decimal(38, 9)),
        ("2026-11-20", pl.Date()),
        (1, pl.Boolean()),
    ],
)
def test_a_value_that_is_not_of_the_type(value: Any, dtype: pl.DataType) -> None:
    with pytest.raises(ReadAsText):
        frame_of([(value,)], {"x": dtype})
    frame = typed_frame([(value,), (None,)], {"x": dtype})
    assert frame["__sentrio_text__x"].to_list() == [str(value) if value != 1 else "1", None]
    fits = value in {"1", "2026-11-20", 1}
    assert (frame["x"][0] is not None) is fits
