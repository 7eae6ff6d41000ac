"""What is particular to a form: partitions, folders, sheets, streams, and what options fit which."""

from __future__ import annotations

import datetime as dt
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pandas as pd
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.ipc as ipc  # type: ignore[import-untyped]
import pytest

import sentrio
from sentrio.errors import OptionValueError
from sentrio.validation.sources.options import SourceOptions, format_of

FRAME = pl.DataFrame({"x": [1, 2, 3]})


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(name: str, frame: pl.DataFrame = FRAME) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_ipc(path)


def errors(source: Any) -> str:
    result = sentrio.check(source, ["not_null"])
    assert result.status == "error"
    return str(result.error)


def values(source: Any, column: str) -> list[Any]:
    """Return the values of a column, from the samples of a check that fails for all of them."""
    entry: dict[str, Any] = {"in_set": {"column": column, "values": ["?"]}}
    if sentrio.check(source, [entry]).report.errors:
        entry = {"range": {"column": column, "max": -999}}
    result = sentrio.check(source, [entry], sample_failures=99)
    assert result.error is None
    return [item.values[column] for item in result.report.checks[0].sample]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_folders_that_are_values(ending: str) -> None:
    for year, day, place in ((2025, "2026-11-20", "a%20b"), (2026, "2026-11-21", "__HIVE_DEFAULT_PARTITION__")):
        put(f"data/year={year}/day={day}/place={place}/x.{ending}")
    Path("data/_SUCCESS").touch()
    put("data/_delta_log/a.parquet", pl.DataFrame({"other": [1]}))
    result = sentrio.check(
        "data", [{"schema": {"columns": {"x": "integer", "year": "Int64", "day": "date", "place": "string"}}}]
    )
    assert result.passed, result
    assert values("data", "year") == [2025] * 3 + [2026] * 3
    assert values("data", "place") == ["a b"] * 3
    fmt = {"arrow": "ipc"}.get(ending, ending)
    for source in ("data/year=2025", "data/year=2025/*/*/*", {"path": Path("data/year=2025"), "format": fmt}):
        found = sentrio.check(source, [{"not_null": {"columns": ["x", "day", "place"]}}])
        assert (found.error, found.report.row_count) == (None, 3)
    put(f"data/year=2027/x.{ending}")
    assert "files of year=2027 lie in other partitions than those of year=2025/day=2026-11-20/place=a%20b" in errors(
        "data"
    )


def test_values_of_folders_keep_their_type() -> None:
    for code in ("01", "2"):
        put(f"codes/code={code}/x.parquet")
    assert values("codes", "code") == ["01"] * 3 + ["2"] * 3
    for day in ("2026-02-30", "2026-03-01"):
        put(f"days/day={day}/x.parquet")
    assert values("days", "day") == ["2026-02-30"] * 3 + ["2026-03-01"] * 3


def test_a_slice_in_partitions_is_numbered_through_all_files() -> None:
    for year in (2025, 2026):
        put(f"data/year={year}/x.parquet")
    result = sentrio.check("data", [{"range": {"column": "x", "max": 2}}], morsel_rows=2)
    assert [item.row for item in result.report.checks[0].sample] == [2, 5]


def test_what_is_no_file() -> None:
    os.mkfifo("pipe.csv")
    assert "not a file" in errors("pipe.csv")
    assert "no file matches" in errors("*.csv.gz")
    assert re.search("zero|null (byte|character)", errors("a\0b.csv"))
    Path("empty").mkdir()
    assert "holds no files named" in errors("empty")
    assert "several formats" in errors_of_two()


def errors_of_two() -> str:
    put("two/a.parquet")
    put("two/b.arrow")
    return errors("two")


@pytest.mark.parametrize("form", ["csv", "csv.gz", "ndjson", "arrow", "arrows", "parquet", "hive", "xlsx"])
def test_a_file_that_changes_while_it_is_read(form: str) -> None:
    frame = pl.DataFrame({"x": range(50)})
    name = "h/k=1/a.parquet" if form == "hive" else f"a.{form}"
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if form in {"csv", "csv.gz"}:
        from _formats import packed

        path.write_bytes(packed(form, frame.write_csv().encode()))
    else:
        writers: dict[str, Any] = {
            "ndjson": frame.write_ndjson,
            "arrow": frame.write_ipc,
            "arrows": frame.write_ipc_stream,
            "xlsx": frame.write_excel,
        }
        writers.get(form, frame.write_parquet)(path)
    checkpoint = sentrio.Checkpoint("a", "h" if form == "hive" else name, ["not_null"], morsel_rows=10)
    assert checkpoint.run().error is None

    async def run() -> sentrio.CheckpointResult:
        later = time.time() + 10
        return await checkpoint.run_async(on_progress=lambda progress: os.utime(path, (later, later)))

    assert f"{path.name} changed while it was read" in str(anyio.run(run).error)


