"""How far a column is from a reference, by each method."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import _naive as naive
import polars as pl
import pytest
from _running import CUTS, FLOATS, Cut, columns, run
from hypothesis import given, settings
from hypothesis import strategies as st

import sentrio
from sentrio.errors import OptionValueError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere
from sentrio.validation import Distribution, ranks
from sentrio.validation.drift import chi_squared_p, upper_gamma

ONE = Cut("frame", 10, 1, 1)

ties = columns(st.sampled_from([0.0, -0.0, 1.0, 1.0, 2.5, math.nan]), pl.Float64)
spread = columns(FLOATS | st.floats(-100, 100), pl.Float64)
integers = columns(st.integers(-50, 50), pl.Int32)
narrow = columns(st.floats(-1, 1, width=32), pl.Float32)
numbers = ties | spread | integers | narrow
METHODS = ["psi", "ks", "js", "chi2"]


@pytest.mark.parametrize("room", [500_000, 3])
@settings(max_examples=max(20, settings().max_examples // 3))
@given(values=numbers, others=numbers, cut=CUTS, file=st.booleans())
def test_numbers(room: int, values: pl.Series, others: pl.Series, cut: Cut, file: bool) -> None:
    # The verdict is certain long before the distance is exact, so a threshold that it may be close to is asked for.
    mine, theirs = ([cell for cell in series.to_list() if cell is not None] for series in (values, others))
    threshold = naive.cumulative_distance(mine, theirs) + 1e-12 if mine and theirs else 0.1
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "_COLLECTED", room)
        reference: Any = others.to_frame()
        if file:
            reference = Path(folder) / "reference.parquet"
            others.to_frame().write_parquet(reference)
        entries = [{"drift": {"reference": reference, "method": method}} for method in METHODS]
        limits = (min(threshold, 1.0), max(0.0, threshold - 1e-9))
        entries += [{"drift": {"reference": reference, "method": "ks", "threshold": limit}} for limit in limits]
        report = run(values.to_frame(), entries, cut)
    for check in report.checks:
        if not mine:
            assert (check.outcome, check.message) == ("failed", "there are no values")
            continue
        if not theirs:
            assert (check.outcome, check.message) == ("error", "the column of the reference has no values")
            continue
        assert check.evaluated_count == len(mine)
    if not mine or not theirs:
        return
    psi, ks, js, chi2, close, beyond = report.checks
    counts = naive.binned(mine, theirs)
    assert psi.observed == pytest.approx(naive.psi(*counts), abs=1e-12)
    assert psi.passed == (float(psi.observed or 0) <= 0.2)
    assert js.observed == pytest.approx(naive.js(*counts), abs=1e-6)
    assert chi2.observed == pytest.approx(chi_squared_p(*counts, sampled=True), abs=1e-12)
    assert chi2.passed == (float(chi2.observed or 0) >= 0.01)
    assert ks.passed == (threshold - 1e-12 <= 0.1)
    assert close.passed
    assert beyond.passed == (threshold < 1e-9)
    if room > 100:
        assert ks.observed == pytest.approx(threshold, abs=1e-11)


LABELS = st.sampled_from(["a", "b", "c", "é", ""])


@given(
    values=columns(LABELS, pl.String) | columns(st.booleans(), pl.Boolean),
    others=columns(LABELS, pl.Categorical) | columns(st.booleans(), pl.Boolean),
    cut=CUTS,
)
def test_categories(values: pl.Series, others: pl.Series, cut: Cut) -> None:
    mine, theirs = (
        Counter(str(cell).lower() if isinstance(cell, bool) else cell for cell in series.drop_nulls().to_list())
        for series in (values, others)
    )
    methods = ["psi", "js", "chi2"]
    reference = others.to_frame("y")
    entries = [{"drift": {"reference": reference, "reference_column": "y", "method": method}} for method in methods]
    report = run(values.to_frame(), entries, cut)
    if not mine or not theirs:
        assert not any(check.passed for check in report.checks)
        return
    labels = sorted({*mine, *theirs})
    counts = [theirs[label] for label in labels], [mine[label] for label in labels]
    psi, js, chi2 = report.checks
    assert psi.observed == pytest.approx(naive.psi(*counts), abs=1e-12)
    assert js.observed == pytest.approx(naive.js(*counts), abs=1e-6)
    assert chi2.observed == pytest.approx(chi_squared_p(*counts, sampled=True), abs=1e-12)


def test_shares_of_categories() -> None:
    frame = pl.DataFrame({"t": ["a"] * 6 + ["b"] * 4, "n": [1] * 6 + [2] * 4, "b": [True] * 6 + [False] * 4})
    for column, shares in (("t", {"a": 0.5, "b": 0.5}), ("n", {1: 0.5, "2": 0.5}), ("b", {True: 0.5, False: 0.5})):
        entries = [
            {"distribution": {"column": column, "reference": shares, "method": m}} for m in ("psi", "js", "chi2")
        ]
        psi, js, chi2 = run(frame, entries, ONE).checks
        assert psi.observed == pytest.approx(0.1 * math.log(0.6 / 0.5) - 0.1 * math.log(0.4 / 0.5))
        assert js.observed == pytest.approx(naive.js([5, 5], [6, 4]))
        assert chi2.observed == pytest.approx(math.erfc(math.sqrt(0.4 / 2)))  # one degree of freedom, x = 0.4
    (check,) = run(frame, [{"drift": {"column": "t", "reference": {"a": 1.0}, "method": "chi2"}}], ONE).checks
    assert (check.outcome, check.observed) == ("failed", 0.0)


def test_a_reference_that_is_nearly_constant_does_not_hide_a_change() -> None:
    reference = pl.DataFrame({"x": [0.0] * 99 + [100.0]})
    for method in ("psi", "js", "chi2", "ks"):
        entry = {"drift": {"reference": reference, "method": method}}
        same, other = (run(pl.DataFrame({"x": [value] * 50}), [entry], ONE).checks[0] for value in (0.0, 7.0))
        assert (same.outcome, other.outcome) == ("passed", "failed"), method


@pytest.mark.parametrize(
    ("a", "x", "q"),
    [
        (0.5, 1.9207294103470555, 0.05),  # chi squared 3.841 with one degree of freedom
        (5, 9.153519026, 0.05),  # 18.307 with ten
        (50, 62.17105670, 0.05),  # 124.342 with a hundred
        (0.5, 3.317448301, 0.01),
        (1, 700.0, math.exp(-700)),
        (2.5, 0.0, 1.0),
    ],
)
def test_chi_squared_against_tables(a: float, x: float, q: float) -> None:
    assert upper_gamma(a, x) == pytest.approx(q, rel=1e-6)


@given(half=st.integers(1, 60), x=st.floats(0.001, 200))
def test_chi_squared_of_even_degrees_has_a_closed_form(half: int, x: float) -> None:
    terms = [-x + i * math.log(x) - math.lgamma(i + 1) for i in range(half)]
    assert upper_gamma(half, x) == pytest.approx(math.fsum(map(math.exp, terms)), rel=1e-9, abs=1e-15)


def test_large_columns_are_compared_without_holding_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_COLLECTED", 1_000)
    frame = pl.select(x=(pl.int_range(60_000).hash(1) % 1_000_003).cast(pl.Float64))
    other = pl.select(x=(pl.int_range(50_000).hash(2) % 1_000_003).cast(pl.Float64) * 1.02)
    exact = naive_distance(frame["x"], other["x"])
    entries = [
        {"drift": {"reference": other, "method": "ks", "threshold": limit}}
        for limit in (0.5, exact + 1e-12, exact * 0.999)
    ]
    far, near, below = run(frame, entries, Cut("frame", 7_000, 2, 1)).checks
    assert (far.passed, near.passed, below.passed) == (True, True, False)
    assert far.observed == pytest.approx(exact, abs=1e-3)


def naive_distance(first: pl.Series, second: pl.Series) -> float:
    points = pl.concat([first, second]).unique().sort()
    upto = [series.sort().search_sorted(points, side="right") / len(series) for series in (first, second)]
    distance = (upto[0] - upto[1]).abs().max()
    assert isinstance(distance, float)
    return distance


REFERENCE = pl.DataFrame({"x": [1.0, 2.0], "t": ["a", "b"]})


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"method": "psi"}, OptionValueError, "option 'method' has no meaning without a reference"),
        ({"threshold": 0.1}, OptionValueError, "option 'threshold' has no meaning without a reference"),
        (
            {"reference": REFERENCE, "max_outlier_ratio": 0.1},
            OptionValueError,
            "'max_outlier_ratio' has no meaning with",
        ),
        ({"reference": REFERENCE, "method": "kl"}, OptionValueError, "method must be one of psi, ks, js, chi2"),
        ({"reference": REFERENCE, "threshold": -1}, OptionValueError, "threshold must be a number of at least 0"),
        ({"reference": REFERENCE, "threshold": math.nan}, OptionValueError, "threshold"),
        ({"reference": {"a": 0.4, "b": 0.4}}, OptionValueError, "must add up to 1, got 0.8"),
        ({"reference": {"a": 1.5, "b": -0.5}}, OptionValueError, "share of 'a' must be from 0 to 1"),
        ({"reference": {}}, OptionValueError, "at least one category"),
        ({"reference": {"a": 1.0}, "method": "ks"}, OptionValueError, "compares numbers"),
        ({"reference": {"a": 1.0}, "reference_column": "t"}, OptionValueError, "no meaning for shares"),
        ({"reference": 7}, OptionValueError, "reference must be a path"),
        ({"reference": {"pth": "a.csv"}}, UnknownOptionError, "pth"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        Distribution(**options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"column": "x", "reference": pl.DataFrame({"y": [1]})}, "no column 'x'"),
        (
            {"column": "x", "reference": REFERENCE, "reference_column": "t"},
            "column 'x' is Float64, and that of the reference",
        ),
        ({"column": "t", "reference": REFERENCE, "method": "ks"}, "the rule applies to numeric columns"),
        ({"column": "x", "reference": {"a": 1.0}}, "'x' is Float64"),
        ({"column": "x", "reference": "none.csv"}, "the reference can not be read"),
    ],
)
def test_references_that_do_not_fit(options: dict[str, Any], problem: str) -> None:
    bad, *good = run(REFERENCE, [{"distribution": options}, "not_null"], ONE).checks
    assert bad.outcome == "error"
    assert all(check.passed for check in good)
    assert problem in bad.message


def test_too_many_categories() -> None:
    frame = pl.DataFrame({"t": [f"t{i}" for i in range(10_001)]})
    entry = {"drift": {"reference": {"a": 1.0}}}
    (check,) = run(frame, [entry], Cut("frame", 3_000, 2, 1)).checks
    assert (check.outcome, check.message) == ("error", "more than 10,000 different values are no categories")


def test_severity_is_low_without_a_reference_and_high_with_one() -> None:
    assert Distribution().severity == "low"
    assert Distribution(reference=REFERENCE).severity == "high"
    assert Distribution(severity="critical").severity == "critical"


def test_no_value_is_shown_where_none_may_be() -> None:
    frame = pl.DataFrame({"x": [987654.0] * 40 + [987655.0] * 40})
    entries: list[Any] = [{"drift": {"reference": REFERENCE, "method": method}} for method in METHODS]
    for hidden in ({"redact_columns": ["x"]}, {"sample_failures": 0}):
        result = sentrio.check(frame, [*entries, "drift"], **hidden)
        assert len(result.report.failed) == 4
        assert "98765" not in str(result.report.checks)


def test_cancelled_anywhere(tmp_path: Path, backend: Backend) -> None:
    path = tmp_path / "reference.parquet"
    REFERENCE.write_parquet(path)

    async def once() -> None:
        entry = {"drift": {"column": "x", "reference": path, "method": "psi"}}
        result = await sentrio.check_async(REFERENCE, [entry], morsel_rows=1)
        assert result.passed

    cancel_everywhere(once, backend=backend)
