from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import sentrio
from sentrio.errors import OptionValueError
from sentrio.validation.sources.base import redacted_url
from sentrio.validation.types import parse_type
from sentrio.validation.values import json_ready


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, frame: pl.DataFrame) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    frame.write_csv(name) if name.endswith(".csv") else frame.write_parquet(name)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("source", ["data", "data/*.{}", "data/a.{}"])
def test_files_folders_and_patterns(source: str, ending: str) -> None:
    for i, name in enumerate(("a", "b", "deep/c")):
        write(f"data/{name}.{ending}", pl.DataFrame({"x": [i, i + 10]}))
    source = source.format(ending)
    result = sentrio.check(
        source, [{"range": {"column": "x", "max": 11}}, {"unique": {"column": "x"}}], morsel_rows=1
    )
    rows = {"data": 6, f"data/*.{ending}": 4, f"data/a.{ending}": 2}[source]
    assert result.report.row_count == rows
    assert [item.row for item in result.report.checks[0].sample] == ([5] if rows == 6 else [])
    assert result.report.checks[1].passed


def test_rows_are_counted_through_all_files() -> None:
    write("data/a.csv", pl.DataFrame({"x": [1, 2]}))
    write("data/b.csv", pl.DataFrame({"x": [None, 2]}, schema={"x": pl.Int64}))
    result = sentrio.check("data", ["not_null", {"unique": {"column": "x"}}])
    assert [[item.row for item in check.sample] for check in result.report.checks] == [[2], [1, 3]]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_files_that_do_not_fit_together(ending: str) -> None:
    write(f"data/a.{ending}", pl.DataFrame({"x": [1]}))
    write(f"data/b.{ending}", pl.DataFrame({"y": [1]}))
    assert f"b.{ending} has other columns" in str(sentrio.check("data", ["not_null"]).error)


def test_folder_of_several_formats() -> None:
    write("data/a.csv", pl.DataFrame({"x": [1]}))
    write("data/b.parquet", pl.DataFrame({"x": [1]}))
    assert "several formats" in str(sentrio.check("data", ["not_null"]).error)
    assert sentrio.check({"path": "data", "format": "csv"}, ["not_null"]).report.row_count == 1
    with pytest.raises(OptionValueError, match=r"names no format"):
        sentrio.check("data.v2", ["not_null"])
    Path("data").rename("data.v2")
    assert sentrio.check({"path": "data.v2", "format": "parquet"}, ["not_null"]).report.row_count == 1


def test_a_changed_column_type_far_down_in_another_file() -> None:
    write("data/a.csv", pl.DataFrame({"x": [1, 2], "y": [1, 2]}))
    write("data/b.csv", pl.DataFrame({"x": ["3", "four"], "y": [1, 2]}))
    result = sentrio.check("data", [{"mean": {"column": "x", "min": 2, "max": 2}}])
    checks = {check.id: check for check in result.report.checks}
    assert checks["mean:x"].observed == 2
    assert [(item.row, item.values["x"]) for item in checks["type:x"].sample] == [(3, "four")]


def test_types_of_text_columns() -> None:
    lines = [
        "i,f,b,d,t,n",
        "1,1.5,true,2026-11-20,2026-11-20T10:00:00,",
        " 2,2,FALSE,2026-11-21,2026-11-20 11:00:00,",
        "x,x,maybe,x,x,",
    ]
    Path("a.csv").write_text("\n".join(lines) + "\n")
    schema = {"i": "integer", "f": "float", "b": "boolean", "d": "date", "t": "datetime", "n": "number"}
    result = sentrio.check({"path": "a.csv", "schema": schema}, [{"row_count": {"min": 3}}])
    checks = {check.id: check.failed_count for check in result.report.checks}
    assert checks == {"row_count": None} | {f"type:{name}": 1 for name in "ifbdt"} | {"type:n": 0}


def test_a_column_without_values_has_no_type_yet() -> None:
    Path("a.csv").write_text("x,y\n" + "1,\n" * 12_000 + "1,2\n")
    result = sentrio.check("a.csv", [{"range": {"column": "y", "min": 0}}])
    assert "had no values while its type was looked for" in result.report.errors[0].message
    result = sentrio.check({"path": "a.csv", "schema": {"y": "integer"}}, [{"range": {"column": "y", "min": 0}}])
    assert result.report.checks[0].evaluated_count == 1
    bad = sentrio.check({"path": "a.csv", "schema": {"z": "integer"}}, ["not_null"])
    assert "`schema` names column 'z', which is not there" in str(bad.error)