def test_sheets() -> None:
    import xlsxwriter  # type: ignore[import-untyped]

    with xlsxwriter.Workbook("a.xlsx") as book:
        for name, cells in (("one", [["n", "d"], [1, "2026-11-20"], [2.5, "someday"]]), ("two", [["t"], ["a"]])):
            sheet = book.add_worksheet(name)
            for number, row in enumerate(cells):
                sheet.write_row(number, 0, row)
    result = sentrio.check(
        {"path": "a.xlsx", "schema": {"n": "integer", "d": "date"}}, [{"row_count": {"min": 2, "max": 2}}]
    )
    found = {check.id: [(item.row, item.values) for item in check.sample] for check in result.report.failed}
    assert found == {"type:n": [(1, {"n": "2.5"})], "type:d": [(1, {"d": "someday"})]}
    for sheet in ("two", 2):
        assert values({"path": "a.xlsx", "sheet": sheet}, "t") == ["a"]
    assert "no matching sheet" in errors({"path": "a.xlsx", "sheet": "three"})
    Path("b.xlsx").write_bytes(b"PK\3\4 and so on")
    assert "not a readable Excel sheet" in errors("b.xlsx")


def workbook(path: str, *rows: list[Any]) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(path, {"default_date_format": "yyyy-mm-dd"}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)


@pytest.mark.parametrize(
    ("first", "second", "dtype"),
    [
        (None, 5, "Int64"),  # a column without values has no type
        (dt.date(2026, 11, 21), None, "Date"),
        (1, 2.5, "Float64"),
        (1, dt.date(2026, 11, 21), "String"),  # and not 20778
        (1, "x", "String"),
        (None, None, "Null"),
    ],
)
def test_workbooks_of_a_folder_have_common_types(first: Any, second: Any, dtype: str) -> None:
    Path("books").mkdir()
    for name, value in (("a", first), ("b", second)):
        workbook(f"books/{name}.xlsx", ["v", "n"], [value, 1])
    (check,) = sentrio.check("books", [{"type": {"column": "v", "dtype": "Binary"}}]).report.checks
    assert (check.observed, check.row_count) == (dtype, 2)


def test_what_an_open_workbook_leaves_beside_itself_is_no_data() -> None:
    Path("books").mkdir()
    workbook("books/a.xlsx", ["v"], [1])
    Path("books/~$a.xlsx").write_bytes(b"somebody")
    assert sentrio.check("books", [{"row_count": {"min": 1, "max": 1}}]).passed


def test_whole_numbers_of_excel_that_no_integer_holds() -> None:
    workbook("a.xlsx", ["account 'x'", "y", "z"], [12345678901234567890, 10**300, 1], [1, 2, 3])
    result = sentrio.check(
        "a.xlsx", [{"max": {"column": "account 'x'", "max": 1e19}}, {"sum": {"column": "z", "min": 4}}]
    )
    assert result.error is None
    assert [check.outcome for check in result.report.checks] == ["failed", "passed"]


def test_excel_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    FRAME.write_excel("a.xlsx")
    assert "pip install 'sentrio[excel]'" in errors("a.xlsx")


TABLE = pa.table({"id": [1, 2, 2], "t": ["a", None, "b"]})


