"""No check passes in silence: whatever is misspelt, mistyped or contradictory is an error that names it."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from _running import Cut, run
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.errors import OptionValueError, SentrioError, UnknownNameError, UnknownOptionError
from sentrio.validation import make_validator
from sentrio.validation.validators import _CLASSES, REGISTRY, Validator, validator_names

ONE = Cut("frame", 10, 1, 1)

FRAME = pl.DataFrame(
    {"n": [1, 2], "m": [1, 2], "x": [1.0, 2.0], "t": ["a", "b"], "b": [True, False],
     "d": [dt.date(2026, 1, 1)] * 2, "l": [[1], [2]]},
)  # fmt: skip

#: options with which each validator holds, on a column of :data:`FRAME`
SOUND: dict[str, dict[str, Any]] = {
    "not_null": {"column": "n"},
    "completeness": {"column": "n", "min_ratio": 0.5},
    "unique": {"column": "n"},
    "unique_rows": {"column": "n"},
    "range": {"column": "n", "min": 0, "max": 5},
    "finite": {"column": "x"},
    "in_set": {"column": "n", "values": [1, 2]},
    "not_in_set": {"column": "n", "values": [3]},
    "regex": {"column": "t", "pattern": "^[a-z]$"},
    "not_regex": {"column": "t", "pattern": "[0-9]"},
    "length": {"column": "t", "min": 1, "max": 1},
    "format": {"column": "s", "kind": "date"},
    "type": {"column": "n", "dtype": "integer"},
    "schema": {"columns": ["n"], "match": "subset"},
    "row_count": {"min": 1, "max": 5},
    "mean": {"column": "x", "min": 0, "max": 5},
    "median": {"column": "x", "min": 0, "max": 5},
    "std": {"column": "x", "min": 0, "max": 5},
    "sum": {"column": "x", "min": 0, "max": 5},
    "min": {"column": "x", "min": 0, "max": 5},
    "max": {"column": "x", "min": 0, "max": 5},
    "quantile": {"column": "x", "q": 0.5, "min": 0, "max": 5},
    "monotonic": {"column": "n", "direction": "increasing", "strict": True},
    "date_range": {"column": "d", "min": "2026-01-01", "max": "2026-01-01"},
    "freshness": {"column": "d", "max_age_seconds": 1e12},
    "distribution": {"column": "x", "reference": FRAME, "method": "psi", "threshold": 0.1},
    "outliers": {"column": "x", "max_outlier_ratio": 0.1},
    "compare": {"left": "n", "operator": "==", "right": "m"},
    "foreign_key": {"column": "n", "reference": FRAME, "reference_column": "m"},
    "expression": {"condition": "n > 0"},
}
FRAME = FRAME.with_columns(s=pl.Series(["2026-01-01", "2026-01-02"]))

COMMON = {"severity": "low", "where": "n > 0", "name": "a name", "description": "why", "dimension": "accuracy"}
TOLERANT = {"mostly": 0.5, "max_failed": 1}

#: values that no option takes, whatever it is
NONSENSE = [
    math.nan,
    -1,
    -1.5,
    7j,
    object(),
    b"x",
    [],
    {},
    [None],
    {"a": object()},
    dt.timedelta(1),
    "no such thing",
    "",
]
#: what of it some option takes after all
TAKES: dict[str, Any] = {
    "min": (-1, -1.5), "max": (-1, -1.5), "threshold": (), "where": ("no such thing",), "name": ("no such thing",),
    "description": ("no such thing",), "dimension": ("no such thing",), "pattern": ("no such thing",),
    "column": ("", "no such thing"), "left": ("", "no such thing"), "right": ("", "no such thing"),
    "reference_column": ("", "no such thing"), "condition": ("no such thing",), "reference": ([],),
}  # fmt: skip


def test_every_validator_is_there() -> None:
    names = {make_validator({name: options}).validator_name for name, options in SOUND.items()}
    assert names == set(SOUND) == {cls.validator_name for cls in _CLASSES}


def _class(name: str) -> type[Validator]:
    return REGISTRY.find(name)


@pytest.mark.parametrize("name", sorted(SOUND))
def test_the_sound_options_pass_as_name_entry_and_class(name: str) -> None:
    cls = _class(name)
    entries = [{alias: SOUND[name]} for alias in (name, *cls.aliases)]
    results = [run(FRAME, [entry], ONE).checks for entry in [*entries, cls(**SOUND[name])]]
    assert all(len(checks) == 1 and checks[0].passed for checks in results), results
    assert all(checks == results[0] for checks in results)
    full = {**SOUND[name], **COMMON, **(TOLERANT if hasattr(cls, "mostly") else {})}
    (check,) = run(FRAME, [{name: full}], ONE).checks
    assert (check.id, check.passed, check.severity) == ("a name", True, "low"), check
    assert (check.description, check.dimension) == ("why", "accuracy")


@given(name=st.sampled_from(sorted(SOUND)), data=st.data())
def test_a_misspelt_option_is_an_error_with_the_nearest_name(name: str, data: st.DataObject) -> None:
    known = [*SOUND[name], *COMMON]
    right = data.draw(st.sampled_from(known))
    at = data.draw(st.integers(0, len(right) - 1))
    wrong = right[:at] + data.draw(st.sampled_from(["", "x", "_", "é"])) + right[at + 1 :]
    options = {key: value for key, value in SOUND[name].items() if key != right} | {
        wrong: SOUND[name].get(right, "x")
    }
    if wrong in known or not wrong:
        return
    with pytest.raises(UnknownOptionError) as caught:
        make_validator({name: options})
    assert repr(wrong) in str(caught.value)
    assert name in str(caught.value)


@given(name=st.sampled_from(sorted(SOUND)), option=st.data(), value=st.sampled_from(NONSENSE))
def test_a_bad_value_is_an_error_that_names_the_option(name: str, option: st.DataObject, value: Any) -> None:
    tolerant = TOLERANT if hasattr(_class(name), "mostly") else {}
    bad = option.draw(st.sampled_from(sorted({**SOUND[name], **COMMON, **tolerant})))
    if any(type(value) is type(taken) and value == taken for taken in TAKES.get(bad, ())) and name not in {
        "length", "row_count", "date_range",
    }:  # fmt: skip
        return
    if bad in {"reference_column", "left", "right", "column"} and isinstance(value, str):
        return  # a name like any other, which the data will be asked for
    if isinstance(value, str) and value and bad in COMMON and bad != "severity":
        return
    with pytest.raises(SentrioError) as caught:
        make_validator({name: {**SOUND[name], bad: value}})
    assert isinstance(caught.value, OptionValueError | UnknownOptionError)
    assert bad in str(caught.value) or repr(value) in str(caught.value) or "reference" in str(caught.value)


@pytest.mark.parametrize("name", sorted(SOUND))
def test_what_is_missing_is_named(name: str) -> None:
    for option in set(SOUND[name]) & {"min_ratio", "values", "pattern", "kind", "dtype", "q", "max_age_seconds",
                                      "left", "operator", "right", "condition"}:  # fmt: skip
        options = {key: value for key, value in SOUND[name].items() if key != option}
        with pytest.raises(OptionValueError, match=option):
            make_validator({name: options})


@pytest.mark.parametrize(
    "entry",
    [
        {"range": {"min": 5, "max": 1}},
        {"range": {"min": 5, "max": 5, "inclusive": "left"}},
        {"length": {"min": 5, "max": 1}},
        {"length": {}},
        {"row_count": {}},
        {"row_count": {"min": 5, "max": 1}},
        {"mean": {}},
        {"sum": {"min": 5, "max": 1}},
        {"quantile": {"q": 0.5}},
        {"quantile": {"q": 1.5, "min": 0}},
        {"date_range": {}},
        {"date_range": {"min": "2026-01-02", "max": "2026-01-01"}},
        {"date_range": {"min": "2026-01-01T12:00", "max": "2026-01-01T11:59Z"}},
        {"date_range": {"min": "21.11.2026"}},
        {"date_range": {"min": 2026}},
        {"compare": {"left": "n", "operator": "==", "right": "n"}},
        {"compare": {"left": "n", "operator": "=", "right": "m"}},
        {"in_set": {"values": []}},
        {"in_set": {"values": [1, "a"]}},
        {"not_in_set": {"values": [1, None]}},
        {"not_null": {"column": "n", "columns": ["n"]}},
        {"not_null": {"columns": ["n", "n"]}},
        {"not_null": {"columns": []}},
        {"not_null": {"mostly": 95}},
        {"not_null": {"max_failed": 0.5}},
        {"not_null": {"severity": "hihg"}},
        {"outliers": {"max_outlier_ratio": 2}},
        {"foreign_key": {"reference": [1]}},
        {"expression": {"condition": " "}},
        {"expression": {"condition": 7}},
        {"not_null": [1]},
        {"not_null": {}, "unique": {}},
        {},
        7,
        None,
    ],
    ids=str,
)
def test_contradictions(entry: Any) -> None:
    with pytest.raises(OptionValueError):
        make_validator(entry)


@pytest.mark.parametrize("bound", ["2026-01-01", dt.date(2026, 1, 1), dt.time(12)])
def test_a_range_of_dates_is_told_who_can_do_that(bound: Any) -> None:
    with pytest.raises(
        OptionValueError, match="min must be a number, got .*; for dates and times there is date_range"
    ):
        make_validator({"range": {"column": "d", "min": bound}})


def test_dates_that_are_texts_are_told_how_to_become_dates() -> None:
    (check,) = run(FRAME, [{"date_range": {"column": "t", "min": "2026-01-01"}}], ONE).checks
    assert check.message is not None
    assert check.message.endswith("the source's option `schema: {t: date}`)")


@given(name=st.sampled_from(sorted(validator_names())), at=st.integers(0, 12), char=st.sampled_from(["", "x", "é"]))
def test_a_misspelt_validator_is_an_error(name: str, at: int, char: str) -> None:
    at %= len(name)
    wrong = name[:at] + char + name[at + 1 :]
    if wrong in validator_names():
        return
    with pytest.raises(UnknownNameError, match="did you mean|known are"):
        make_validator(wrong)


@given(name=st.sampled_from(sorted(SOUND)), wrong=st.sampled_from(["N", "nn", "X", "", "é", "no such column"]))
def test_a_missing_column_is_an_error_and_takes_no_other_check_down(name: str, wrong: str) -> None:
    options = dict(SOUND[name])
    named = next((option for option in ("column", "left") if option in options), None)
    if named is None:
        if name == "row_count":
            return
        options = (
            {"columns": ["n", wrong], "match": "subset"} if name == "schema" else {"condition": f'"{wrong}" > 0'}
        )
    else:
        options[named] = wrong
    bad, good = run(FRAME, [{name: options}, "not_null"], ONE).checks[:2]
    assert bad.outcome == ("failed" if name == "schema" else "error"), bad
    assert not wrong or wrong in bad.message
    assert good.passed


#: a column of a type that the rule does not take
WRONG_TYPE = {
    "range": "t", "finite": "t", "regex": "n", "not_regex": "d", "length": "n", "format": "x", "mean": "t", "median": "b",
    "std": "t", "sum": "t", "min": "t", "max": "d", "quantile": "l", "monotonic": "t", "date_range": "t",
    "freshness": "n", "distribution": "l", "outliers": "t", "in_set": "t", "not_in_set": "b", "foreign_key": "l",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WRONG_TYPE))
def test_a_column_of_another_type_is_an_error_that_names_it(name: str) -> None:
    wrong = WRONG_TYPE[name]
    bad, *good = run(FRAME, [{name: {**SOUND[name], "column": wrong}}, "not_null"], ONE).checks
    assert bad.outcome == "error"
    assert repr(wrong) in bad.message
    assert str(FRAME.schema[wrong]) in bad.message
    assert all(check.passed for check in good)


@pytest.mark.parametrize("name", sorted(set(SOUND) - {"row_count", "schema", "compare", "expression", "foreign_key"}))
def test_without_a_column_a_rule_applies_to_all_that_fit_or_says_that_none_does(name: str) -> None:
    options = {option: value for option, value in SOUND[name].items() if option != "column"}
    checks = run(FRAME, [{name: options}], ONE).checks
    assert checks
    assert all(check.outcome != "error" for check in checks) or name == "distribution", checks
    nothing = pl.DataFrame({"l": [[1]]})
    (check,) = run(nothing, [{name: options}], ONE).checks
    if name in {"not_null", "completeness", "unique", "unique_rows"}:
        assert check.passed
    elif name == "type":
        assert check.outcome == "failed"
    else:
        assert check.outcome == "error"
        assert "no column fits" in check.message


@pytest.mark.parametrize("name", sorted(SOUND))
@pytest.mark.parametrize("where", ["nope > 1", "n >", "n", "t > 1"])
def test_a_bad_condition_is_an_error(name: str, where: str) -> None:
    bad, *good = run(FRAME, [{name: {**SOUND[name], "where": where}}, "not_null"], ONE).checks
    assert bad.outcome == "error", bad
    assert bad.message
    assert all(check.passed for check in good)


@pytest.mark.parametrize("name", sorted(SOUND))
def test_no_rows(name: str) -> None:
    """Rules about rows hold on no rows; a statistic of no values fails."""
    statistics = {"mean", "median", "std", "sum", "min", "max", "quantile", "freshness", "distribution", "outliers"}
    (check,) = run(FRAME.head(0), [{name: SOUND[name]}], ONE).checks
    assert check.outcome == ("failed" if name in statistics | {"row_count"} else "passed"), check
    if name in statistics:
        assert check.message == "there are no values"


@pytest.mark.parametrize("name", sorted(SOUND))
def test_a_column_without_any_value(name: str) -> None:
    """Its type may be unknown, as in a CSV file: the answer is the same, and never an error."""
    columns = {value for option, value in SOUND[name].items() if option in {"column", "left", "right"}} or {"n"}
    frame = FRAME.with_columns(pl.lit(None).alias(column) for column in columns)
    typed = FRAME.with_columns(pl.lit(None, dtype=FRAME.schema[column]).alias(column) for column in columns)
    answers = [run(data, [{name: SOUND[name]}], ONE).checks[0] for data in (frame, typed)]
    if name != "expression":
        assert answers[0].outcome == answers[1].outcome, answers
        assert (answers[0].failed_count, answers[0].row_count) == (answers[1].failed_count, answers[1].row_count)
    assert answers[1].outcome != "error"


@pytest.mark.parametrize("hidden", [{"redact_columns": ["secret"]}, {"sample_failures": 0}])
def test_no_value_leaks(hidden: dict[str, Any]) -> None:
    """A column whose every value is easily recognised, and every rule that fails on it."""
    frame = pl.DataFrame({"secret": [77701, *[77702] * 8, 99977703], "other": [0] * 10})
    texts = frame.select(pl.col("secret").cast(pl.String), "other")
    days = pl.DataFrame({"secret": [dt.date(1997, 7, 7), dt.date(1997, 7, 6)], "other": [1, 2]})
    failing: list[tuple[pl.DataFrame, Any]] = [
        (frame, {"range": {"max": 1}}), (frame, {"in_set": {"values": [1]}}), (frame, "unique"),
        (frame, {"unique_rows": {"column": "secret"}}), (frame, {"duplicate": {}}),
        *((frame, {name: {"max": 1}}) for name in ("mean", "median", "sum", "min", "max")),
        (frame, {"std": {"max": 0}}), (frame, {"quantile": {"q": 0.3, "max": 1}}),
        (frame, {"monotonic": {"direction": "decreasing"}}), (frame, {"outliers": {"max_outlier_ratio": 0}}),
        (frame, {"compare": {"left": "secret", "operator": "<", "right": "other"}}),
        (frame, {"expression": {"condition": "secret < other"}}),
        (frame, {"foreign_key": {"column": "secret", "reference": [1]}}),
        (frame, {"drift": {"column": "secret", "reference": frame.select(pl.col("secret") * 9)}}),
        (texts, {"regex": {"pattern": "^x"}}), (texts, {"not_regex": {"pattern": "7"}}), (texts, {"length": {"max": 1}}),
        (texts, {"format": {"kind": "uuid"}}), (texts, {"drift": {"column": "secret", "reference": {"x": 1.0}}}),
        (days, {"date_range": {"max": "1990-01-01"}}), (days, {"freshness": {"max_age_seconds": 1}}),
        (days, {"monotonic": {"column": "secret"}}),
    ]  # fmt: skip
    for data, entry in failing:
        result = sentrio.check(data, [entry], **hidden)
        assert any(not check.passed for check in result.report.checks), entry
        told = str(result.report.checks) + str(result)  # not the time of the run, whose digits may be any
        for mark in ("7770", "997770", "1997"):
            assert mark not in told, (entry, told)


@pytest.mark.parametrize("name", ["*", "^a.*$", "^$"])
def test_a_column_whose_name_is_a_pattern_is_an_error_and_no_other_column(name: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({name: [1, None], "ab": [1, 1]})
    frame.write_parquet(tmp_path / "data.parquet")
    for data in (frame, tmp_path / "data.parquet"):
        result = sentrio.check(
            data, ["not_null", "unique_rows", {"unique": {"columns": [name, "ab"]}}, {"row_count": {"min": 1}}]
        )
        outcomes = {check.column or check.name: str(check.outcome) for check in result.report.checks}
        assert outcomes["ab"] == "passed"
        assert outcomes["row_count"] == "passed"
        assert outcomes.pop(f"{name},ab") == "error"
        assert outcomes.pop(name) == "error"
        assert f"rename column {name!r}" in result.report.errors[0].message
        assert result.status == "error"
