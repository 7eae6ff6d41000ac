"""Values at the edges of their types, and bounds beyond them: counted as what they are, never by what a cast makes."""

from __future__ import annotations

import datetime as dt
import math
import operator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.validation.report import CheckResult
from sentrio.validation.values import moment_text, python_cells

NAN, INF = math.nan, math.inf


def check(values: pl.Series | pl.DataFrame, *entries: Any, **options: Any) -> list[CheckResult]:
    frame = values if isinstance(values, pl.DataFrame) else values.alias("x").to_frame()
    result = sentrio.check(frame, entries, **options)
    assert result.error is None
    assert result.report is not None
    return list(result.report.checks)


def failing(values: pl.Series | pl.DataFrame, *entries: Any) -> list[list[int]]:
    checks = check(values, *entries, sample_failures=1_000)
    assert not [each.message for each in checks if each.outcome == "error"]
    return [[row.row for row in each.sample] for each in checks]


def places(values: pl.Series, fails: Any) -> list[int]:
    return [place for place, value in enumerate(values.to_list()) if value is not None and fails(value)]


PRICES = pl.Series([Decimal("0.70"), Decimal("0.10"), None], dtype=pl.Decimal(10, 2))


def test_a_bound_for_decimals_means_the_decimal_that_is_written() -> None:
    """0.7 is a little less than seven tenths as a float, and yet 0.70 is at most 0.7."""
    checks = check(
        PRICES,
        {"max": {"max": 0.7}},
        {"min": {"min": 0.1, "max": 0.1}},
        {"sum": {"min": 0.8, "max": 0.8}},
        {"range": {"min": 0.1, "max": 0.7}},
        {"range": {"min": 0.1, "max": 0.7, "inclusive": "neither"}},
        {"in_set": {"values": [0.1, Decimal("0.7")]}},
        {"not_in_set": {"values": [0.7]}},
        fail_fast=False,
    )
    assert [each.failed_count for each in checks] == [None, None, None, 0, 2, 0, 1]
    assert [each.passed for each in checks] == [True, True, True, True, False, True, False]
    assert check(PRICES, {"min": {"min": 0.1}}, fail_fast=True)[0].passed


def test_bounds_of_decimals_lose_no_digit() -> None:
    fine = pl.Series([Decimal("100.00000000000000000001"), Decimal(100)], dtype=pl.Decimal(38, 20))
    ranges = [
        {"max": 100},
        {"max": 100.0},
        {"min": 100, "inclusive": "neither"},
        {"max": 1e300},
        {"min": 10**30},
        {"max": -1e30},
        {"min": 1e-30, "max": INF},
    ]
    assert failing(fine, *({"range": each} for each in ranges)) == [[0], [0], [1], [], [0, 1], [0, 1], []]


@given(
    step=st.integers(-300, 300),
    bound=st.decimals(-4, 4, places=3).map(float) | st.integers(-4, 4),
    side=st.sampled_from(["min", "max"]),
    inclusive=st.sampled_from(["both", "left", "right", "neither"]),
)
def test_ranges_of_decimals(step: int, bound: float, side: str, inclusive: str) -> None:
    cents = pl.Series([Decimal(step).scaleb(-2)], dtype=pl.Decimal(5, 2))
    exact = Fraction(str(bound))
    value = Fraction(step, 100)
    closed = inclusive in {"both", "left" if side == "min" else "right"}
    beyond = value < exact if side == "min" else value > exact
    fails = beyond or (value == exact and not closed)
    assert failing(cents, {"range": {side: bound, "inclusive": inclusive}}) == [[0] if fails else []]


WIDE = [-(10**300), -1e300, -1, 0, 1.5, 255, 256, 1e40, 10**300, INF]


@pytest.mark.parametrize(
    "dtype", [pl.UInt8, pl.Int8, pl.UInt64, pl.Int64, pl.Int128, pl.UInt128, pl.Float16, pl.Float32, pl.Float64]
)
@pytest.mark.parametrize("kind", ["frame", "parquet"])
def test_bounds_beyond_a_type(dtype: Any, kind: str, tmp_path: Path) -> None:
    least, most = pl.Series([0], dtype=dtype).lower_bound().item(), pl.Series([0], dtype=dtype).upper_bound().item()
    values = pl.Series("x", [least, 0, 1, most, None], dtype=dtype)
    entries: list[Any] = []
    expected = []
    for bound in WIDE:
        for inclusive in ("both", "neither"):
            for side, beyond in (("min", operator.lt), ("max", operator.gt)):
                entries.append({"range": {side: bound, "inclusive": inclusive}})
                expected.append(
                    places(values, lambda v, b=bound, f=beyond, i=inclusive: f(v, b) or (v == b and i == "neither"))
                )
    data: Any = values.to_frame()
    if kind == "parquet":
        data = tmp_path / "data.parquet"
        values.to_frame().write_parquet(data)
    report = sentrio.check(data, entries, sample_failures=100).report
    assert report is not None
    assert not report.errors
    assert [[row.row for row in each.sample] for each in report.checks] == expected


