"""A configuration written for some data: it says what is true of them, whatever they are."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentrio import load_config
from sentrio.cli.init import starter
from sentrio.errors import SourceError
from sentrio.validation.sources.files import make_source
from sentrio.validation.types import is_pattern

ODD = ["", "a b", "ü", "日本", "it's", 'say "hi"', "{curly}", "${HOME}", "$${x}", "$$$", "null", "true", "1", "1.5", "-", "*", "&a",
       "#c", ": ", "a: b", "[x]", "\n", "\t", "\\", "\u2028", "\ufeff", "\x85", "<<", "~", "!t", "%y", "@", "`", "😀", "a,b", "yes"]  # fmt: skip

names = st.sampled_from(ODD) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
texts = st.sampled_from(ODD) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
floats = st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.1, 1e22])
TYPES: dict[Any, st.SearchStrategy[Any]] = {
    pl.Int64(): st.integers(-5, 5) | st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1]),
    pl.Int8(): st.integers(-128, 127),
    pl.UInt64(): st.integers(0, 2**64 - 1),
    pl.Float64(): floats,
    pl.Float32(): st.floats(width=32),
    pl.String(): texts,
    pl.Categorical(): texts,
    pl.Boolean(): st.booleans(),
    pl.Date(): st.dates(),
    pl.Datetime("us"): st.datetimes(),
    pl.Datetime("ms", "Europe/Berlin"): st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1)),
    pl.Datetime("ns"): st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
    pl.Time(): st.times(),
    pl.Duration("us"): st.timedeltas(dt.timedelta(-9), dt.timedelta(9)),
    pl.Decimal(12, 2): st.decimals(-99, 99, places=2).map(lambda value: value + decimal.Decimal(0)),
    pl.Binary(): st.binary(max_size=3),
    pl.List(pl.Int64()): st.lists(st.integers(0, 3), max_size=2),
    pl.Struct({"x": pl.Int64()}): st.fixed_dictionaries({"x": st.integers(0, 3)}),
    pl.Null(): st.none(),
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(0, 25))
    columns = []
    for name in draw(st.lists(names.filter(lambda name: not is_pattern(name)), max_size=5, unique=True)):
        dtype = draw(st.sampled_from(list(TYPES)))
        values = (
            st.none()
            if draw(st.integers(0, 5)) == 0
            else draw(st.sampled_from([TYPES[dtype], st.none() | TYPES[dtype]]))
        )
        cells = draw(st.lists(values, min_size=height, max_size=height))
        if isinstance(dtype, pl.Datetime) and dtype.time_zone:
            naive = pl.Series(name, cells, dtype=pl.Datetime("ms"))
            columns.append(naive.dt.replace_time_zone(dtype.time_zone, ambiguous="earliest", non_existent="null"))
        else:
            columns.append(pl.Series(name, cells, dtype=dtype))
    return pl.DataFrame({column.name: column for column in columns})


def run_what_is_written(folder: Path, data: Path, **source: Any) -> tuple[str, Any]:
    text = starter(str(data), folder, source)
    (folder / "sentrio.yaml").write_text(text, encoding="utf-8")
    (checkpoint,) = load_config(folder / "sentrio.yaml").checkpoints.values()
    return text, checkpoint.run()


@given(frame=frames())
@example(pl.DataFrame())
@example(pl.DataFrame({"a": []}))
@example(
    pl.DataFrame({"d": pl.Series([-800_000, 4_000_000], dtype=pl.Int32).cast(pl.Date)})
)  # beyond Python's calendar
@example(pl.DataFrame({"x": [math.nan, math.nan], "y": [math.inf, 1.0]}))
@example(pl.DataFrame({"n": [2**63 - 1, -(2**63)], "u": pl.Series([2**64 - 1, 0], dtype=pl.UInt64)}))
@example(pl.DataFrame({"c": ["x"] * 30 + ["y" * 101]}))
def test_parquet_passes_today(frame: pl.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame.write_parquet(folder / "data.parquet", row_group_size=7)
        text, result = run_what_is_written(folder, folder / "data.parquet")
    assert result.status == "success", f"{text}\n{result}"
    assert {str(check.severity) for check in result.report.checks} == {"medium"}
    covered = {check.column for check in result.report.checks}
    for column in frame:
        if column.null_count() == 0 and column.len():
            assert column.name in covered


@given(frame=frames(), separator=st.sampled_from([",", ";", "\t"]))
def test_csv_passes_today(frame: pl.DataFrame, separator: str) -> None:
    plain = frame.select(
        pl.col(name)
        for name, dtype in frame.schema.items()
        if not dtype.is_nested() and not isinstance(dtype, pl.Binary | pl.Duration)
    )
    # Lines with no field at all, and names with line breaks, are what CSV itself can not say.
    if not plain.width or any("\n" in name or "\r" in name or "\ufeff" in name for name in plain.columns):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain.write_csv(folder / "data.csv", separator=separator, quote_style="always")
        try:
            text, result = run_what_is_written(folder, folder / "data.csv", separator=separator)
        except SourceError:
            return  # not readable at all, and then there is nothing to say
    assert result.status == "success", f"{text}\n{result}"


def test_it_says_what_was_seen(tmp_path: Path) -> None:
    rows = 100
    frame = pl.DataFrame(
        {
            "id": range(1000, 1000 + rows),
            "age": [20 + i % 51 for i in range(rows)],
            "price": [i / 7 for i in range(rows)],
            "state": [("new", "paid")[i % 2] for i in range(rows)],
            "free": [f"text {i}" for i in range(rows)],
            "gaps": [None if i % 3 else "x" for i in range(rows)],
            "nothing": pl.Series([None] * rows, dtype=pl.Int64),
            "odd": [math.nan, *[1.0] * (rows - 1)],
            "day": [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(rows)],
            "flag": [True, False] * (rows // 2),
        }
    )
    frame.write_parquet(tmp_path / "people.parquet")
    text, result = run_what_is_written(tmp_path, tmp_path / "people.parquet")
    assert result.passed
    for line in (
        "  people:",
        '    data_source: "people.parquet"',
        "    key_columns: [id]          # shown beside each failing value",
        "      - row_count: {min: 1, severity: medium}   # 100 rows today",
        "      - unique: {column: id, severity: medium}",
        "      - range: {column: id, min: 990, max: 1109, severity: medium}",
        "      - range: {column: age, min: 15, max: 75, severity: medium}",
        "      - in_set: {column: state, values: [new, paid], severity: medium}",
        "      - unique: {column: free, severity: medium}",
        "      - not_null: {column: gaps, mostly: 0.34, severity: medium}   # 66 nulls today",
        "      # nothing: no values today",
        "      # odd: 1 NaN today, which no range allows",
        "      - not_null: {column: flag, severity: medium}",
        "      - type: {column: price, dtype: float, severity: medium}",
        '      - date_range: {column: day, min: "2023-12-22", max: "2024-04-19", severity: medium}',
    ):  # fmt: skip
        assert line in text.splitlines(), line
    low, high = next(
        (float(line.split("min: ")[1].split(",")[0]), float(line.split("max: ")[1].split(",")[0]))
        for line in text.splitlines()
        if "range: {column: price" in line
    )
    assert (low, high) == pytest.approx((-99 / 70, 99 / 7 + 99 / 70), rel=1e-4)


def test_values_that_later_rows_bring_are_read_as_text(tmp_path: Path) -> None:
    lines = [*(f"{i},\n" for i in range(12_000)), "x,late\n"]
    (tmp_path / "late.csv").write_text("number,empty\n" + "".join(lines))
    text, result = run_what_is_written(tmp_path, tmp_path / "late.csv")
    assert result.passed
    assert 'data_source: {path: "late.csv", schema: {number: string, empty: string}}' in text


def test_it_says_how_texts_are_written(tmp_path: Path) -> None:
    lines = [
        f"{i},2026-01-{i % 28 + 1:02},2026-01-01T00:{i % 60:02},u{i}@example.org,10.0.0.{i}\n" for i in range(150)
    ]
    lines += ["150,,,,nobody\n"]
    (tmp_path / "log.csv").write_text("id,day,at,mail,host\n" + "".join(lines))
    text, result = run_what_is_written(tmp_path, tmp_path / "log.csv")
    assert result.passed
    for column, kind in (("day", "date"), ("at", "datetime"), ("mail", "email")):
        assert f"      - format: {{column: {column}, kind: {kind}, severity: medium}}\n" in text
    assert "      # host: no format, since 1 of 151 rows failed\n" in text


def test_dates_are_no_set_of_texts(tmp_path: Path) -> None:
    (tmp_path / "days.csv").write_text("day,code\n" + "2026-01-01,new\n2026-01-02,paid\n" * 5)
    text, result = run_what_is_written(tmp_path, tmp_path / "days.csv")
    assert result.passed
    assert text.count("in_set") == text.count("kind: date,") == 1


def test_decimals_have_a_range(tmp_path: Path) -> None:
    prices = [Decimal("0.10"), Decimal("1.00"), None]
    pl.DataFrame({"price": prices}, schema={"price": pl.Decimal(10, 2)}).write_parquet(tmp_path / "prices.parquet")
    text, result = run_what_is_written(tmp_path, tmp_path / "prices.parquet")
    assert result.passed
    assert "range: {column: price, min: 0.01, max: 1.09, severity: medium}" in text
    assert "type: {column: price, dtype: number, severity: medium}" in text


def test_what_turns_the_direction_of_writing_is_escaped(tmp_path: Path) -> None:
    pl.DataFrame({"\u202eamount": [1, 2]}).write_parquet(tmp_path / "odd.parquet")
    text, result = run_what_is_written(tmp_path, tmp_path / "odd.parquet")
    assert result.passed
    assert "\u202e" not in text


def test_types_and_names_of_their_own(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"*": [1, 2], "^x$": [1, 2], "a": [[1, 2], [3, 4]]}, schema_overrides={"a": pl.Array(pl.Int8, 2)}
    )
    frame.write_parquet(tmp_path / "data.parquet")
    text, result = run_what_is_written(tmp_path, tmp_path / "data.parquet")
    assert "# *: Polars takes this name for a pattern" in text
    assert "# ^x$: Polars takes this name for a pattern" in text
    assert 'dtype: "Array(Int8, shape=(2,))"' in text
    assert result.status == "success"


def test_one_column_may_be_several(tmp_path: Path) -> None:
    (tmp_path / "semi.csv").write_text("id;amount\n1;2\n")
    text, _ = run_what_is_written(tmp_path, tmp_path / "semi.csv")
    assert """# one column: if ';' separates several, give --source 'separator: ";"'""" in text


