"""Values that must occur elsewhere."""

from __future__ import annotations

import datetime as dt
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import _naive as naive
import anyio
import polars as pl
import pytest
from _running import CUTS, INTEGERS, TEXTS, Cut, column, run
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.errors import OptionValueError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere
from sentrio.validation import ForeignKey, make_validator
from sentrio.validation.report import ValidationReport
from sentrio.validation.run import Progress, Validation
from sentrio.validation.sources.files import make_source
from sentrio.validation.validators import references

ONE = Cut("frame", 10, 1, 1)

KINDS: list[tuple[Any, list[Any]]] = [
    (INTEGERS, [pl.Int64]),
    (st.integers(0, 5), [pl.Int64, pl.UInt64, pl.UInt8, pl.Int128, pl.Float64, pl.Float32]),
    (TEXTS, [pl.String, pl.Categorical]),
    (st.sampled_from([0.5, -0.0, 0.0, float("nan"), float("inf"), 2.0, 3.25]), [pl.Float64, pl.Float32]),
    (st.dates(dt.date(2026, 1, 1), dt.date(2026, 1, 9)), [pl.Date, pl.Datetime("ms"), pl.Datetime("ns")]),
    (st.booleans(), [pl.Boolean]),
    (st.integers(0, 5).map(Decimal), [pl.Decimal(10, 2), pl.Int32]),
]


