"""Rules about types, columns and whole rows."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import _naive as naive
import polars as pl
import pytest
from _running import CUTS, FLOATS, TEXTS, Cut, column, run
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.errors import OptionValueError
from sentrio.validation import HasSchema, HasType, make_validator

MANY_FAULTS = (
    "1 column missing, 1 column of another type, 1 column not expected; "
    "missing: x, a is Int64 instead of string, not expected: b"
)

ONE = Cut("frame", 10, 1, 1)

FRAME = pl.DataFrame(
    schema={
        "i8": pl.Int8, "u64": pl.UInt64, "f32": pl.Float32, "dec": pl.Decimal(10, 2), "s": pl.String, "c": pl.Categorical,
        "b": pl.Boolean, "d": pl.Date, "t": pl.Datetime("ms", "UTC"), "l": pl.List(pl.Int64),
        "st": pl.Struct({"a": pl.Int8}), "tm": pl.Time, "du": pl.Duration("us"), "n": pl.Null,
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "fitting"),
    [
        ("integer", "i8 u64 n"),
        ("float", "f32 n"),
        ("number", "i8 u64 f32 dec n"),
        ("string", "s c n"),
        ("Text", "s c n"),
        ("boolean", "b n"),
        ("date", "d n"),
        ("datetime", "t n"),
        ("temporal", "d t tm n"),
        ("time", "tm n"),
        ("Int8", "i8"),
        ("Datetime", "t"),
        ("Datetime('ms', 'UTC')", "t"),
        ("Datetime(time_unit='us')", ""),
        ("Decimal(10, 2)", "dec"),
        ("Decimal", "dec"),
        ("List(Int64)", "l"),
        ("List", "l"),
        ("Struct({'a': Int8})", "st"),
        ("Null", "n"),
        ("Duration", "du"),
        (pl.UInt64, "u64"),
        (pl.Datetime("ms", "UTC"), "t"),
        (pl.List(pl.Int8), ""),
    ],
)
def test_types(dtype: Any, fitting: str) -> None:
    report = run(FRAME, [{"type": {"dtype": dtype}}], ONE)
    assert [check.column for check in report.checks if check.passed] == fitting.split()
    assert not report.errors
    for check in report.failed:
        assert check.message == f"the type is {FRAME.schema[check.column or '']}, expected {check.expected}"


@pytest.mark.parametrize(
    "dtype", ["int", "Int63", "List(Int63)", "List(", "Decimal(x, y)", "__import__('os')", "List(open)", 7, None, "", "Datetime('s')"]
)  # fmt: skip
def test_unknown_types(dtype: Any) -> None:
    with pytest.raises(OptionValueError, match="dtype|type"):
        HasType(dtype=dtype)


@pytest.mark.parametrize(
    ("columns", "match", "problem"),
    [
        (["a", "b"], "exact", ""),
        (["a", "b"], "subset", ""),
        (["b", "a"], "subset", ""),
        (["b", "a"], "exact", "the order differs; the order is a, b"),
        (["a"], "subset", ""),
        (["a"], "exact", "1 column not expected; not expected: b"),
        (["a", "b", "c"], "exact", "1 column missing; missing: c"),
        (["a", "b", "c"], "subset", "1 column missing; missing: c"),
        ({"a": "integer", "b": None}, "exact", ""),
        ({"a": "Int32", "b": "string"}, "exact", "1 column of another type; a is Int64 instead of Int32"),
        ({"x": "string", "a": "string"}, "exact", MANY_FAULTS),
    ],
)  # fmt: skip
def test_schema(columns: Any, match: str, problem: str) -> None:
    frame = pl.DataFrame({"a": [1], "b": ["x"]})
    (check,) = run(frame, [{"schema": {"columns": columns, "match": match}}], ONE).checks
    assert (check.passed, check.message) == (not problem, problem)
    assert (check.id, check.column, check.failed_count) == ("schema", None, None)


@pytest.mark.parametrize("columns", [[], {}, "a", None, ["a", "a"], [1], {"a": "nope"}, {1: "integer"}])
def test_schemas_that_are_none(columns: Any) -> None:
    with pytest.raises(OptionValueError, match="columns|nope"):
        HasSchema(columns=columns)


def test_schema_of_a_file_without_header_shows_no_values_to_those_who_may_not_see_them() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text("Secret Name,1\nother,2\n")
        entry = {"schema": {"columns": ["name", "id"]}}
        assert "Secret" in str(sentrio.check(path, [entry]).to_dict())
        assert "Secret" not in str(sentrio.check(path, [entry], sample_failures=0).report.to_dict())


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(0, 40))
    few = st.sampled_from([0.0, -0.0, float("nan"), 1.0])
    return pl.DataFrame(
        {
            "x": column(draw, few, height),
            "t": column(draw, st.sampled_from(["a", "", "é"]), height),
            "l": column(draw, st.lists(st.integers(0, 1), max_size=2), height),
        },
        schema={"x": pl.Float64, "t": pl.String, "l": pl.List(pl.Int64)},
    )


@given(frame=tables(), cut=CUTS)
def test_unique_rows(frame: pl.DataFrame, cut: Cut) -> None:
    entries: list[Any] = [
        "duplicate",
        {"unique_rows": {"columns": ["x", "t"]}},
        {"unique_rows": {"nulls_equal": False}},
        {"unique_rows": {"column": "l"}},
    ]
    report = run(frame, entries, cut)
    rows = [tuple(tuple(cell) if isinstance(cell, list) else cell for cell in row) for row in frame.rows()]
    expected = [
        naive.unique(rows, nulls_equal=True),
        naive.unique([row[:2] for row in rows], nulls_equal=True),
        naive.unique(rows, nulls_equal=False),
        naive.unique([row[2:] for row in rows], nulls_equal=True),
    ]
    for check, (failed, evaluated, failing) in zip(report.checks, expected, strict=True):
        assert (check.failed_count, check.evaluated_count, check.row_count) == (failed, evaluated, len(rows)), check
        assert [item.row for item in check.sample] == failing[:3]
    assert [check.id for check in report.checks] == [
        "unique_rows",
        "unique_rows:x,t",
        "unique_rows#2",
        "unique_rows:l",
    ]
    assert all(set(item.values) == {"x", "t", "l"} for item in report.checks[0].sample)


@given(values=st.lists(st.none() | TEXTS, max_size=20), numbers=st.lists(st.none() | FLOATS, max_size=20), cut=CUTS)
def test_type_is_told_by_the_schema(values: list[Any], numbers: list[Any], cut: Cut) -> None:
    height = min(len(values), len(numbers))
    frame = pl.DataFrame({"t": values[:height], "x": numbers[:height]}, schema={"t": pl.String, "x": pl.Float64})
    first, second = run(frame, [{"type": {"dtype": "string"}}], cut).checks
    assert (first.passed, second.passed) == (True, False)
    assert first.row_count == height


def test_validators_pickle() -> None:
    entries: list[Any] = [
        {"type": {"dtype": "Datetime('us')"}},
        {"schema": {"columns": {"a": "integer", "b": "List(Int8)"}}},
        {"freshness": {"max_age_seconds": 1}},
        {"date_range": {"min": "2026-01-01"}},
        {"expression": {"condition": "a > 1"}},
    ]
    for validator in map(make_validator, entries):
        assert pickle.loads(pickle.dumps(validator)) == validator  # noqa: S301  # our own bytes