def test_a_url_is_written_as_it_is_and_names_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a,b\n1,x\n2,y\n")
    monkeypatch.setattr("sentrio.cli.init.make_source", lambda given: make_source({"path": tmp_path / "orders.csv"}))
    url = "https://user:hunter2@example.org/data/orders.csv?token=hun.ter3"
    text = starter(url, tmp_path)
    assert f'  orders:\n    data_source: "{url}"\n' in text
    assert (text.count("hunter2"), text.count("hun.ter3")) == (1, 1)


def test_the_command(sentrio: Any, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a;b\n1;NA\n2;x\n")
    (tmp_path / "deep").mkdir()
    done = sentrio(
        "init", "d.csv", "--source", "separator: ';'", "--source", "null_values: [NA]", "-c", "deep/s.yaml"
    )
    assert done.code == 0
    written = (tmp_path / "deep/s.yaml").read_text()
    assert 'data_source: {path: "../d.csv", separator: ";", null_values: ["NA"]}'.replace('"NA"', "NA") in written
    assert sentrio("run", "-c", "deep/s.yaml").code == 0
    assert sentrio("init", "gone.csv", "-c", "deep/s.yaml").code == 2  # said before anything is read
    assert (tmp_path / "deep/s.yaml").read_text() == written
    assert sentrio("init", "d.csv", "--source", "seperator: x", "-c", "new.yaml").code == 2
    assert sentrio("init", "gone.csv", "-c", "new.yaml").code == 3
    assert not (tmp_path / "new.yaml").exists()
    assert sentrio("init", "-c", "example.yaml").code == 0
    assert sentrio("validate", "-c", "example.yaml").code == 0
