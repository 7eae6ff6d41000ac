"""Outliers, and the quantiles behind them."""

from __future__ import annotations

import math
from typing import Any

import _naive as naive
import polars as pl
import pytest
from _running import CUTS, FLOATS, INTEGERS, Cut, columns, run
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.validation import ranks

floats = columns(FLOATS | st.floats(), pl.Float64)
integers = columns(INTEGERS, pl.Int64)
close = columns(st.sampled_from([1.0, 1.0, 2.0, 3.0, 1000.0, -1000.0, math.nan, math.inf, -math.inf]), pl.Float64)


@pytest.fixture(autouse=True, params=["collected", "bins"])
def sizes(request: pytest.FixtureRequest) -> Any:
    """Little room, so that small data take many passes."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "collected":
            patch.setattr(ranks, "_COLLECTED", 2)
        yield


@given(values=floats | integers | close, cut=CUTS, most=st.sampled_from([0, 0.01, 0.2, 1]))
def test_outliers(values: pl.Series, cut: Cut, most: float) -> None:
    report = run(values.to_frame(), [{"outliers": {"max_outlier_ratio": most}}, "distribution"], cut)
    expected = naive.outliers(values.to_list())
    for check, allowed in zip(report.checks, (most, 0.01), strict=True):
        present = [value for value in values.to_list() if value is not None]
        assert (check.row_count, check.evaluated_count) == (len(values), len(present))
        assert check.severity == "low"
        if expected is None:
            assert (check.outcome, check.failed_count) == ("failed", None)
            continue
        assert check.failed_count == len(expected)
        assert check.passed == (len(expected) / len(present) <= allowed)
        assert [item.row for item in check.sample] == expected[:3]


@given(values=floats | integers | close, cut=CUTS)
def test_finite(values: pl.Series, cut: Cut) -> None:
    (check,) = run(values.to_frame(), ["finite"], cut).checks
    failed, evaluated, failing = naive.count_failing(math.isfinite, values.to_list())
    assert (check.failed_count, check.evaluated_count, check.passed) == (failed, evaluated, not failed)
    assert [item.row for item in check.sample] == failing[:3]


def test_samples_show_key_columns_and_hide_redacted_ones() -> None:
    frame = pl.DataFrame({"id": range(20), "x": [1.0] * 19 + [987654.0]})
    entry = {"outliers": {"column": "x", "max_outlier_ratio": 0}}
    result = sentrio.check(frame, [entry], key_columns=["id"])
    assert [(item.row, item.values) for item in result.report.checks[0].sample] == [(19, {"id": 19, "x": 987654.0})]
    for hidden in ({"redact_columns": ["x"]}, {"sample_failures": 0}):
        assert "987654" not in str(sentrio.check(frame, [entry], **hidden).report.checks)


def test_no_values() -> None:
    frame = pl.DataFrame({"x": [None, None]}, schema={"x": pl.Float64})
    (check,) = sentrio.check(frame, ["outliers"]).report.checks
    assert (check.outcome, check.message) == ("failed", "there are no values")
    frame = pl.DataFrame({"x": [None, None]})
    (check,) = sentrio.check(frame, ["outliers"]).report.checks
    assert (check.outcome, check.message) == ("failed", "there are no values")
