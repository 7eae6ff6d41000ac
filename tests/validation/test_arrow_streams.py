"""Arrow streams: types that only their maker knows, and an event loop that goes on while a batch is made."""

from __future__ import annotations

import decimal
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pytest

import sentrio
from sentrio.validation.sources import arrow_stream


def opaque(texts: list[str | None], kind: str) -> Any:
    """Values as PostgreSQL's driver gives what Arrow has no type for."""
    return pa.ExtensionArray.from_storage(pa.opaque(pa.string(), kind, "PostgreSQL"), pa.array(texts))


def handed_out(**columns: Any) -> Any:
    table = pa.table(columns)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))


@pytest.fixture(params=["pyarrow", "polars"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two ways to read a stream is tried."""
    if request.param == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    return str(request.param)


@pytest.mark.usefixtures("reader")
def test_exact_numbers_and_documents_are_what_they_hold() -> None:
    long = "12345678901234567890.123456789012345678"
    data = handed_out(
        price=opaque(["0.1", None, long], "numeric"),
        name=opaque(["x", None, "yy"], "citext"),
        document=pa.array(['{"a": 1}', None, "[]"], pa.json_()),
    )
    stream = arrow_stream.ArrowStream(data)
    assert dict(stream.schema) == {"price": pl.Decimal(38, 18), "name": pl.String(), "document": pl.String()}
    frame = pl.concat(stream.batches(1_000))
    assert frame["price"].to_list() == [decimal.Decimal("0.1"), None, decimal.Decimal(long)]
    assert frame["document"].to_list() == ['{"a": 1}', None, "[]"]
    assert frame.schema == stream.schema


@pytest.mark.usefixtures("reader")
def test_a_number_that_does_not_fit_is_an_error_with_the_number() -> None:
    data = handed_out(price=opaque(["0.1", "2", "NaN"], "numeric"))
    result = sentrio.check(data, [{"mean": {"column": "price", "min": 0}}])
    assert result.status == "error"
    assert "'price'" in str(result.error)
    assert '"NaN"' in str(result.error)


def test_a_type_that_polars_has_not_is_named_with_its_column() -> None:
    periods = pa.array([(1, 2, 3)], pa.month_day_nano_interval())
    result = sentrio.check(handed_out(id=pa.array([1]), period=periods), ["not_null"])
    assert "column 'period' is month_day_nano_interval, a type that Polars has not" in str(result.error)
    twice = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64()), ("a", pa.int64())]), iter(()))
    assert "two columns are named 'a'" in str(sentrio.check(twice, ["not_null"]).error)


async def test_the_event_loop_goes_on_while_a_database_makes_a_batch(tmp_path: Path) -> None:
    """The driver is C that holds the interpreter if it is called with it, as Polars does."""
    pytest.importorskip("adbc_driver_sqlite")
    pl.DataFrame({"id": [1]}).write_database("t", f"sqlite:///{tmp_path}/a.db")
    # More rows than the driver asks for at once to tell their types, and then one that takes its time.
    slow = """
        WITH RECURSIVE few(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM few LIMIT 5000),
        many(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM many LIMIT 3000000)
        SELECT i FROM few UNION ALL SELECT max(i) FROM many
    """
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await anyio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)

    source = {"url": f"adbc+sqlite:///{tmp_path}/a.db", "query": slow}
    assert (await sentrio.check_async(source, ["not_null"])).passed  # imports and all that
    async with anyio.create_task_group() as tg:
        tg.start_soon(watch)
        await anyio.lowlevel.checkpoint()
        started = time.monotonic()
        result = await sentrio.check_async(source, [{"max": {"column": "i", "min": 3_000_000}}])
        took = time.monotonic() - started
        tg.cancel_scope.cancel()
    assert result.passed
    assert longest < took / 2
