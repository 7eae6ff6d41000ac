"""How pieces of CSV are cut and put together: their sizes, and files that shrink."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sentrio.errors import SourceError
from sentrio.validation.sources import csv_chunks, csv_lines
from sentrio.validation.sources.base import Suspicious
from sentrio.validation.sources.csv_chunks import Chunk, ChunkReader, Dialect
from sentrio.validation.sources.csv_lines import count_fields


def dialect(weight: float = 0.0) -> Dialect:
    return Dialect(lambda data, first, quoted: pl.read_csv(data), ",", '"', True, weight)


def chunk(data: bytes, **more: Any) -> Chunk:
    told: dict[str, Any] = {"rows": 1, "quoted": b'"' in data, "first": False, "full": False, "doubt": lambda: None}
    return Chunk(dialect=dialect(4.0), data=data, **(told | more))


def read_on(reader: ChunkReader) -> None:
    for _ in range(1000):
        if reader.cut(10) is None:
            return


def test_pieces_that_are_put_together_are_no_larger_than_one_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_chunks, "_MOST_BYTES", 100)
    parts = [b"1234,6789\n" * 4] * 7
    groups = csv_chunks.joined([chunk(data) for data in parts])
    assert [len(group.data) for group in groups] == [80, 80, 80, 40]
    assert b"".join(group.data for group in groups) == b"".join(parts)
    assert [group.rows for group in groups] == [2, 2, 2, 1]


def test_quotes_of_any_piece_are_quotes_of_the_whole() -> None:
    (whole,) = csv_chunks.joined([chunk(b"1,2\n"), chunk(b'"3,4",5\n')])
    assert whole.quoted


def test_a_file_that_shrinks_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing is left: the same piece of no bytes would be cut for ever."""
    monkeypatch.setattr(csv_chunks, "_LEAST_BYTES", 64)
    monkeypatch.setattr(csv_chunks, "_TAIL", 16)
    path = tmp_path / "a.csv"
    for left in (0, 70, 3000):
        path.write_bytes(b"a,b\n" + b"1,2\n" * 1000)
        reader = ChunkReader(path, dialect(), lambda: None)
        assert reader.cut(10) is not None
        path.write_bytes(path.read_bytes()[:left])
        with pytest.raises(Suspicious, match="became shorter"):
            read_on(reader)
        reader.close()


@pytest.mark.parametrize("at", [9, 10, 15, 20])
def test_a_line_is_named_wherever_quoted_breaks_begin(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the slow way begins with the very line that is wrong."""
    monkeypatch.setattr(csv_lines, "_LINES", 10)
    monkeypatch.setattr(csv_lines, "_SLOW_LINES", 3)
    for row, fields in (('1,2,"x', 3), ('"1', 1)):
        lines = pl.LazyFrame({"line": [*["a,b"] * at, row, 'y"', *["1,2"] * 20, "1", "a,b"]})
        with pytest.raises(SourceError) as caught:
            list(count_fields(lambda problem: SourceError("data", problem), lines, ",", '"'))
        plural = "s" if fields > 1 else ""
        assert str(caught.value) == f"data: line {at + 1} has {fields} field{plural} where 2 are expected"
    fine = pl.LazyFrame({"line": [*["a,b"] * at, '1,"x', 'y"', *["1,2"] * 20]})
    assert list(count_fields(lambda problem: SourceError("data", problem), fine, ",", '"'))


def test_the_beginning_of_a_file_of_long_rows_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,%s\n" % (b"x" * 200) * 1000)
    beginning = csv_chunks.beginning(path, 500, '"')
    assert beginning is not None
    assert 500 < beginning.count(b"\n") < 600
    monkeypatch.setattr(csv_chunks, "_MOST_BYTES", 2**16)
    assert csv_chunks.beginning(path, 500, '"') is None


def test_rows_are_counted_without_the_line_that_names_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a" * 396 + b",b\n" + b"1,2\n" * 100)
    reader = ChunkReader(path, dialect(4.0), lambda: None)
    piece = reader.cut(1000)
    reader.close()
    assert piece is not None
    assert (piece.rows, piece.first, piece.full) == (100, True, False)
