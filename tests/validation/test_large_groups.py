"""Row groups that are too large for one morsel: decoded page by page, and the same rows whoever wrote the pages."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_parquet_facts import facts, make_frame, some_columns

import sentrio
from sentrio.validation.engines.threads import MorselSize
from sentrio.validation.sources import loading, pages, parquet
from sentrio.validation.sources.base import Reader
from sentrio.validation.sources.files import make_source

Write = Callable[[pl.DataFrame, Path], object]


@contextmanager
def small(*, whole: int = 0, pages_at_once: int = 1) -> Iterator[None]:
    """Have every row group taken for a large one, and every column for one that is decoded page by page."""
    with pytest.MonkeyPatch.context() as patch, facts(True):
        patch.setattr(parquet, "LARGE_GROUP", 0)
        patch.setattr(loading, "_WHOLE_COLUMN", whole)
        patch.setattr(loading, "_WHOLE_COLUMNS", 100)
        patch.setattr(loading, "_PAGES_AT_ONCE", pages_at_once)
        yield


@contextmanager
def counted() -> Iterator[list[str]]:
    """Collect the columns of which some pages were read."""
    found: list[str] = []
    take = pages.ColumnPages.take

    def taken(self: pages.ColumnPages, end: int, least: int) -> pages.Pages:
        part = take(self, end, least)
        found.append(part.column)
        return part

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages.ColumnPages, "take", taken)
        yield found


def opened(path: Path, columns: list[str] | None = None) -> Reader:
    source = make_source(path)
    for _ in source.prepare():
        pass
    description = source.describe()
    names = list(description.schema) if columns is None else columns
    for _ in source.study(names):
        pass
    reader = source.open(description)
    reader.reads = lambda known: names
    return reader


def pieces(reader: Reader, rows: int) -> Iterator[pl.DataFrame]:
    while True:
        while reader.lacks(rows):
            reader.load()
        if (morsel := reader.read(rows)) is None:
            return
        part = morsel.frame.lazy().collect()
        assert part.height == morsel.rows
        yield part


@st.composite
def writers(draw: st.DrawFn) -> Write:
    group = draw(st.integers(1, 200))
    compression: Literal["zstd", "snappy", "gzip", "brotli", "uncompressed", "lz4"] = draw(
        st.sampled_from(["zstd", "snappy", "gzip", "brotli", "uncompressed", "lz4"])
    )
    page = draw(st.sampled_from([1, 32, 200, None]))
    if draw(st.booleans()):
        return lambda frame, path: frame.write_parquet(
            path, row_group_size=group, data_page_size=page, compression=compression
        )
    options: dict[str, Any] = {
        "row_group_size": group,
        "compression": "none" if compression == "uncompressed" else compression,
        "data_page_size": page,
        "write_batch_size": draw(st.sampled_from([1, 3, 10])),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "store_schema": draw(st.booleans()),
        "write_page_index": draw(st.booleans()),
        "use_dictionary": draw(st.booleans()),
        "dictionary_pagesize_limit": draw(st.sampled_from([1, 20, 2**20])),
        "write_statistics": draw(st.booleans()),
        "write_page_checksum": draw(st.booleans()),
    }
    if not options["use_dictionary"] and draw(st.booleans()):
        encodings = {
            "i64": "DELTA_BINARY_PACKED",
            "t": draw(st.sampled_from(["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])),
        }
        return lambda frame, path: pq.write_table(
            frame.to_arrow(),
            path,
            column_encoding={name: how for name, how in encodings.items() if name in frame.columns},
            **options,
        )
    return lambda frame, path: pq.write_table(frame.to_arrow(), path, **options)


@given(
    columns=some_columns,
    rows=st.integers(1, 150),
    seed=st.integers(0, 2**32),
    write=writers(),
    morsel_rows=st.integers(1, 60),
    whole=st.sampled_from([0, 0, 100]),
    pages_at_once=st.sampled_from([1, 50, 10_000]),
    read=st.floats(0, 1),
)
def test_pieces_are_the_rows_of_the_file(
    columns: list[str],
    rows: int,
    seed: int,
    write: Write,
    morsel_rows: int,
    whole: int,
    pages_at_once: int,
    read: float,
) -> None:
    frame = make_frame(columns, rows, random.Random(seed))
    with tempfile.TemporaryDirectory() as folder, small(whole=whole, pages_at_once=pages_at_once):
        path = Path(folder) / "a.parquet"
        write(frame, path)
        reader = opened(path, columns[: round(read * len(columns))])
        assert pl.concat(pieces(reader, morsel_rows)).equals(pl.read_parquet(path))


def told(path: Path, entries: list[Any], **options: Any) -> list[dict[str, Any]]:
    result = sentrio.check(path, entries, sample_failures=3, **options)
    assert result.report is not None, result.error
    found = [check.to_dict() for check in result.report.checks]
    for check in found:
        if isinstance(check["observed"], float):  # where a file is cut may change how a float sum is rounded
            check["observed"], check["message"] = pytest.approx(check["observed"], rel=1e-9), ""
    return found


ENTRIES: list[Any] = [
    "not_null",
    {"range": {"column": "id", "min": 10}},
    {"mean": {"column": "x", "max": 0}},
    {"regex": {"column": "t", "pattern": "7"}},
    {"length": {"column": "t", "max": 3}},
    {"unique": {"column": "t"}},
    {"median": {"column": "id", "max": 0}},
    {"monotonic": {"column": "id", "direction": "decreasing"}},
    {"expression": {"condition": "id < 300 OR t = '5'"}},
    {"compare": {"left": "id", "operator": "<", "right": "x"}},
    {"range": {"column": "x", "max": 50, "where": "id % 7 = 0"}},
]


@pytest.mark.parametrize("write", ["polars", "pyarrow 1", "pyarrow 2"])
@pytest.mark.parametrize("whole", [0, 10_000])
def test_checks_of_large_groups_say_the_same(tmp_path: Path, write: str, whole: int) -> None:
    rows = 1_000
    number = pl.int_range(rows, eager=True)
    texts = pl.select(pl.when(number % 9 > 0).then((number // 2).cast(pl.String))).to_series()
    frame = pl.DataFrame({"l": [[1, 2]] * rows, "id": number, "t": texts, "x": number.cast(pl.Float64), "k": texts})
    path = tmp_path / "a.parquet"
    if write == "polars":
        frame.write_parquet(path, data_page_size=400, row_group_size=700)
    else:
        pq.write_table(frame.to_arrow(), path, data_page_size=400, data_page_version=f"{write[-1]}.0")
    expected = told(path, ENTRIES, morsel_rows=rows, key_columns=["k"])
    with small(whole=whole), counted() as columns:
        assert told(path, ENTRIES, morsel_rows=64, key_columns=["k"]) == expected
    # Else this test would show nothing.
    assert set(columns) == (set() if whole else {"id", "t", "x"})
    assert sum(check["failed_count"] or 0 for check in expected) > rows


def test_every_page_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rows = tmp_path / "a.parquet", 20_000
    frame = pl.DataFrame({"t": pl.int_range(rows, eager=True).hash(1).cast(pl.String), "n": range(rows)})
    frame.write_parquet(path, data_page_size=20_000)
    read = 0
    read_bytes = pages._read

    def counting(file: Any, at: int, size: int) -> bytes:
        nonlocal read
        data = read_bytes(file, at, size)
        read += len(data)
        return data

    monkeypatch.setattr(pages, "_read", counting)
    with small():
        assert pl.concat(pieces(opened(path), 500)).equals(frame)
    assert path.stat().st_size * 0.5 < read < path.stat().st_size * 1.5


def test_what_the_footer_answers_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": range(500), "b": range(500)}).write_parquet(path, data_page_size=100)
    with small(), counted() as columns:
        assert told(path, ["not_null", {"mean": {"column": "b", "min": 0}}], morsel_rows=50)
    assert set(columns) == {"b"}


def test_columns_that_nobody_announced_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"a": range(300), "b": [str(i) for i in range(300)], "c": [[i] for i in range(300)]})
    frame.write_parquet(path, data_page_size=100)
    with small():
        reader = opened(path, ["a"])
        while reader.lacks(70):
            reader.load()
        morsel = reader.read(70)
    assert morsel is not None
    rows = morsel.frame.lazy()
    assert rows.collect().equals(frame.head(morsel.rows))
    assert rows.filter(pl.col("b") == "7").select("a", "b").collect().rows() == [(7, "7")]
    assert rows.with_row_index("n", offset=5).select("n", "c").head(2).collect().rows() == [(5, [0]), (6, [1])]
    assert rows.select(pl.len()).collect(engine="streaming").item() == morsel.rows


def test_long_texts_in_a_dictionary_make_small_morsels(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.parquet", 9_000
    number = pl.int_range(rows, eager=True)
    pl.DataFrame({"t": (number % 20).cast(pl.String) + "x" * 10_000, "n": number}).write_parquet(path)
    assert path.stat().st_size < rows * 10
    with facts(True):
        reader = opened(path)
        size = MorselSize(bytes_per_row=reader.bytes_per_row, unit=reader.unit)
        assert size.wanted >= rows
        while reader.lacks(size.wanted):
            reader.load()
            size.weigh(reader.bytes_per_row)
        assert 9_900 < (reader.bytes_per_row or 0) < 10_200
        assert size.wanted < 1_000


def test_pages_that_are_damaged_are_left_to_polars(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"t": [f"{i:08}" for i in range(3_000)]})
    frame.write_parquet(path, data_page_size=2_000, compression="uncompressed", statistics=False)
    sound = path.read_bytes()
    dice = random.Random(5)
    outcomes = set()
    for _ in range(60):
        content = bytearray(sound)
        # Somewhere in the heads of pages: what stands between the last value of one and the first one of the next.
        at = content.index(b"\x15\x00\x15", dice.randrange(4, 20_000)) + dice.randrange(24)
        content[at] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
        with small():
            result = sentrio.check(path, [{"length": {"column": "t", "min": 8, "max": 8}}], morsel_rows=100)
        outcomes.add(result.status)
        if result.status == "success":
            assert pl.read_parquet(path).height == frame.height
    assert "error" in outcomes
