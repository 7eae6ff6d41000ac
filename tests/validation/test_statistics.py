"""Statistics of columns: whatever the data and the cut, they are those of a naive implementation."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import _naive as naive
import polars as pl
import pytest
from _running import CUTS, FLOATS, INTEGERS, Cut, columns, run
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.async_core.clock import Clock
from sentrio.validation import Freshness, Histogram, Moments, Sum, ranks
from sentrio.validation.report import CheckResult

integers = columns(INTEGERS, pl.Int64)
small = columns(st.integers(-100, 100), pl.Int8)
unsigned = columns(st.integers(0, 2**64 - 1), pl.UInt64)
huge = columns(st.integers(-(2**127), 2**127 - 1), pl.Int128)
floats = columns(FLOATS, pl.Float64)
narrow = columns(st.floats(-1000, 1000, width=32), pl.Float32)
decimals = columns(st.integers(-(10**12), 10**12).map(lambda n: Decimal(n) / 100), pl.Decimal(20, 2))
numbers = integers | small | unsigned | huge | floats | narrow | decimals


def close(found: Any, expected: float, values: list[Any]) -> bool:
    """Equal but for the rounding of a sum, which is relative to the largest value."""
    scale = max((abs(float(v)) for v in values if v is not None and math.isfinite(v)), default=1.0)
    return float(found) == pytest.approx(expected, rel=1e-9, abs=1e-9 * max(scale, 1e-300), nan_ok=True)


def observed(check: CheckResult) -> float:
    assert check.observed is not None
    return float(check.observed)


@pytest.mark.parametrize("room", [500_000, 2])
@given(values=numbers, cut=CUTS, q=st.floats(0, 1) | st.sampled_from([0, 0.5, 1]))
def test_statistics(room: int, values: pl.Series, cut: Cut, q: float) -> None:
    names = ["mean", "median", "std", "sum", "min", "max"]
    entries: list[Any] = [{name: {"min": 0}} for name in names] + [{"quantile": {"q": q, "min": 0}}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "_COLLECTED", room)
        report = run(values.to_frame(), entries, cut)
    cells = values.to_list()
    expected = {
        "mean": naive.mean(cells),
        "median": naive.quantile(cells, 0.5),
        "std": naive.std(cells),
        "sum": naive.total(cells),
        "min": naive.extreme(cells, min),
        "max": naive.extreme(cells, max),
        "quantile": naive.quantile(cells, q),
    }
    present = sum(cell is not None for cell in cells)
    for check in report.checks:
        value = expected[check.name]
        assert (check.row_count, check.evaluated_count, check.failed_count) == (len(cells), present, None)
        if value is None:
            assert (check.outcome, check.observed) == ("failed", None)
            assert check.message == ("there are no values" if not present else "there are fewer than two values")
            continue
        if check.name in {"mean", "std", "sum"} and not (check.name == "sum" and values.dtype.is_integer()):
            big = max((abs(float(c)) for c in cells if c is not None and math.isfinite(c)), default=0)
            assert big >= 1e150 or close(check.observed, float(value), cells), (check, value)
        elif values.dtype.is_float() or values.dtype == pl.Decimal or check.name in {"median", "quantile"}:
            assert observed(check) == pytest.approx(float(value), rel=1e-12, abs=0, nan_ok=True)
        else:
            assert check.observed == value
        if not close(0, observed(check), cells):
            assert check.passed == (observed(check) >= 0)


def test_whole_numbers_never_wrap() -> None:
    for dtype, value in ((pl.Int64, 2**63 - 1), (pl.UInt64, 2**64 - 1), (pl.Int8, 127), (pl.Int128, 2**127 - 1)):
        frame = pl.DataFrame({"x": pl.Series([value] * 100, dtype=dtype)})
        for rows in (7, 100):
            (check,) = run(frame, [{"sum": {"min": 0}}], Cut("frame", rows, 2, 1)).checks
            assert check.observed == value * 100


def test_bounds_of_whole_numbers_are_exact() -> None:
    frame = pl.DataFrame({"x": [2**53 + 1]})
    entries: list[Any] = [{"max": {"max": 2**53}}, {"sum": {"max": 2**53}}, {"min": {"min": 2**53 + 1}}]
    first, second, third = sentrio.check(frame, entries).report.checks
    assert [first.passed, second.passed, third.passed] == [False, False, True]


@given(values=floats, cut=CUTS)
def test_metrics_for_rules_of_ones_own(values: pl.Series, cut: Cut) -> None:
    edges = (-math.inf, 0.0, 1.0, math.inf)
    metrics: list[Any] = [Moments("x"), Sum("x"), Histogram("x", edges)]
    states: list[Any] = []
    for metric in metrics:
        parts = [
            metric.state(values.slice(start, cut.morsel_rows).to_frame().select(
                expression.alias(str(i)) for i, expression in enumerate(metric.expressions(pl))
            ).row(0))
            for start in range(0, max(len(values), 1), cut.morsel_rows)
        ]  # fmt: skip
        state = parts[0]
        for part in parts[1:]:
            state = metric.merge(state, part)
        states.append(metric.finish(state))
    cells = [value for value in values.to_list() if value is not None]
    assert states[0].count == len(cells)
    counts = [0, 0, 0]
    for value in cells:
        if value == value:
            counts[0 if value < 0 else 1 if value < 1 else 2] += 1
    assert states[2] == tuple(counts)


class At(Clock):
    """A clock that stands still."""

    def __init__(self, moment: dt.datetime) -> None:
        self.moment = moment

    def now(self) -> dt.datetime:
        return self.moment


NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


@given(
    values=columns(st.datetimes(dt.datetime(2026, 11, 20), dt.datetime(2026, 11, 22)), pl.Datetime("us")),
    cut=CUTS,
    age=st.sampled_from([0, 60, 3600, 86400.5]),
    zone=st.sampled_from([None, "UTC", "Europe/Berlin"]),
)
def test_freshness(values: pl.Series, cut: Cut, age: float, zone: str | None) -> None:
    present = [value.replace(tzinfo=dt.UTC) for value in values.to_list() if value is not None]
    if zone is not None:
        values = values.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    (check,) = run(values.to_frame(), [Freshness(max_age_seconds=age, clock=At(NOON))], cut).checks
    if not present:
        assert (check.outcome, check.message) == ("failed", "there are no values")
    else:
        assert check.passed == ((NOON - max(present)).total_seconds() <= age)
    assert (check.evaluated_count, check.failed_count) == (len(present), None)


def test_freshness_of_dates_and_of_the_future() -> None:
    frame = pl.DataFrame({"d": [dt.date(2026, 11, 20), None, dt.date(2026, 11, 19)]})
    for clock, seconds, outcome, observed in (
        (NOON, 36 * 3600, "passed", "newest 2026-11-20, 1 d 12 h old"),
        (NOON, 36 * 3600 - 1, "failed", "newest 2026-11-20, 1 d 12 h old"),
        (NOON - dt.timedelta(days=2), 0, "passed", "newest 2026-11-20, 12 h in the future"),
    ):
        (check,) = sentrio.check(frame, [Freshness(max_age_seconds=seconds, clock=At(clock))]).report.checks
        assert (check.outcome, check.observed) == (outcome, observed)


def test_no_value_is_shown_where_none_may_be() -> None:
    frame = pl.DataFrame({"x": [987654, 987655, 987656]})
    entries: list[Any] = [{name: {"max": 1}} for name in ("median", "min", "max")]
    entries += [{"quantile": {"q": 0.1, "max": 1}}, {"monotonic": {"direction": "decreasing"}}]
    for hidden in ({"redact_columns": ["x"]}, {"sample_failures": 0}):
        result = sentrio.check(frame, entries, **hidden)
        assert len(result.report.failed) == 5
        assert "98765" not in str(result.report.checks)