def test_narrow_floats_are_compared_as_they_hold_a_number() -> None:
    """What was written as 0.1 into 32 bits is 0.1, for sets and extremes as for ranges."""
    values = pl.Series([0.1, 0.7, NAN, INF, None], dtype=pl.Float32)
    assert failing(
        values,
        {"range": {"min": 0.1, "max": 0.7}},
        {"in_set": {"values": [0.1, 0.7, NAN]}},
        {"not_in_set": {"values": [0.1]}},
        {"foreign_key": {"column": "x", "reference": [0.1, INF]}},
        {"range": {"min": 0.1, "max": 1e300}},  # an infinity is beyond what 32 bits can not hold
    ) == [[2, 3], [3], [0], [1, 2], [2, 3]]
    finite = values.head(2)
    assert all(each.passed for each in check(finite, {"min": {"min": 0.1, "max": 0.1}}, {"max": {"max": 0.7}}))


def test_a_set_holds_what_the_column_can_hold() -> None:
    assert failing(pl.Series([1.5, NAN, -0.0]), {"in_set": {"values": [NAN, 0]}}) == [[0]]
    big = pl.Series([1, 2**128 - 1], dtype=pl.UInt128)
    assert failing(big, {"in_set": {"values": [2**128 - 1]}}) == [[0]]
    days = pl.Series([dt.timedelta(days=1), dt.timedelta(0)])
    assert failing(days, {"in_set": {"values": [dt.timedelta(days=1)]}}) == [[1]]
    assert failing(pl.Series([b"a", b"\0"]), {"not_in_set": {"values": [b"\0"]}}) == [[1]]


@pytest.mark.parametrize(
    ("values", "given_values"),
    [
        (pl.Series([dt.date(2026, 1, 1)]), [dt.datetime(2026, 1, 1, 12)]),
        (pl.Series([dt.datetime(2026, 1, 1)], dtype=pl.Datetime("ms")), ["2026-01-01T00:00:00.000001"]),
        (pl.Series([0.1], dtype=pl.Float32), [1e300]),
        (pl.Series([2.0**53]), [2**53 + 1]),
        (PRICES, [0.123]),
        (PRICES, [NAN]),
        (pl.Series([1]), [1.5]),
        (pl.Series([1], dtype=pl.UInt8), [-1]),
    ],
)
def test_a_set_of_what_the_column_can_not_hold_is_an_error(values: pl.Series, given_values: list[Any]) -> None:
    (found,) = check(values, {"in_set": {"column": "x", "values": given_values}})
    assert (found.outcome, found.message.count("can not hold the values")) == ("error", 1)


def test_values_of_a_set_may_be_an_array() -> None:
    numpy = pytest.importorskip("numpy")
    for values in (numpy.array([1, 2]), [numpy.int64(1), numpy.int64(2)], pl.Series([1, 2])):
        assert failing(pl.Series([1, 2, 3]), {"in_set": {"values": values}}) == [[2]]


OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
FLOATS = st.sampled_from(
    [0.0, -0.5, 0.5, 2.0**53, 2.0**53 + 2, 2.0**63, -(2.0**63), 2.0**64, 1e300, -1e300, INF, -INF, NAN]
)
INTEGERS = st.sampled_from([0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])


def _rank(value: float) -> tuple[int, Fraction]:
    """NaN is the greatest; all others are compared exactly."""
    if math.isnan(value):
        return 2, Fraction(0)
    return (int(math.copysign(1, value)), Fraction(0)) if math.isinf(value) else (0, Fraction(value))


@given(
    pairs=st.lists(st.tuples(st.none() | INTEGERS, st.none() | FLOATS), max_size=20),
    name=st.sampled_from(sorted(OPERATORS)),
)
def test_integers_and_floats_are_compared_exactly(pairs: list[tuple[Any, Any]], name: str) -> None:
    frame = pl.DataFrame(pairs, schema={"i": pl.Int64, "f": pl.Float64}, orient="row")
    known = [(place, pair) for place, pair in enumerate(pairs) if None not in pair]
    compare = OPERATORS[name]
    forth, back = failing(
        frame,
        {"compare": {"left": "i", "operator": name, "right": "f"}},
        {"compare": {"left": "f", "operator": name, "right": "i"}},
    )
    assert forth == [place for place, (i, f) in known if not compare(_rank(i), _rank(f))]
    assert back == [place for place, (i, f) in known if not compare(_rank(f), _rank(i))]


