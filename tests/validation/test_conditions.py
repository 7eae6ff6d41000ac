"""Conditions and options that could never fail, or that say something else than was meant, are errors that say so."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

import sentrio
from sentrio.errors import OptionValueError, SentrioError, UnknownOptionError

FRAME = pl.DataFrame({"a": [1, None], "s": ["x", "(null)"], "d": [dt.date(2026, 1, 1)] * 2, "b": [True, False]})


def message(entry: Any) -> str:
    report = sentrio.check(FRAME, [entry]).report
    assert report is not None
    (check,) = report.checks
    assert check.outcome == "error"
    return check.message


@pytest.mark.parametrize(
    "condition",
    ["a = NULL", "NULL < a", "NOT (a <> NULL)", "b OR a = NULL", "a IN (1, NULL)", "a BETWEEN NULL AND 3"],
)
@pytest.mark.parametrize("option", ["where", "condition"])
def test_a_comparison_with_null_is_an_error(condition: str, option: str) -> None:
    """It is null for every row, so that the check would pass whatever the data are."""
    entry: Any = {"expression": {"condition": condition}}
    if option == "where":
        entry = {"not_null": {"column": "s", "where": condition}}
    assert "write IS NULL or IS NOT NULL" in message(entry)


@pytest.mark.parametrize(
    "condition",
    ["a IS NULL", "s = '(null)'", "s <> 'a > (null)]'", "a IS NOT DISTINCT FROM NULL", "COALESCE(a, NULL) = 1"],
)
def test_null_may_stand_elsewhere(condition: str) -> None:
    report = sentrio.check(FRAME, [{"expression": {"condition": condition}}]).report
    assert report is not None
    assert not report.errors


@pytest.mark.parametrize("condition", ["d > '2026-01-01'", "d IN ('2026-01-01')"])
def test_dates_are_no_text(condition: str) -> None:
    assert "write DATE '2026-11-21'" in message({"expression": {"condition": condition}})
    assert "write DATE '2026-11-21'" in message({"not_null": {"column": "a", "where": condition}})
    dated = condition.replace("'2026", "DATE '2026")
    result = sentrio.check(FRAME, [{"expression": {"condition": dated}}])
    assert result.report is not None
    assert result.report.checks[0].failed_count == (2 if ">" in condition else 0)


def test_what_can_not_be_compared_is_told_of_the_condition() -> None:
    assert message({"not_null": {"column": "a", "where": "s > 1"}}).startswith("where: the condition can not be")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"drift": {"reference": FRAME, "method": "js", "threshold": 1.5}},
            "threshold of js must be a number from 0",
        ),
        ({"drift": {"reference": FRAME, "method": "chi2", "threshold": 2}}, "threshold of chi2 must be"),
        ({"type": {"column": "a", "dtype": "int"}}, "did you mean 'integer'?"),
        ({"type": {"column": "a", "dtype": "str"}}, "did you mean 'string'?"),
        ({"schema": {"columns": {"a": "bool"}}}, "did you mean 'boolean'?"),
    ],
)
def test_options_that_say_nothing(entry: Any, said: str) -> None:
    with pytest.raises(OptionValueError) as caught:
        sentrio.check(FRAME, [entry])
    assert said in str(caught.value)


@pytest.mark.parametrize("entry", [{"foreign_key": {"column": "a", "reference": {"path": "x.csv", "sep": ";"}}}])
def test_an_option_of_a_reference_is_told_of_its_validator(entry: Any) -> None:
    with pytest.raises(UnknownOptionError, match="foreign_key: reference: unknown option 'sep'"):
        sentrio.check(FRAME, [entry])


def test_a_member_of_a_reference_that_no_column_holds_is_an_error_of_the_option() -> None:
    from decimal import Decimal

    with pytest.raises(SentrioError):
        sentrio.check(FRAME, [{"foreign_key": {"column": "a", "reference": [Decimal("NaN")]}}])


def test_a_date_without_hyphens_is_a_whole_day() -> None:
    noon = pl.DataFrame({"t": [dt.datetime(2026, 1, 1, 12)]})
    assert sentrio.check(noon, [{"date_range": {"max": "20260101"}}]).passed


def test_a_pattern_that_is_too_long_is_told_on_one_line() -> None:
    said = message({"regex": {"column": "s", "pattern": "a{5000}{5000}"}})
    assert "\n" not in said
    assert "size limit" in said