class Hands:
    """Hands out a stream as often as it is asked, of a table or of what is left of a reader."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.data.__arrow_c_stream__(requested_schema)


def test_streams_of_arrow_batches() -> None:
    entries: list[Any] = [{"unique": {"column": "id"}}, {"not_null": {"column": "t"}}]

    def run(data: Any) -> list[int | None]:
        result = sentrio.check(data, entries, morsel_rows=1)
        assert result.error is None
        return [check.failed_count for check in result.report.checks]

    again = Hands(TABLE)
    assert run(again) == run(again) == run(TABLE) == [2, 1]
    once = Hands(pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches()))
    assert run(once) == [2, 1]
    assert "gave 3 rows before and none now" in errors(once)
    reader = pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches())
    sentrio.Checkpoint("a", reader, ["not_null"])  # which reads nothing
    assert run(reader) == [2, 1]
    assert "was read before" in errors(reader)


def test_streams_that_break() -> None:
    def batches() -> Iterator[Any]:
        yield TABLE.to_batches()[0]
        raise ValueError("the tape is torn")

    assert "the tape is torn" in errors(pa.RecordBatchReader.from_batches(TABLE.schema, batches()))

    class Refuses:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            raise RuntimeError("not today")

    assert errors(Refuses()) == "Refuses: it gives no rows: not today"


def test_numbers_that_polars_has_no_type_for() -> None:
    table = pa.table({"a": pa.array([1], pa.decimal256(50, 1)), "b": [1]})
    with ipc.new_file("wide.arrow", table.schema) as file:
        file.write_table(table)
    assert "precision must be between 1 and 38" in errors("wide.arrow")


def test_one_column_is_no_table() -> None:
    column = pytest.importorskip("pandas").Series([1, None], name="x")
    with pytest.raises(OptionValueError, match=r"a Series is one column and no table; give its to_frame\(\)"):
        sentrio.check(column, ["not_null"])
    assert sentrio.check(column.to_frame(), ["not_null"]).report.failed[0].failed_count == 1


def test_a_lazy_frame_that_gives_its_rows_once() -> None:
    """Its second pass would see no rows, and the check would pass."""
    reader = pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches())
    lazy = pl.scan_arrow_c_stream(reader)
    result = sentrio.check(lazy, [{"unique": {"column": "id"}}])
    assert not result.passed


@pytest.mark.parametrize("rows", [2, 30_000])
def test_frames_of_pandas(rows: int) -> None:
    frame = pd.DataFrame({"a": range(rows), "b": ["x"] * rows})
    assert sentrio.check(frame, ["not_null"]).data_asset == f"DataFrame[{rows}x2]"
    mixed: list[Any] = ["secret", *range(rows - 1)]
    assert (
        errors(frame.assign(b=mixed))
        == f"DataFrame[{rows}x2]: it can not be taken over: values of several types, or of one that Arrow has not, in 'b'"
    )
    frame.columns = pd.Index(["a", "a"])
    assert "two of its columns have the same name" in errors(frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "option 'path' is missing"),
        ({"path": "a.csv", "url": "https://b/a.csv"}, "path and url are both given"),
        ({"url": "a.csv"}, "must begin with a scheme"),
        ({"url": "file://host/a.csv"}, "names no host"),
        ({"url": "ftp://u:hunter2@b/a.csv"}, "no reader of files for 'ftp' URLs .ftp://b/a.csv."),
        ({"url": "https://b/a"}, "tells no format"),
        ({"url": "https://b/a.xlsx"}, "Excel files can not be read from a URL"),
        ({"url": "https://b/a.csv", "encoding": "cp1252"}, "files in cp1252 can not be read from a URL"),
        (
            {"path": "a.parquet", "encoding": "cp1252"},
            "option 'encoding' is for CSV, NDJSON, and 'a.parquet' is Parquet",
        ),
        ({"path": "a.arrow", "schema": {"x": "integer"}}, "option 'schema' is for CSV, NDJSON, Excel, SQL"),
        ({"path": "a.ndjson", "separator": ";"}, "option 'separator' is for CSV"),
        ({"path": "a.csv", "sheet": 1}, "option 'sheet' is for Excel"),
        ({"path": "a.xlsx", "sheet": 0}, "sheet must be"),
        ({"path": "a.csv", "separator": '"'}, "separator and quote_char are both"),
        ({"path": "a.csv", "separator": "\n"}, "must be one ASCII character"),
        ({"path": "a.csv", "encoding": "base64"}, "Python codec of text"),
        ({"path": "a.csv", "format": "xml"}, "one of csv, parquet, ndjson, ipc, excel"),
        ({"path": "a.csv", "query": "SELECT 1"}, "table and query are for databases"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionValueError, match=message) as caught:
        sentrio.Checkpoint("a", options, ["not_null"])
    assert "hunter" not in str(caught.value)


def test_places() -> None:
    put("a b.parquet")
    assert sentrio.check(Path("a b.parquet").absolute().as_uri(), ["not_null"]).passed
    assert "hunter2" not in repr(SourceOptions(path="https://u:hunter2@b/a.csv"))
    for name, fmt in {
        "A.CSV.GZ": "csv",
        "a.jsonl.zst": "ndjson",
        "a.parquet.gz": None,
        "a.b/c": None,
        ".csv": None,
    }.items():
        assert format_of(name) == fmt, name
    result = sentrio.check({"path": "b.csv", "encoding": "utf_8_sig"}, ["not_null"])
    assert "no such file" in str(result.error)
    Path("b.csv").write_bytes(b"\xef\xbb\xbfx\n1\n")
    for encoding in ("utf-8", "utf_8_sig", "UTF8"):
        assert values({"path": "b.csv", "encoding": encoding}, "x") == [1]