# Milliseconds read as microseconds, and the like: the commonest wrong dates there are.
FAR = pl.DataFrame(
    [
        pl.Series("day", [2_932_897, -800_000, 0, 0, None], dtype=pl.Int32).cast(pl.Date),
        pl.Series("us", [2**62, -(2**62), 0, 0, None], dtype=pl.Int64).cast(pl.Datetime("us")),
        pl.Series("zoned", [2**62, -(2**62), 0, 0, None], dtype=pl.Int64).cast(pl.Datetime("ms", "Asia/Tokyo")),
        pl.Series("span", [2**62, -(2**62), 0, 0, None], dtype=pl.Int64).cast(pl.Duration("ms")),
        pl.Series("list", [[2_932_897], [0], [], None, [0]], dtype=pl.List(pl.Int32)).cast(pl.List(pl.Date)),
    ]
)


@pytest.mark.parametrize("kind", ["frame", "lazy", "parquet"])
def test_times_beyond_the_calendar_are_judged_and_shown(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data: Any = FAR.lazy() if kind == "lazy" else FAR
    if kind == "parquet":
        data = tmp_path / "far.parquet"
        FAR.write_parquet(data)
    columns = ["day", "us", "zoned"]
    result = sentrio.check(
        data,
        [
            "not_null",
            {"monotonic": {"columns": [*columns, "span"]}},
            {"date_range": {"columns": columns, "min": "1960-01-01", "max": "2000-01-01"}},
            {"freshness": {"columns": columns, "max_age_seconds": 1}},
            {"in_set": {"column": "day", "values": ["1970-01-01"]}},
            {"compare": {"left": "day", "operator": "==", "right": "us"}},
        ],
        key_columns=FAR.columns,
        sample_failures=10,
    )
    assert result.report is not None
    assert not result.report.errors
    found = {each.id: each for each in result.report.checks}
    for name in columns:
        assert found[f"monotonic:{name}"].failed_count == 1
        assert found[f"date_range:{name}"].failed_count == 2
        assert found[f"freshness:{name}"].passed
    assert (found["in_set:day"].failed_count, found["compare:day,us"].failed_count) == (2, 2)
    shown = found["date_range:us"].sample[0].values
    assert (shown["day"], shown["us"]) == ("+10000-01-01", "+148108-07-06T14:00:27.387904")
    assert "panicked" not in capfd.readouterr().err


@given(days=st.integers(-719_162, 2_932_896))
def test_days_as_text(days: int) -> None:
    assert moment_text(days, pl.Date()) == (dt.date(1970, 1, 1) + dt.timedelta(days)).isoformat()


def test_years_of_more_digits() -> None:
    for days in (2_932_897, -719_163, -719_529, 10_000_000, -10_000_000):
        polars = pl.Series([days], dtype=pl.Int32).cast(pl.Date).dt.to_string("%Y-%m-%d").item()
        assert moment_text(days, pl.Date()) == polars
    assert moment_text(-1, pl.Datetime("ns", "UTC")) == "1969-12-31T23:59:59.999999999Z"


def test_nanoseconds_are_shown_in_full() -> None:
    values = pl.Series([1, 1000]).cast(pl.Datetime("ns"))
    assert python_cells(values) == ["1970-01-01T00:00:00.000000001", dt.datetime(1970, 1, 1, 0, 0, 0, 1)]


def test_a_statistic_just_beyond_its_bound_is_shown_in_full() -> None:
    (found,) = check(pl.Series([0.7, 0.1]), {"mean": {"min": 0.4}})
    assert found.message == "mean is 0.39999999999999997, expected at least 0.4"


@pytest.mark.parametrize("good", range(6))
def test_a_check_that_raises_at_any_time_takes_no_other_one_down(good: int) -> None:
    """Also while its failing rows are looked for, after it could be counted."""
    asked = 0

    def unsteady(values: pl.Series) -> pl.Series:
        nonlocal asked
        asked += bool(len(values))
        if asked > good:
            raise RuntimeError("not again")
        return values > 1

    condition = pl.col("x").map_batches(unsteady, return_dtype=pl.Boolean(), is_elementwise=True)
    first, second = check(pl.Series([1, 2, None]), {"expression": {"condition": condition}}, "not_null")
    assert first.outcome == ("error" if asked > good else "failed")
    assert (second.outcome, second.failed_count) == ("failed", 1)


def test_a_column_may_have_any_name_but_one() -> None:
    for name in ("__sentrio_value__", "__sentrio_shown__", "__sentrio_hash__", "m0", "literal", "", "x" * 5_000):
        frame = pl.DataFrame({name: [1, 3, 2, None], "other": [1, 1, 1, 1]})
        entries: list[Any] = [{"monotonic": {"column": name}}, {"unique": {"columns": [name, "other"]}}]
        assert failing(frame, *entries, {"foreign_key": {"column": name, "reference": [1]}}) == [[2], [], [1, 2]]
    (found,) = check(pl.DataFrame({"__sentrio_row__": [1]}), "not_null")
    assert found.outcome == "error"
    assert found.message == "rows are numbered in a column '__sentrio_row__'; rename the one of that name"
