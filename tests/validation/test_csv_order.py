"""Pieces of a CSV file are parsed at once, and what is told of them does not depend on which is ready first."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sentrio
from sentrio.testing import Backend, cancel_everywhere
from sentrio.validation.sources import csv_chunks

ROWS = 600
BAD = [number for number in range(ROWS) if number % 37 == 5]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have pieces be small, and be parsed in times that differ; return how many rows each gives."""
    monkeypatch.setattr(csv_chunks, "_LEAST_BYTES", 96)
    monkeypatch.setattr(csv_chunks, "_MOST_BYTES", 96)
    monkeypatch.setattr(csv_chunks, "_TAIL", 16)
    parse, dice, parsed = csv_chunks.Chunk.parse, random.Random(3), list[int]()

    def unevenly(chunk: Any) -> Any:
        time.sleep(dice.random() / 300)
        frame = parse(chunk)
        parsed.append(frame.height)
        return frame

    monkeypatch.setattr(csv_chunks.Chunk, "parse", unevenly)
    return parsed


def written(path: Path, **lines: str) -> Path:
    """Write a file of numbers and texts; ``line_7`` stands where row 7 would."""
    rows = [lines.get(f"line_{number}", f"{number},{'bad' if number in BAD else 'ok'}") for number in range(ROWS)]
    path.write_text("\n".join(["n,t", *rows]))
    return path


async def test_rows_have_their_numbers(tmp_path: Path, small_pieces: list[int]) -> None:
    rules: list[Any] = [
        {"in_set": {"column": "t", "values": ["ok"]}},
        {"monotonic": {"column": "n", "strict": True}},
        {"in_set": {"column": "t", "values": ["ok"], "where": "n % 2 = 1", "name": "odd"}},
    ]
    result = await sentrio.check_async(written(tmp_path / "a.csv"), rules, sample_failures=100)
    assert result.report is not None, result.error
    assert len(small_pieces) > 20
    found, rising, odd = result.report.checks
    assert [item.row for item in found.sample] == BAD
    assert [item.row for item in odd.sample] == [number for number in BAD if number % 2]
    assert rising.passed, rising
    assert result.report.row_count == ROWS


@pytest.mark.parametrize("morsel_rows", [1, 7, 10_000])
async def test_morsels_have_no_more_rows_than_asked_for(tmp_path: Path, morsel_rows: int) -> None:
    rules: list[Any] = [{"in_set": {"column": "t", "values": ["ok"]}}]
    result = await sentrio.check_async(
        written(tmp_path / "a.csv"), rules, sample_failures=100, morsel_rows=morsel_rows
    )
    assert result.report is not None, result.error
    assert [item.row for item in result.report.checks[0].sample] == BAD


async def test_values_that_do_not_fit_are_found_in_every_piece(tmp_path: Path) -> None:
    wrong = {f"line_{number}": "many,ok" for number in (0, 250, ROWS - 1)}
    source = {"path": written(tmp_path / "a.csv", **wrong), "schema": {"n": "integer"}}
    result = await sentrio.check_async(source, ["not_null"], sample_failures=9)
    assert result.report is not None, result.error
    types = next(check for check in result.report.checks if check.id == "type:n")
    assert (types.failed_count, types.evaluated_count) == (3, ROWS)
    assert [item.row for item in types.sample] == [0, 250, ROWS - 1]


async def test_the_first_line_that_is_wrong_is_named_whichever_piece_fails_first(tmp_path: Path) -> None:
    wrong = {"line_100": "1", "line_140": "1,2,3", "line_500": "1,2,3"}
    path = written(tmp_path / "a.csv", **wrong)
    for _ in range(3):
        result = await sentrio.check_async(path, ["not_null"])
        assert result.status == "error"
        assert "line 102 has 1 field where 2 are expected" in str(result.error), result.error


async def test_the_end_without_a_line_break_is_a_row(tmp_path: Path) -> None:
    result = await sentrio.check_async(written(tmp_path / "a.csv", **{f"line_{ROWS - 1}": "7,bad"}), [
        {"in_set": {"column": "t", "values": ["ok"]}}
    ], sample_failures=100)  # fmt: skip
    assert result.report is not None, result.error
    assert [item.row for item in result.report.checks[0].sample] == [*BAD, ROWS - 1]


async def test_a_run_that_may_stop_reads_no_more_than_it_must(tmp_path: Path, small_pieces: list[int]) -> None:
    rules: list[Any] = [{"in_set": {"column": "t", "values": ["ok"]}}]
    result = await sentrio.check_async(written(tmp_path / "a.csv"), rules, fail_fast=True)
    assert result.status == "failure"
    assert sum(small_pieces) < ROWS / 2


async def test_a_fault_of_polars_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(chunk: Any) -> Any:
        raise pl.exceptions.PanicException("called `unwrap` on nothing")

    monkeypatch.setattr(csv_chunks.Chunk, "parse", broken)
    result = await sentrio.check_async(written(tmp_path / "a.csv"), ["not_null"])
    assert result.status == "error"
    assert "called `unwrap` on nothing" in str(result.error)


async def test_what_is_no_fault_of_the_data_is_raised_as_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(chunk: Any) -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(csv_chunks.Chunk, "parse", broken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        await sentrio.check_async(written(tmp_path / "a.csv"), ["not_null"])


def test_cancelled_anywhere_it_leaves_nothing(tmp_path: Path, backend: Backend) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,t\n" + "1,ok\n" * 60)

    async def run() -> None:
        await sentrio.check_async(path, ["not_null"], morsel_rows=15)

    assert cancel_everywhere(run, backend=backend, ignore_open_files=True).points > 3
