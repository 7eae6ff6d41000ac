"""Rules about rows: whatever the data and the cut, counts and samples are those of a naive implementation."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import _naive as naive
import polars as pl
import pytest
from _running import CUTS, FLOATS, INTEGERS, TEXTS, Cut, column, columns, run
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.validation.report import CheckResult

integers = columns(INTEGERS, pl.Int64)
floats = columns(FLOATS, pl.Float64)
texts = columns(TEXTS, pl.String)
categories = columns(TEXTS, pl.Categorical)

MOMENTS = st.datetimes(dt.datetime(2025, 12, 30), dt.datetime(2026, 1, 3)) | st.sampled_from(
    [
        dt.datetime(1, 1, 1),
        dt.datetime(2026, 1, 1),
        dt.datetime(2026, 1, 1, 23, 59, 59, 999_999),
        dt.datetime(2100, 1, 1),
    ]
)
dates = columns(MOMENTS.map(dt.datetime.date), pl.Date)
times = st.sampled_from([pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns")]).flatmap(
    lambda dtype: columns(MOMENTS.filter(lambda moment: moment.year > 1), dtype)
)
zoned = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]).flatmap(
    lambda zone: columns(MOMENTS.filter(lambda moment: moment.year > 1), pl.Datetime("us")).map(
        lambda series: series.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    )
)
moments = dates | times | zoned


def assert_counts(check: CheckResult, expected: tuple[int, int, list[int]], *, rows: int) -> None:
    failed, evaluated, failing = expected
    assert (check.failed_count, check.evaluated_count, check.row_count) == (failed, evaluated, rows)
    assert check.outcome == ("failed" if failed else "passed"), check
    assert [item.row for item in check.sample] == failing[:3]


@given(values=integers | floats | texts | dates, cut=CUTS, least=st.sampled_from([0, 0.3, 0.5, 1]))
def test_completeness(values: pl.Series, cut: Cut, least: float) -> None:
    (check,) = run(values.to_frame(), [{"completeness": {"min_ratio": least}}], cut).checks
    failed, rows, failing = naive.not_null(values.to_list())
    assert (check.failed_count, check.evaluated_count) == (failed, rows)
    assert check.passed == (not rows or (rows - failed) / rows >= least)
    assert [item.row for item in check.sample] == failing[:3]


@given(values=integers | texts | categories, cut=CUTS)
def test_sets(values: pl.Series, cut: Cut) -> None:
    some: list[Any] = [1, 2**53, 0] if values.dtype == pl.Int64 else ["a", "é", "1,2"]
    first, second = run(
        values.to_frame(), [{"in_set": {"values": some}}, {"not_in_set": {"values": some}}], cut
    ).checks
    cells = values.to_list()
    assert_counts(first, naive.in_set(cells, some), rows=len(cells))
    assert_counts(second, naive.count_failing(lambda value: value not in some, cells), rows=len(cells))


@given(values=texts | categories, cut=CUTS, low=st.integers(0, 3), more=st.integers(0, 3))
def test_texts(values: pl.Series, cut: Cut, low: int, more: int) -> None:
    entries: list[Any] = [
        {"not_regex": {"pattern": "^[a-z]"}},
        {"length": {"min": low}},
        {"length": {"max": low}},
        {"length": {"min": low, "max": low + more}},
    ]
    report = run(values.to_frame(), entries, cut)
    cells = values.to_list()
    rules: list[Any] = [
        lambda text: re.search("^[a-z]", text) is None,
        lambda text: len(text) >= low,
        lambda text: len(text) <= low,
        lambda text: low <= len(text) <= low + more,
    ]
    for check, rule in zip(report.checks, rules, strict=True):
        assert_counts(check, naive.count_failing(rule, cells), rows=len(cells))


@given(values=integers | floats | moments, cut=CUTS, strict=st.booleans(), direction=st.booleans())
def test_monotonic(values: pl.Series, cut: Cut, strict: bool, direction: bool) -> None:
    entry = {"monotonic": {"direction": "decreasing" if direction else "increasing", "strict": strict}}
    for series in (values, values.sort(nulls_last=True), values.sort(descending=True)):
        (check,) = run(series.to_frame(), [entry], cut).checks
        expected = naive.monotonic(series.to_list(), decreasing=direction, strict=strict)
        assert_counts(check, expected, rows=len(values))


def test_monotonic_in_nanoseconds() -> None:
    frame = pl.DataFrame({"x": pl.Series([1, 3, 2]).cast(pl.Datetime("ns"))})
    (check,) = run(frame, ["monotonic"], Cut("frame", 1, 1, 1)).checks
    assert check.failed_count == 1


bounds = (
    st.none() | MOMENTS.map(dt.datetime.date) | MOMENTS | MOMENTS.map(lambda moment: moment.replace(tzinfo=dt.UTC))
)


@given(values=moments, cut=CUTS, low=bounds, high=bounds, written=st.booleans())
def test_date_range(values: pl.Series, cut: Cut, low: dt.date | None, high: dt.date | None, written: bool) -> None:
    if low is None and high is None:
        low = dt.date(2026, 1, 1)
    if low is not None and high is not None and naive.instant(low) > naive.instant(high):
        low, high = high, low
    options = {"min": low, "max": high}
    if written:
        options = {name: None if bound is None else bound.isoformat() for name, bound in options.items()}  # type: ignore[misc]
    (check,) = run(values.to_frame(), [{"date_range": options}], cut).checks
    assert_counts(check, naive.date_range(values.to_list(), low, high), rows=len(values))


def test_dates_that_python_does_not_know() -> None:
    frame = pl.DataFrame({"d": pl.Series([20_000, 3_000_000]).cast(pl.Date)})
    (check,) = run(frame, [{"date_range": {"max": "2030-01-01"}}], Cut("frame", 1, 1, 1)).checks
    assert (check.failed_count, check.observed) == (1, "2024-10-04 to +10183-09-21")
    assert check.sample[0].values == {"d": "+10183-09-21"}


@st.composite
def pairs(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(0, 30))
    kinds: list[tuple[Any, Any]] = [
        (INTEGERS, pl.Int64), (st.integers(0, 2**64 - 1), pl.UInt64), (st.integers(-3, 3), pl.Int8),
    ]  # fmt: skip
    few = st.integers(-3, 3).map(float) | st.sampled_from([float("nan"), float("inf")])
    family = draw(
        st.sampled_from(
            [
                kinds,
                [(few, pl.Float64), (few, pl.Float32), (st.integers(-3, 3), pl.Int32)],
                [(TEXTS, pl.String), (TEXTS, pl.Categorical)],
                [
                    (MOMENTS.map(dt.datetime.date), pl.Date),
                    (MOMENTS, pl.Datetime("us")),
                    (MOMENTS.map(lambda m: m.replace(microsecond=0)), pl.Datetime("ms")),
                    (MOMENTS.map(lambda m: m.replace(tzinfo=dt.UTC)), pl.Datetime("us", "Europe/Berlin")),
                ],
            ]
        )
    )
    made = {}
    for name in ("left", "right"):
        values, dtype = draw(st.sampled_from(family))
        made[name] = pl.Series(name, column(draw, values, height), dtype=dtype)
    return pl.DataFrame(made)


@given(frame=pairs(), cut=CUTS, operator=st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]))
def test_compare(frame: pl.DataFrame, cut: Cut, operator: str) -> None:
    options = {"left": "left", "operator": operator, "right": "right"}
    (check,) = run(frame, [{"compare": options}], cut).checks
    left, right = (
        [naive.instant(value) if isinstance(value, dt.date) else value for value in frame[name].to_list()]
        for name in ("left", "right")
    )
    assert check.column == "left,right"
    assert_counts(check, naive.compare(left, operator, right), rows=frame.height)


@given(values=integers, cut=CUTS)
def test_expression(values: pl.Series, cut: Cut) -> None:
    conditions = ["x > 0 OR x = -3", (pl.col("x") > 0) | (pl.col("x") == -3)]
    report = run(values.to_frame(), [{"expression": {"condition": condition}} for condition in conditions], cut)
    expected = naive.count_failing(lambda value: value > 0 or value == -3, values.to_list())
    for check in report.checks:
        assert_counts(check, expected, rows=len(values))
        assert check.column is None
        assert all(set(item.values) == {"x"} for item in check.sample)


def test_a_failing_condition_names_each_value_it_shows() -> None:
    frame = pl.DataFrame({"id": [7], "fare": [5.0], "km": [31.0]})
    result = sentrio.check(frame, [{"expression": {"condition": "fare >= km"}}], key_columns=["id"])
    assert "row 0   id = 7, fare = 5.0, km = 31.0" in str(result)


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("x >", "unable to parse"),
        ("nope > 1", "no column 'nope'"),
        ("x + 1", "gives Int64, not true or false"),
        ("SUM(x) > 1", "depends on other rows"),
        ("x > AVG(x)", "depends on other rows"),
        ("ROW_NUMBER() OVER (ORDER BY x) > 1", "depends on other rows"),
        ("COUNT(*) > 1", "depends on other rows"),
        ("TRUE", "names no column"),
        ("x > 'a'", "cannot compare string with numeric"),
        (pl.col("x").shift(1) > 0, "depends on other rows"),
        (pl.col("x").is_first_distinct(), "depends on other rows"),
        (pl.col("x") > pl.col("x").mean() * 0.5, "depends on other rows"),
        (pl.col("x").filter(pl.col("x") > 0) > 1, "depends on other rows"),
        (pl.all() > 0, "more than one answer"),
    ],
)
def test_conditions_that_are_refused(condition: Any, problem: str) -> None:
    frame = pl.DataFrame({"x": [1, 2]})
    bad, good = run(frame, [{"expression": {"condition": condition}}, "not_null"], Cut("frame", 1, 1, 1)).checks
    assert (bad.outcome, good.outcome) == ("error", "passed")
    assert problem in bad.message


@pytest.mark.parametrize("kind", ["frame", "lazy", "parquet"])
def test_key_columns_stand_beside_rows_that_no_filter_finds(kind: str) -> None:
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(30)], "x": [*range(10), 3, *range(11, 30)], "y": [1] * 30})
    entries: list[Any] = ["unique_rows", {"unique": {"column": "x"}}, {"monotonic": {"column": "x"}}, "unique"]
    report = run(frame, entries, Cut(kind, 7, 2, 5), key_columns=("id", "y"))
    checks = {check.id: check for check in report.checks}
    assert [dict(item.values) for item in checks["unique:x"].sample] == [
        {"id": "r3", "y": 1, "x": 3}, {"id": "r10", "y": 1, "x": 3},
    ]  # fmt: skip
    assert [(item.row, dict(item.values)) for item in checks["monotonic:x"].sample] == [
        (10, {"id": "r10", "y": 1, "x": 3})
    ]
    assert [item.values["id"] for item in checks["unique:y"].sample] == ["r0", "r1", "r2"]
    redacted = run(frame, entries, Cut(kind, 7, 2, 5), key_columns=("id",), redact_columns=("id",)).checks
    assert redacted[1].sample[0].values == {"id": "[redacted]", "x": 3}


@pytest.mark.parametrize(
    ("bounds", "failed"),
    [
        ({"max": dt.date(1, 1, 1)}, 2),
        ({"min": dt.date(1, 1, 1)}, 0),
        ({"max": dt.date(9999, 1, 1)}, 0),
        ({"min": dt.date(3000, 1, 1)}, 2),
        ({"min": dt.date(1, 1, 1), "max": dt.date(2010, 1, 1)}, 1),
    ],
)
def test_bounds_that_nanoseconds_can_not_hold(bounds: dict[str, dt.date], failed: int) -> None:
    moments = pl.Series("x", [dt.datetime(2000, 1, 1), None, dt.datetime(2020, 1, 1)], dtype=pl.Datetime("ns"))
    (check,) = sentrio.check(moments.to_frame(), [{"date_range": {"column": "x", **bounds}}]).report.checks
    assert (check.failed_count, check.evaluated_count) == (failed, 2)
