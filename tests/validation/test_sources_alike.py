"""The same rows give the same report, in whatever form they come; and a cancelled check leaves nothing of any."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from _formats import FORMS, SCHEMA
from hypothesis import given, settings
from hypothesis import strategies as st

import sentrio
from sentrio.testing import BACKENDS, cancel_everywhere

ENTRIES: list[Any] = [
    {"not_null": {"columns": ["i", "f", "t", "d", "b"]}},
    {"range": {"column": "i", "min": 0}},
    {"unique": {"column": "i"}},
    {"mean": {"column": "f", "min": 0, "max": 1}},
    {"in_set": {"column": "t", "values": ["a", "é", "x,y"]}},
    {"in_set": {"column": "d", "values": ["2026-11-20"]}},
    {"in_set": {"column": "b", "values": [True]}},
    {"row_count": {"min": 3}},
]

rows = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.integers(-3, 3) | st.sampled_from([2**53 - 1, -(2**53)]),
            "f": st.none() | st.floats(-5, 5).map(lambda value: round(value, 3) + 0.0),
            "t": st.none() | st.sampled_from(["a", "é", "x,y", 'q"q', "日本", "line\nbreak", "\t", "00", "NULL"]),
            "d": st.none() | st.dates(dt.date(1990, 1, 1), dt.date(2040, 1, 1)) | st.just(dt.date(2026, 11, 20)),
            "b": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)


def told(source: Any, entries: list[Any], **more: Any) -> list[Any]:
    result = sentrio.check(source, entries, **more)
    assert result.error is None, result.error
    checks = [check.to_dict() for check in result.report.checks if check.name != "type" or not check.passed]
    for check in checks:
        if isinstance(check["observed"], float):
            check["observed"] = round(check["observed"], 9)
    return [result.report.row_count, result.status, *checks]


@settings(max_examples=25)
@given(
    rows=rows,
    morsel_rows=st.none() | st.integers(1, 7),
    form=st.sampled_from([name for name in FORMS if name != "frame"]),
)
def test_the_same_rows_give_the_same_report(rows: list[dict[str, Any]], morsel_rows: int | None, form: str) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    entries = ENTRIES
    if form == "adbc":
        entries = [entry for entry in ENTRIES if entry.get("in_set", {}).get("column") not in {"d", "b"}]
    expected = told(frame, entries, morsel_rows=morsel_rows)
    with tempfile.TemporaryDirectory() as folder:
        found = told(FORMS[form](frame, Path(folder)), entries, morsel_rows=morsel_rows)
    if form == "adbc":
        for each in (*expected[2:], *found[2:]):
            each.pop("sample")
    assert found == expected


FRAME = pl.DataFrame(
    {
        "i": [1, 2, None, 2, 5] * 2,
        "f": [0.5, 1.0, 2.0, None, 3.0] * 2,
        "t": ["a", "é", None, "x", "y"] * 2,
        "d": [dt.date(2026, 11, 20)] * 10,
        "b": [True, False, None, True, True] * 2,
    },
    schema=SCHEMA,
)


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str, tmp_path: Path) -> None:
    """Each of them, since the property test only draws some."""
    skipped = {"d", "b"} if form == "adbc" else set()
    entries = [entry for entry in ENTRIES if entry.get("in_set", {}).get("column") not in skipped]
    found = told(FORMS[form](FRAME, tmp_path), entries, morsel_rows=4)
    expected = told(FRAME, entries, morsel_rows=4)
    for each in (*expected[2:], *found[2:]):
        each.pop("sample" if form == "adbc" else "name")
    assert found == expected


#: one form of each kind of source; the others differ in what is in the files
KINDS = (
    "csv", "csv.zst utf-16-le", "jsonl.gz", "ipc", "ipc stream", "parquet hive", "sqlite", "sqlalchemy", "adbc", "excel",
    "lazy", "pandas", "reader",
)  # fmt: skip


@pytest.mark.chaos
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
def test_cancelled_anywhere_a_check_leaves_nothing(
    number: int, large_counts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every backend with the large counts, else on one of them in turn."""
    form = KINDS[number]
    backends = BACKENDS if large_counts > 1 else (BACKENDS[number % len(BACKENDS)],)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr("sentrio.validation.sources.spill.MOST_BYTES", 10)
    made = FORMS[form](FRAME, tmp_path) if form != "reader" else None

    def run() -> Awaitable[object]:
        source = FORMS[form](FRAME, tmp_path) if made is None else made
        return sentrio.check_async(source, ["not_null", {"unique": {"column": "i"}}], morsel_rows=5)

    def no_files() -> None:
        assert list(scratch.iterdir()) == []

    for backend in backends:
        assert cancel_everywhere(run, backend=backend, check=no_files).points > 3
