"""What a report says of checks when reading ended before all rows were seen."""

from __future__ import annotations

import functools
from typing import Any

import anyio
import polars as pl
import pytest

from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.validation.report import ValidationReport
from sentrio.validation.run import Progress, Validation
from sentrio.validation.samples import SampleOptions
from sentrio.validation.sources.files import make_source
from sentrio.validation.validators import make_validator

FRAME = pl.DataFrame({"x": [*range(999), -1], "y": [None] + [1.0] * 999, "z": [1] * 500 + [2] * 500})

# By the outcome while only the beginning was seen, and then what holds of all rows.
ENTRIES: dict[str, tuple[Any, str, str]] = {
    "a row fails for certain": ({"not_null": {"column": "y"}}, "failed", "failed"),
    "the row that fails comes last": ({"range": {"column": "x", "min": 0}}, "not_evaluated", "failed"),
    "nothing fails": ({"not_null": {"column": "x"}}, "not_evaluated", "passed"),
    "a share may fail": ({"not_null": {"column": "y", "mostly": 0.9}}, "not_evaluated", "passed"),
    "too small a share holds, as yet": (
        {"in_set": {"column": "z", "values": [2], "mostly": 0.4}},
        "not_evaluated",
        "passed",
    ),
    "more than may fail": ({"in_set": {"column": "z", "values": [2], "max_failed": 9}}, "failed", "failed"),
    "a mean, outside as yet": ({"mean": {"column": "z", "min": 1.2}}, "not_evaluated", "passed"),
    "a mean, within as yet": ({"mean": {"column": "z", "max": 1.2}}, "not_evaluated", "failed"),
    "a greatest value": ({"max": {"column": "x", "max": 50}}, "failed", "failed"),
    "a completeness": ({"completeness": {"column": "y", "min_ratio": 0.5}}, "not_evaluated", "passed"),
    "an order": ({"monotonic": {"column": "x"}}, "not_evaluated", "failed"),
    "too many rows": ({"row_count": {"max": 5}}, "failed", "failed"),
    "as many rows as may be": ({"row_count": {"max": 500}}, "not_evaluated", "failed"),
    "a type": ({"type": {"column": "x", "dtype": "integer"}}, "passed", "passed"),
    "another type": ({"type": {"column": "x", "dtype": "string"}}, "failed", "failed"),
    "the columns": ({"schema": {"columns": ["x", "y", "z"]}}, "passed", "passed"),
    "repeated values": ({"unique": {"column": "x"}}, "not_evaluated", "passed"),
    "a condition": ({"expression": {"condition": "x >= 0"}}, "not_evaluated", "failed"),
    "outliers": ({"outliers": {"column": "z"}}, "not_evaluated", "not_evaluated"),  # which take a second pass
}


async def ended_at(rows: int, phase: int, **options: Any) -> ValidationReport:
    """Return the report of a run that is cancelled once it has come so far."""
    rules = [make_validator(entry) for entry, _, _ in ENTRIES.values()]
    validation = Validation(make_source(FRAME), rules, morsel_rows=10, in_flight=1, **options)
    with anyio.CancelScope() as scope:

        def look(progress: Progress) -> None:
            if progress.phase == phase and progress.rows >= rows:
                scope.cancel()

        validation.on_progress = look
        await validation.run()
    return validation.report()


@functools.cache
def told(rows: int, phase: int) -> dict[str, Any]:
    return dict(zip(ENTRIES, anyio.run(ended_at, rows, phase).checks, strict=True))


@pytest.mark.parametrize("what", ENTRIES)
def test_what_only_a_part_of_the_rows_says_is_no_verdict(what: str) -> None:
    _, early, finally_ = ENTRIES[what]
    check = told(100, 1)[what]
    assert check.outcome == early
    assert check.row_count == 100
    assert told(100, 2)[what].outcome == finally_  # all rows were seen by these, while others look once more


def test_what_was_seen_is_reported_beside() -> None:
    seen = told(100, 1)
    check = seen["a share may fail"]
    assert (check.failed_count, check.evaluated_count, check.observed) == (1, 100, "99 % not null")
    assert [item.row for item in check.sample] == [0]
    assert check.message == "reading stopped before all rows were seen"
    assert seen["a mean, outside as yet"].observed == 1.0
    assert not [check for check in seen.values() if check.passed and check.name not in {"type", "schema"}]


async def test_a_part_shows_no_more_than_the_whole() -> None:
    report = await ended_at(100, 1, samples=SampleOptions(redact_columns=("x", "y", "z")))
    hidden = {check.name: check.observed for check in report.checks if check.outcome == "not_evaluated"}
    assert hidden["mean"] == "[redacted]"
    assert not [
        check for check in report.checks for item in check.sample if set(item.values.values()) != {"[redacted]"}
    ]


def test_that_a_run_failed_fast_does_not_let_the_others_pass() -> None:
    async def main() -> ValidationReport:
        entries = [{"range": {"column": "x", "min": 1}}, {"range": {"column": "x", "min": 0, "name": "later"}}]
        return (await Checkpoint("a", FRAME, entries, fail_fast=True, morsel_rows=10).run_async()).report

    assert [check.outcome for check in anyio.run(main).checks] == ["failed", "not_evaluated"]
