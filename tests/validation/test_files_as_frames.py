"""What is found does not depend on whether the data are a frame or a file, nor on how they are cut."""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from _running import Cut, column, run
from hypothesis import given, settings
from hypothesis import strategies as st

from sentrio.async_core.clock import Clock
from sentrio.validation import Freshness
from sentrio.validation.report import CheckResult


class Fixed(Clock):
    """A clock that stands still."""

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(0, 30))
    floats = st.floats(-5, 5, width=16) | st.sampled_from([math.nan, math.inf, -math.inf, 100.0])
    texts = st.sampled_from(["a", "é", "日本", "2026-01-01", "a@b.co", "A1", "1,2", '"q"'])
    return pl.DataFrame(
        {
            "n": column(draw, st.integers(-5, 5), height),
            "m": column(draw, st.integers(-5, 5), height),
            "x": column(draw, floats, height),
            "t": column(draw, texts, height),
            "d": column(draw, st.dates(dt.date(2026, 1, 1), dt.date(2026, 1, 9)), height),
        },
        schema={"n": pl.Int64, "m": pl.Int64, "x": pl.Float64, "t": pl.String, "d": pl.Date},
    )


REFERENCE = pl.DataFrame({"n": [-5, -1, 0, 0, 3], "x": [0.5, 1.0, 1.0, 4.0, -2.0], "t": ["a", "a", "é", "A1", "b"]})

ENTRIES: list[Any] = [
    "not_null",
    {"completeness": {"min_ratio": 0.5}},
    "unique",
    {"unique": {"columns": ["n", "t"], "nulls_equal": True}},
    "unique_rows",
    {"range": {"min": -2, "max": 3}},
    "finite",
    {"in_set": {"values": ["a", "é"]}},
    {"not_in_set": {"values": [1, 2]}},
    {"regex": {"pattern": "^[a-z]"}},
    {"not_regex": {"pattern": "[0-9]"}},
    {"length": {"max": 2}},
    {"format": {"kind": "email"}},
    {"format": {"kind": "date"}},
    {"type": {"dtype": "number"}},
    {"schema": {"columns": {"n": "integer", "t": "string"}, "match": "subset"}},
    {"row_count": {"min": 5}},
    *({name: {"min": 0}} for name in ("mean", "median", "std", "sum", "min", "max")),
    {"quantile": {"q": 0.3, "min": 0}},
    "monotonic",
    {"date_range": {"min": "2026-01-03", "max": "2026-01-07"}},
    Freshness(max_age_seconds=3e7, clock=Fixed()),
    *({"drift": {"column": "x", "reference": REFERENCE, "method": method}} for method in ("psi", "ks", "js", "chi2")),
    {"drift": {"column": "t", "reference": REFERENCE}},
    {"outliers": {"max_outlier_ratio": 0}},
    {"compare": {"left": "n", "operator": "<", "right": "m"}},
    {"foreign_key": {"column": "n", "reference": REFERENCE}},
    {"expression": {"condition": "n < m OR x > 0"}},
]


def alike(first: CheckResult, second: CheckResult) -> bool:
    mine, theirs = first.to_dict(), second.to_dict()
    seen = [fields.pop("observed") for fields in (mine, theirs)]
    if mine["message"] != theirs["message"]:
        fields = [fields.pop("message") for fields in (mine, theirs)]
        if "is" not in fields[0]:
            return False
    if isinstance(seen[0], float) and isinstance(seen[1], float | int):
        return mine == theirs and seen[0] == pytest.approx(seen[1], rel=1e-9, abs=1e-9)
    return bool(mine == theirs and seen[0] == seen[1])


@settings(max_examples=max(20, settings().max_examples // 3))
@given(
    frame=tables(), morsel_rows=st.integers(1, 40), in_flight=st.integers(1, 4), group=st.integers(1, 20),
    where=st.none() | st.sampled_from(["n > 0", "x IS NOT NULL AND t <> 'a'"]),
)  # fmt: skip
def test_files_as_frames(
    frame: pl.DataFrame, morsel_rows: int, in_flight: int, group: int, where: str | None
) -> None:
    entries = [
        {entry: {"where": where}} if isinstance(entry, str)
        else {name: {**options, "where": where} for name, options in entry.items()} if isinstance(entry, dict)
        else entry
        for entry in ENTRIES
    ]  # fmt: skip
    whole = run(frame, entries, Cut("frame", 1_000, 1, 1)).checks
    with tempfile.TemporaryDirectory() as folder:
        csv, parquet = Path(folder) / "data.csv", Path(folder) / "data.parquet"
        frame.write_csv(csv)
        frame.write_parquet(parquet, row_group_size=group)
        types = {"n": "integer", "m": "integer", "x": "float", "t": "string", "d": "date"}
        for data in (frame, parquet, {"path": csv, "schema": types}):
            checks = run(data, entries, Cut("frame", morsel_rows, in_flight, 1)).checks
            assert [check.id for check in checks] == [check.id for check in whole]
            for mine, theirs in zip(whole, checks, strict=True):
                assert alike(mine, theirs), (data, mine, theirs)