def test_quotes_separators_and_headers() -> None:
    Path("a.tsv").write_text("a\tb\n1\tx,y\n")
    assert sentrio.check("a.tsv", [{"in_set": {"column": "b", "values": ["x,y"]}}]).passed
    Path("a.csv").write_text("1;'x;y'\n2;'z'\n")
    source = {"path": "a.csv", "separator": ";", "quote_char": "'", "has_header": False}
    assert sentrio.check(source, [{"in_set": {"column": "column_1", "values": ["x;y", "z"]}}]).passed
    Path("b.csv").write_text('a,b\n1,5"\n2,\n')
    result = sentrio.check({"path": "b.csv", "quote_char": None}, [{"not_null": {"column": "b"}}])
    assert [item.row for item in result.report.checks[0].sample] == [1]


def test_a_check_that_fails_on_some_rows_only_takes_no_other_down() -> None:
    frame = pl.DataFrame({"t": ["1", "2", "x"], "n": [1, 2, 3]})
    strict = {"not_null": {"column": "n", "where": "CAST(t AS BIGINT) > 0"}}
    result = sentrio.check(frame, [strict, {"not_null": {"column": "t"}}, {"unique": {"column": "n"}}], morsel_rows=1)
    assert [check.outcome for check in result.report.checks] == ["error", "passed", "passed"]
    assert result.status == "error"
    hidden = sentrio.check(frame, [strict], redact_columns=["t"])
    assert "may show values, which are hidden" in hidden.report.errors[0].message


def test_a_lazy_frame_that_fails_is_an_error_result() -> None:
    frame = pl.DataFrame({"t": ["1", "x"]}).lazy().select(pl.col("t").cast(pl.Int64))
    assert sentrio.check(frame, ["not_null"]).status == "error"
    assert sentrio.check(pl.DataFrame({"t": [1]}).lazy().select("nope"), ["not_null"]).status == "error"


def test_urls_are_shown_without_secrets() -> None:
    text = "postgresql://user:p%40ss@host:5432/db?password=x and https://a.b/c?sig=1#f s3://key:secret@bucket/x"
    assert redacted_url(text) == "postgresql://host:5432/db and https://a.b/c#f s3://bucket/x"


def test_type_names() -> None:
    assert parse_type("Integer", "o", "x") == pl.Int64
    assert parse_type("Float32", "o", "x") == parse_type(pl.Float32, "o", "x") == parse_type(pl.Float32(), "o", "x")
    for bad in ("intger", 3):
        with pytest.raises(OptionValueError):
            parse_type(bad, "o", "x")


def test_cells_as_json() -> None:
    import datetime as dt
    import decimal

    moment = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    cells = [
        moment,
        moment.date(),
        dt.timedelta(1),
        decimal.Decimal("1.50"),
        b"\xff",
        {1: (1, float("nan"))},
        object,
        "x" * 2000,
    ]
    found = json_ready(cells)
    assert found[:6] == ["2026-11-20T00:00:00+00:00", "2026-11-20", "1 day, 0:00:00", "1.50", "ff", {"1": [1, "nan"]}]
    assert len(found[7]) < 1100
    assert found[7].endswith("(2,000 characters)")


def test_values_of_a_set_must_fit() -> None:
    frame = pl.DataFrame({"d": ["2026-11-20"], "e": ["x"], "u": [1]}).with_columns(
        pl.col("d").str.to_date(), pl.col("e").cast(pl.Categorical), pl.col("u").cast(pl.UInt8)
    )
    good = [("d", ["2026-11-20"]), ("e", ["x"]), ("u", [1, 2.0])]
    bad = [("d", ["someday"]), ("e", [1]), ("u", [-1]), ("u", [1.5]), ("u", [True])]
    for column, values in good:
        assert sentrio.check(frame, [{"in_set": {"column": column, "values": values}}]).passed, (column, values)
    for column, values in bad:
        result = sentrio.check(frame, [{"in_set": {"column": column, "values": values}}])
        assert "can not hold the values" in result.report.errors[0].message, (column, values)
    for values in ([], "x", [None, 1], [1, "x"]):
        with pytest.raises(OptionValueError, match="values must"):
            sentrio.check(frame, [{"in_set": {"values": values}}])