@st.composite
def tables(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    values, dtypes = draw(st.sampled_from(KINDS))
    made = []
    for name in ("x", "key"):
        cells = column(draw, values, draw(st.integers(0, 25)))
        made.append(pl.Series(name, cells, dtype=draw(st.sampled_from(dtypes)), strict=False).to_frame())
    return made[0], made[1]


def alike(value: Any) -> Any:
    if isinstance(value, dt.date):
        return naive.instant(value)
    return "NaN" if value != value else value


@given(frames=tables(), cut=CUTS, kind=st.sampled_from(["frame", "lazy", "parquet", "list"]))
def test_foreign_key(frames: tuple[pl.DataFrame, pl.DataFrame], cut: Cut, kind: str) -> None:
    frame, keys = frames
    with tempfile.TemporaryDirectory() as folder:
        reference: Any = keys
        if kind == "lazy":
            reference = keys.lazy()
        elif kind == "list":
            reference = keys["key"]
        elif kind == "parquet":
            reference = Path(folder) / "keys.parquet"
            keys.write_parquet(reference)
        named = {} if kind == "list" else {"reference_column": "key"}
        entry = {"foreign_key": {"column": "x", "reference": reference, **named}}
        (check,) = run(frame, [entry], cut).checks
    known = {alike(value) for value in keys["key"].to_list() if value is not None}
    failed, evaluated, failing = naive.count_failing(lambda value: alike(value) in known, frame["x"].to_list())
    assert (check.failed_count, check.evaluated_count, check.row_count) == (failed, evaluated, frame.height), check
    assert check.passed == (not failed)
    assert [item.row for item in check.sample] == failing[:3]


def test_many_values_are_put_in_order_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_ONE_PART", 10)
    keys = pl.DataFrame({"key": [f"k{i % 700}" for i in range(2_000)]})
    frame = pl.DataFrame({"x": [f"k{i}" for i in range(1_000)]})
    entry = {"foreign_key": {"column": "x", "reference": keys, "reference_column": "key"}}
    (check,) = run(frame, [entry], Cut("frame", 100, 2, 1)).checks
    assert (check.failed_count, check.sample[0].row) == (300, 700)


def test_values_with_the_same_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair of values with one hash is not to be had, so all hashes are made alike."""
    monkeypatch.setattr(pl.Series, "hash", lambda self, *_: pl.repeat(7, len(self), dtype=pl.UInt64, eager=True))
    frame = pl.DataFrame({"x": ["1", "2", "3", "4", None, "2"]})
    (check,) = run(frame, [{"foreign_key": {"column": "x", "reference": ["2", "3", "9"]}}], ONE).checks
    assert (check.failed_count, [item.row for item in check.sample]) == (2, [0, 3])


def test_numbers_far_from_each_other() -> None:
    ends = [-(2**63), 2**63 - 1]
    frame = pl.DataFrame({"x": [*ends, 0, 5, None]})
    for reference, failed in (([*ends], 2), ([0, 5], 2), ([*range(6)], 2), ([2**63 - 1], 3), ([-(2**63)], 3)):
        (check,) = run(frame, [{"foreign_key": {"column": "x", "reference": reference}}], ONE).checks
        assert (check.failed_count, check.evaluated_count) == (failed, 4), reference


def test_the_reference_is_read_once_for_several_columns() -> None:
    read = []

    def count(batch: pl.DataFrame) -> pl.DataFrame:
        read.append(batch.height)
        return batch

    keys = pl.LazyFrame({"id": [1, 2]}).map_batches(count)
    frame = pl.DataFrame({"a": [1, 2], "b": [2, 3]})
    entry = {"foreign_key": {"columns": ["a", "b"], "reference": keys, "reference_column": "id"}}
    first, second = run(frame, [entry], ONE).checks
    assert (first.failed_count, second.failed_count) == (0, 1)
    assert read == [2]


def test_samples_show_keys_and_tolerance_counts() -> None:
    frame = pl.DataFrame({"id": [10, 11, 12], "x": [1, 5, 6]})
    entry = {"foreign_key": {"column": "x", "reference": [1, 5], "mostly": 0.5}}
    (check,) = sentrio.check(frame, [entry], key_columns=["id"]).report.checks
    assert (check.outcome, check.failed_count) == ("passed", 1)
    assert [dict(item.values) for item in check.sample] == [{"id": 12, "x": 6}]


@pytest.mark.parametrize(
    ("reference", "options", "problem"),
    [
        (pl.DataFrame({"id": [1]}), {"reference_column": "ID"}, "no column 'ID'; did you mean 'id'?"),
        (pl.DataFrame({"id": [1]}), {}, "no column 'x'"),
        (pl.DataFrame({"x": ["1"]}), {}, "column 'x' is Int64, and the values of the reference are String"),
        (pl.DataFrame({"x": [[1]]}), {}, "the values of the reference are List(Int64)"),
        (["1"], {}, "column 'x' is Int64, and the values of the reference are String"),
        ("no/such/file.parquet", {}, "there is no such file"),
    ],
)
def test_references_that_do_not_fit(reference: Any, options: dict[str, Any], problem: str) -> None:
    for height in (1, 0):
        frame = pl.DataFrame({"x": [1]}).head(height)
        entries = [{"foreign_key": {"column": "x", "reference": reference, **options}}, "not_null"]
        bad, good = run(frame, entries, ONE).checks
        assert (bad.outcome, good.outcome) == ("error", "passed")
        assert problem in bad.message


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"reference": [1]}, OptionValueError, "give 'column' or 'columns'"),
        ({"column": "x"}, OptionValueError, "option 'reference' is missing"),
        ({"column": "x", "reference": [1, "a"]}, OptionValueError, "of one type"),
        ({"column": "x", "reference": [1], "reference_column": "y"}, OptionValueError, "has no columns"),
        ({"column": "x", "reference": 7}, OptionValueError, "reference must be a path"),
        ({"column": "x", "reference": {"pth": "a.csv"}}, UnknownOptionError, "pth"),
        ({"column": "x", "reference": "a.docx"}, OptionValueError, "names no format"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        ForeignKey(**options)


def test_paths_of_references_start_from_the_folder_of_the_checkpoint(tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, 2]}).write_csv(tmp_path / "keys.csv")
    entry = {"foreign_key": {"column": "x", "reference": "keys.csv", "reference_column": "id"}}
    checkpoint = sentrio.Checkpoint("a", pl.DataFrame({"x": [1, 3]}), [entry], base_dir=tmp_path)
    assert checkpoint.run().report.checks[0].failed_count == 1


def test_cancelled_anywhere(tmp_path: Path, backend: Backend) -> None:
    path = tmp_path / "keys.parquet"
    pl.DataFrame({"id": range(50)}).write_parquet(path, row_group_size=10)
    frame = pl.DataFrame({"x": range(60)})
    entry = {"foreign_key": {"column": "x", "reference": path, "reference_column": "id"}}

    async def once() -> None:
        result = await sentrio.check_async(frame, [entry], morsel_rows=30)
        assert result.report.checks[0].failed_count == 10

    cancel_everywhere(once, backend=backend)


def test_reading_stops_at_the_first_value_that_does_not_occur() -> None:
    frame = pl.DataFrame({"x": range(1_000)})
    entries = [{"foreign_key": {"column": "x", "reference": range(1, 1_000)}}, {"unique": {"column": "x"}}]
    seen: list[tuple[int, int]] = []

    async def main() -> sentrio.CheckpointResult:
        checkpoint = sentrio.Checkpoint("a", frame, entries, fail_fast=True, morsel_rows=10)
        return await checkpoint.run_async(on_progress=lambda progress: seen.append((progress.phase, progress.rows)))

    result = anyio.run(main)
    first, second = result.report.checks
    assert (result.status, result.report.complete) == ("failure", False)
    assert (first.outcome, first.failed_count) == ("failed", 1)
    assert [item.row for item in first.sample] == [0]
    assert second.outcome in {"passed", "not_evaluated"}
    assert max(rows for phase, rows in seen if phase == 2) < 1_000


def test_a_run_that_ends_early_does_not_let_it_pass() -> None:
    """All rows seen so far are fine, and the one that is not would have come."""
    frame = pl.DataFrame({"x": [*range(999), -1]})
    entry = {"foreign_key": {"column": "x", "reference": range(1_000)}}

    async def main() -> ValidationReport:
        validation = Validation(make_source(frame), [make_validator(entry)], morsel_rows=10, in_flight=1)
        with anyio.CancelScope() as scope:

            def look(progress: Progress) -> None:
                if progress.phase == 2 and progress.rows > 100:
                    scope.cancel()

            validation.on_progress = look
            await validation.run()
        return validation.report()

    (check,) = anyio.run(main).checks
    assert (check.outcome, check.failed_count) == ("not_evaluated", None)
