"""Whatever the data, the morsels and the workers, counts and samples equal those of a naive implementation."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import _naive as naive
import anyio
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentrio.validation.report import CheckResult, ValidationReport
from sentrio.validation.run import Validation
from sentrio.validation.samples import SampleOptions
from sentrio.validation.sources.files import make_source
from sentrio.validation.validators import make_validator

texts = st.sampled_from(["a", "b", "A1", "é", "", "ab\ncd", "日本", " a", "NULL", '"', "1,2"])
numbers = st.integers(-5, 5) | st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1])
floats = st.floats(-5, 5, width=32) | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 1e300])


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(0, 40))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(st.none() | values, min_size=height, max_size=height))

    return pl.DataFrame(
        {"n": column(numbers), "x": column(floats), "t": column(texts), "b": column(st.booleans())},
        schema={"n": pl.Int64, "x": pl.Float64, "t": pl.String, "b": pl.Boolean},
    )


bounds = st.none() | st.integers(-4, 4) | st.sampled_from([-1.5, 0.1, 2.5, 2.0**53, math.inf])
INCLUSIVE = st.sampled_from(["both", "left", "right", "neither"])


def run(data: Any, entries: list[Any], *, morsel_rows: int, in_flight: int) -> ValidationReport:
    validation = Validation(
        make_source(data),
        [make_validator(entry) for entry in entries],
        samples=SampleOptions(most=3),
        morsel_rows=morsel_rows,
        in_flight=in_flight,
    )
    anyio.run(validation.run)
    return validation.report()


def assert_counts(check: CheckResult, expected: tuple[int, int, list[int]], *, rows: int) -> None:
    failed, evaluated, failing = expected
    assert check.message == "" or check.outcome == "failed", check
    assert (check.failed_count, check.evaluated_count, check.row_count) == (failed, evaluated, rows)
    assert check.outcome == ("failed" if failed else "passed")
    assert [item.row for item in check.sample] == failing[:3]


@pytest.mark.parametrize("kind", ["frame", "parquet"])
@given(
    frame=frames(),
    low=bounds,
    high=bounds,
    inclusive=INCLUSIVE,
    morsel_rows=st.integers(1, 50),
    in_flight=st.integers(1, 4),
    group=st.integers(1, 20),
)
@example(pl.DataFrame({"n": [2**53 + 1], "x": [1.0], "t": ["a"], "b": [True]}), None, 2.0**53, "both", 1, 1, 1)
def test_every_validator(
    kind: str,
    frame: pl.DataFrame,
    low: float | None,
    high: float | None,
    inclusive: str,
    morsel_rows: int,
    in_flight: int,
    group: int,
) -> None:
    if low is not None and high is not None and (low > high or (low == high and inclusive != "both")):
        low, high = (high, low) if low > high else (low, None)
    options = {"min": low, "max": high, "inclusive": inclusive}
    entries: list[Any] = [
        "not_null",
        {"range": {"column": "n", **options}},
        {"range": {"column": "x", **options}},
        {"in_set": {"column": "t", "values": ["a", "é", "1,2"]}},
        {"in_set": {"column": "n", "values": [1, 2**53]}},
        {"in_set": {"column": "b", "values": [True]}},
        {"regex": {"column": "t", "pattern": "^[a-z]"}},
        "unique",
        {"unique": {"columns": ["n", "t"]}},
        {"unique": {"columns": ["x", "b"], "nulls_equal": True}},
        {"row_count": {"min": 1}},
        {"mean": {"column": "x", "min": 0}},
        {"mean": {"column": "n", "min": 0}},
    ]
    with tempfile.TemporaryDirectory() as folder:
        data: Any = frame
        if kind == "parquet":
            data = Path(folder) / "data.parquet"
            frame.write_parquet(data, row_group_size=group)
        report = run(data, entries, morsel_rows=morsel_rows, in_flight=in_flight)

    column = {name: frame[name].to_list() for name in frame.columns}
    rows = frame.height
    assert report.complete
    assert report.row_count == report.rows_scanned == rows
    checks = {check.id: check for check in report.checks}
    for name in frame.columns:
        assert_counts(checks[f"not_null:{name}"], naive.not_null(column[name]), rows=rows)
        singles = [(value,) for value in column[name]]
        assert_counts(checks[f"unique:{name}"], naive.unique(singles, nulls_equal=False), rows=rows)
    for name in ("n", "x"):
        assert_counts(checks[f"range:{name}"], naive.in_range(column[name], low, high, inclusive), rows=rows)
        mean, check = naive.mean(column[name]), checks[f"mean:{name}"]
        if mean is None:
            assert (check.outcome, check.message) == ("failed", "there are no values")
        else:
            assert float(check.observed or 0) == pytest.approx(mean, rel=1e-9, abs=1e-9, nan_ok=True)
            if mean != pytest.approx(0, abs=1e-9):
                assert check.passed == (mean >= 0)
    assert_counts(checks["in_set:t"], naive.in_set(column["t"], ["a", "é", "1,2"]), rows=rows)
    assert_counts(checks["in_set:n"], naive.in_set(column["n"], [1, 2**53]), rows=rows)
    assert_counts(checks["in_set:b"], naive.in_set(column["b"], [True]), rows=rows)
    assert_counts(checks["regex:t"], naive.matches(column["t"], "^[a-z]"), rows=rows)
    pairs = list(zip(column["n"], column["t"], strict=True))
    assert_counts(checks["unique:n,t"], naive.unique(pairs, nulls_equal=False), rows=rows)
    pairs = list(zip(column["x"], column["b"], strict=True))
    assert_counts(checks["unique:x,b"], naive.unique(pairs, nulls_equal=True), rows=rows)
    assert checks["row_count"].passed == (rows >= 1)


@given(frame=frames(), morsel_rows=st.integers(1, 50), where=st.sampled_from(["n > 0", "t = 'a'", "x IS NULL"]))
def test_where_keeps_row_numbers_of_the_source(frame: pl.DataFrame, morsel_rows: int, where: str) -> None:
    entries = [{"not_null": {"column": "b", "where": where}}, {"unique": {"column": "b", "where": where}}]
    report = run(frame, entries, morsel_rows=morsel_rows, in_flight=2)
    chosen = frame.with_row_index("row").filter(pl.sql_expr(where))
    nulls = chosen.filter(pl.col("b").is_null())["row"].to_list()
    first, second = report.checks
    assert (first.failed_count, first.row_count) == (len(nulls), chosen.height)
    assert [item.row for item in first.sample] == nulls[:3]
    repeats = chosen.filter(pl.col("b").is_not_null() & pl.col("b").is_duplicated())["row"].to_list()
    assert second.failed_count == len(repeats)
    assert [item.row for item in second.sample] == repeats[:3]


csv_cells = st.none() | st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=6
)


@given(
    cells=st.lists(
        st.tuples(st.none() | st.integers(-99, 99), csv_cells.filter(lambda text: text != "")), max_size=30
    ),
    bad=st.none() | st.tuples(st.integers(0, 29), st.sampled_from(["x", "1.5", "--"])),
    morsel_rows=st.integers(1, 50),
)
def test_csv_counts_values_that_do_not_fit(
    cells: list[tuple[int | None, str | None]], bad: tuple[int, str] | None, morsel_rows: int
) -> None:
    numbers: list[Any] = [number for number, _ in cells]
    broken = bad is not None and bad[0] < len(numbers)
    if broken and bad is not None:
        numbers[bad[0]] = bad[1]
    frame = pl.DataFrame(
        {"n": [None if number is None else str(number) for number in numbers], "t": [text for _, text in cells]},
        schema={"n": pl.String, "t": pl.String},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        frame.write_csv(path)
        source = {"path": path, "schema": {"n": "integer", "t": "string"}}
        report = run(source, ["not_null", {"range": {"column": "n", "min": 0}}], morsel_rows=morsel_rows, in_flight=2)
    checks = {check.id: check for check in report.checks}
    assert report.complete, report
    kept = [None if broken and bad is not None and i == bad[0] else number for i, number in enumerate(numbers)]
    assert_counts(checks["not_null:n"], naive.not_null(kept), rows=len(cells))
    assert_counts(checks["not_null:t"], naive.not_null([text for _, text in cells]), rows=len(cells))
    assert_counts(checks["range:n"], naive.in_range(kept, 0, None, "both"), rows=len(cells))
    if broken and bad is not None:
        assert checks["type:n"].failed_count == 1
        assert [(item.row, item.values) for item in checks["type:n"].sample] == [(bad[0], {"n": bad[1]})]
        assert checks["type:n"].severity == "high"
    else:
        assert "type:n" not in checks
