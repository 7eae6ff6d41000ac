"""What a Parquet footer answers is what reading the rows answers, whoever wrote the file."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.validation import cuts, run
from sentrio.validation.engines.threads import MorselSize, run_morsels
from sentrio.validation.run import Validation
from sentrio.validation.samples import SampleOptions
from sentrio.validation.sources import parquet
from sentrio.validation.sources.files import make_source
from sentrio.validation.sources.footer import DamagedFooter, Footer, footer_bytes, footer_size, read_footer
from sentrio.validation.validators import make_validator

SCHEMA: dict[str, Any] = {
    "i8": pl.Int8(),
    "i32": pl.Int32(),
    "i64": pl.Int64(),
    "u8": pl.UInt8(),
    "u32": pl.UInt32(),
    "u64": pl.UInt64(),
    "f": pl.Float64(),
    "dec": pl.Decimal(10, 2),
    "b": pl.Boolean(),
    "t": pl.String(),
    "cat": pl.Categorical(),
    "day": pl.Date(),
    "ms": pl.Datetime("ms"),
    "us": pl.Datetime("us", "UTC"),
    "ns": pl.Datetime("ns"),
    "list": pl.List(pl.Int64()),
    "struct": pl.Struct({"x": pl.Int64(), "y": pl.List(pl.String())}),
    "none": pl.Null(),
}
LONG = "x" * 120
MOMENTS = [dt.datetime(1969, 12, 31, 23, 59, 59, 999000), dt.datetime(2026, 11, 20), dt.datetime(1, 1, 1)]


def value(name: str, dice: random.Random) -> Any:
    if name in {"i8", "i32", "i64"}:
        edge = 2 ** (int(name[1:]) - 1)
        return dice.choice([*range(-3, 13), -edge, edge - 1])
    if name in {"u8", "u32", "u64"}:
        return dice.choice([*range(13), 2 ** int(name[1:]) - 1])
    if name == "ns":
        return dice.choice(MOMENTS[:2])
    return {
        "f": dice.choice([0.0, -0.0, 1.5, 3.0, 11.0, math.nan, math.inf, -math.inf]),
        "dec": decimal.Decimal(dice.randint(-300, 1200)) / 100,
        "b": dice.random() < 0.5,
        "t": (text := dice.choice(["a", "b", "é", "", LONG + "a", LONG + "b", "\U0010ffff"])),
        "cat": text,
        "day": (moment := dice.choice(MOMENTS)).date(),
        "ms": moment,
        "us": moment.replace(tzinfo=dt.UTC),
        "list": (items := [dice.choice([None, 1, 2]) for _ in range(dice.randint(0, 3))]),
        "struct": {"x": dice.choice([None, 1]), "y": [str(item) for item in items]},
        "none": None,
    }[name]


def make_frame(names: list[str], rows: int, dice: random.Random) -> pl.DataFrame:
    columns = {}
    for name in names:
        # Without nulls, with some, in long runs of one value: whole row groups of nulls, or of values within bounds.
        nulls, repeated = dice.choice([0.0, 0.0, 0.1, 0.9]), dice.choice([0.0, 0.9])
        cells: list[Any] = []
        for _ in range(rows):
            if cells and dice.random() < repeated:
                cells.append(cells[-1])
            else:
                cells.append(None if dice.random() < nulls else value(name, dice))
        columns[name] = cells
    return pl.DataFrame(columns, schema={name: SCHEMA[name] for name in names})


some_columns = st.lists(st.sampled_from(list(SCHEMA)), min_size=1, max_size=6, unique=True)


@st.composite
def writers(draw: st.DrawFn) -> Any:
    group = draw(st.integers(1, 30))
    if draw(st.booleans()):
        statistics: Any = draw(
            st.booleans()
            | st.just("full")
            | st.fixed_dictionaries({"null_count": st.booleans(), "min": st.booleans()})
        )
        page = draw(st.sampled_from([None, 64]))
        return lambda frame, path: frame.write_parquet(
            path, statistics=statistics, row_group_size=group, data_page_size=page
        )
    options = {
        "row_group_size": group,
        "write_statistics": draw(st.booleans() | st.just(["i64", "t", "ms"])),
        "use_dictionary": draw(st.booleans() | st.just(["t", "i64"])),
        "version": draw(st.sampled_from(["1.0", "2.4", "2.6"])),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "store_schema": draw(st.booleans()),
        "write_page_index": draw(st.booleans()),
        "dictionary_pagesize_limit": draw(st.sampled_from([1, 2**20])),
    }
    return lambda frame, path: pq.write_table(frame.to_arrow(), path, **options)


@contextmanager
def facts(trusted: bool) -> Iterator[None]:
    """Have all footers studied, or none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_VALUES_PER_FOOTER_BYTE", 2**-20 if trusted else 2**60)
        patch.setattr(parquet, "_SMALL_FOOTER", 2**30 if trusted else 0)
        yield


def report(path: Path, entries: list[Any], *, trusted: bool, morsel_rows: int, in_flight: int) -> dict[str, Any]:
    with facts(trusted):
        validation = Validation(
            make_source(path),
            [make_validator(entry) for entry in entries],
            samples=SampleOptions(most=3),
            morsel_rows=morsel_rows,
            in_flight=in_flight,
        )
        anyio.run(validation.run)
    found = {**validation.report().to_dict(), "duration_ms": None}
    for check in found["checks"]:
        if isinstance(check["observed"], float):
            # Where a file is cut may change how a float sum is rounded.
            check["message"] = check["message"][:8]
            check["observed"] = pytest.approx(check["observed"], rel=1e-9, abs=1e-9, nan_ok=True)
    return found


bounds = st.none() | st.integers(-4, 13) | st.sampled_from([1.5, 2.0**31, 2**64, -(2**63), math.inf])


@given(
    columns=some_columns,
    rows=st.integers(0, 60),
    more=st.none() | st.integers(0, 20),
    seed=st.integers(0, 2**32),
    write=writers(),
    low=bounds,
    high=bounds,
    inclusive=st.sampled_from(["both", "left", "right", "neither"]),
    morsel_rows=st.integers(5, 60),
    in_flight=st.integers(1, 3),
)
def test_footers_and_rows_agree(
    columns: list[str],
    rows: int,
    more: int | None,
    seed: int,
    write: Any,
    low: float | None,
    high: float | None,
    inclusive: str,
    morsel_rows: int,
    in_flight: int,
) -> None:
    if low is not None and high is not None and (low > high or (low == high and inclusive != "both")):
        low, high = (high, low) if low > high else (low, None)
    if low is None and high is None:
        inclusive = "both"  # the others mean nothing without bounds
    dice = random.Random(seed)
    frame = make_frame(columns, rows, dice)
    entries: list[Any] = ["not_null", {"row_count": {"min": 1}}]
    for name, dtype in frame.schema.items():
        if dtype.is_numeric():
            entries.append({"range": {"column": name, "min": low, "max": high, "inclusive": inclusive}})
        if name in {"i8", "u8", "f", "dec"}:  # large numbers that cancel out leave nothing but the rounding
            entries.append({"mean": {"column": name, "max": 2.9}})
        if dtype.is_integer():
            entries.append({"in_set": {"column": name, "values": [0, 1, 2, 3]}})
        if name in {"day", "ms", "us", "ns"}:
            entries.append({"date_range": {"column": name, "min": "1969-12-31", "max": "2026-11-19"}})
            entries.append({"date_range": {"column": name, "max": "1969-12-31"}})
        if name in {"t", "cat"}:
            entries.append({"in_set": {"column": name, "values": ["a", "é", LONG + "a"]}})
            entries.append({"regex": {"column": name, "pattern": "^[a-z]"}})
            entries.append({"unique": {"column": name}})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write(frame, path / "a.parquet")
        if more is not None:
            write(make_frame(columns, more, dice), path / "b.parquet")
            write(frame.clear(), path / "c.parquet")
        told = report(path, entries, trusted=True, morsel_rows=morsel_rows, in_flight=in_flight)
        read = report(path, entries, trusted=False, morsel_rows=morsel_rows, in_flight=in_flight)
    assert told == read


def footer_of(path: Path, schema: Any) -> Footer | None:
    steps = read_footer(footer_bytes(path, 2**30), schema, size=path.stat().st_size)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: Footer | None = stop.value
            return found


@given(columns=some_columns, rows=st.integers(0, 60), seed=st.integers(0, 2**32), write=writers())
def test_what_is_told_is_what_pyarrow_reads(columns: list[str], rows: int, seed: int, write: Any) -> None:
    frame = make_frame(columns, rows, random.Random(seed))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        write(frame, path)
        schema = pl.read_parquet_schema(path)
        found, metadata = footer_of(path, schema), pq.read_metadata(path)
        assert found is not None
        assert found.rows == metadata.num_rows
        assert [group.rows for group in found.groups] == [
            metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)
        ]
        for i, group in enumerate(found.groups):
            row_group = metadata.row_group(i)
            leaves = {row_group.column(j).path_in_schema: row_group.column(j) for j in range(row_group.num_columns)}
            for name, chunk in group.chunks.items():
                assert schema[name] not in {pl.List, pl.Struct}
                statistics = leaves[name].statistics
                if statistics is None or not statistics.has_null_count:
                    assert chunk.nulls in {None, 0}  # 0 where the column can not have any
                else:
                    assert chunk.nulls == statistics.null_count
                if chunk.low is not None and schema[name].is_integer():
                    assert (chunk.low, chunk.high) == (statistics.min, statistics.max)
                assert chunk.low is None or schema[name].is_integer() or schema[name].is_temporal()
                assert chunk.dictionary == leaves[name].has_dictionary_page


def blank(path: Path) -> None:
    """Leave nothing of a file but its footer."""
    content = bytearray(path.read_bytes())
    end = len(content) - 8 - footer_size(path)
    content[4:end] = bytes(end - 4)
    path.write_bytes(content)


def test_what_the_footer_answers_is_not_read(tmp_path: Path) -> None:
    rows = 100_000
    frame = pl.DataFrame({"id": range(rows), "at": range(rows), "t": ["a", None] * (rows // 2)}).with_columns(
        pl.col("at").cast(pl.Datetime("ms"))
    )
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=10_000)
    blank(tmp_path / "a.parquet")
    entries = [
        "not_null",
        {"range": {"column": "id", "min": 0, "max": rows - 1}},
        {"row_count": {"min": rows, "max": rows}},
    ]
    result = sentrio.check(tmp_path / "a.parquet", entries, sample_failures=0)
    checks = {check.id: check for check in result.report.checks}
    assert [check.id for check in result.report.failed] == ["not_null:t"]
    assert (checks["not_null:t"].failed_count, checks["not_null:t"].evaluated_count) == (rows // 2, rows)
    assert checks["range:id"].observed is None  # no values of rows were asked for
    assert checks["range:id"].evaluated_count == rows
    # What has to be read is read, and that fails.
    assert sentrio.check(tmp_path / "a.parquet", [{"mean": {"column": "id", "min": 0}}]).status == "error"


def test_values_below_and_above_every_bound_are_counted_without_reading(tmp_path: Path) -> None:
    rows = 100_000
    pl.DataFrame({"id": range(rows)}).write_parquet(tmp_path / "a.parquet", row_group_size=50_000)
    blank(tmp_path / "a.parquet")
    result = sentrio.check(
        tmp_path / "a.parquet",
        [{"range": {"column": "id", "max": 49_999}}, {"range": {"column": "id", "min": 50_000, "inclusive": "left"}}],
        sample_failures=0,
        morsel_rows=50_000,
    )
    assert [check.failed_count for check in result.report.checks] == [50_000, 50_000]


def test_a_damaged_footer_tells_nothing_or_something_or_that_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"id": range(1000), "t": ["a", "b"] * 500, "l": [[1]] * 1000})
    frame.write_parquet(path, row_group_size=100)
    sound = path.read_bytes()
    length, seed = footer_size(path), random.randrange(2**32)
    dice = random.Random(seed)
    for _ in range(500):
        content = bytearray(sound)
        for _ in range(dice.randint(1, 4)):
            content[len(content) - 8 - dice.randint(1, length)] = dice.randrange(256)
        path.write_bytes(content)
        try:
            footer_of(path, frame.schema)
        except DamagedFooter:
            continue
        except Exception as exc:
            raise AssertionError(f"seed {seed}") from exc
    for broken in (b"", b"PAR1", sound[:-8], sound[:-8] + b"\xff\xff\xff\xff" + b"PAR1", sound[:100] + sound[-8:]):
        path.write_bytes(broken)
        assert footer_of(path, frame.schema) is None


def test_columns_that_can_not_be_where_the_footer_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Polars would panic on them, and say so on standard error."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"id": range(20_000), "t": ["a", "b"] * 10_000}).write_parquet(path, row_group_size=4000)
    sound = path.read_bytes()
    end = len(sound) - 8 - footer_size(path)
    # In the compact encoding these are 4,000 and 4,001; the first of them is the first column's number of values.
    longer = sound[:end] + sound[end:].replace(b"\xc0\x3e", b"\xc2\x3e", 1)
    for content, problem in (
        (sound[:100] + sound[end - 100 :], "column 'id' lies beyond the end of the file"),
        (longer, "column 'id' has 4,001 values in a row group of 4,000 rows"),
    ):
        path.write_bytes(content)
        result = sentrio.check(path, [{"mean": {"column": "id", "min": 0}}, "not_null"])
        assert result.status == "error"
        assert result.error is not None
        assert result.error.endswith(f"not a readable Parquet file: {problem}")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("files", [1, 3])
def test_no_row_is_read_where_the_footers_answer_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    for number in range(files):
        frame = pl.DataFrame({"id": range(40), "none": pl.Series([None] * 40, dtype=pl.Int64)})
        frame.write_parquet(tmp_path / f"{number}.parquet", row_group_size=8)
    read: list[str] = []

    async def noted(*args: Any, **options: Any) -> None:
        read.append("rows")
        await run_morsels(*args, **options)

    monkeypatch.setattr(run, "run_morsels", noted)
    path = str(tmp_path / "*.parquet")
    sound = [{"not_null": {"column": "id"}}, {"range": {"column": "id", "min": 0}}, {"row_count": {"min": 1}}]
    seen = sentrio.check(path, sound).report
    assert seen is not None
    assert (seen.passed, seen.rows_scanned, read) == (True, 40 * files, [])
    # The rows that fail are shown, and a condition is not answered by any footer.
    for entry in ({"not_null": {"column": "none"}}, {"not_null": {"column": "id", "where": "id > 3"}}):
        del read[:]
        seen = sentrio.check(path, [*sound, entry]).report
        assert seen is not None
        assert read == ["rows"]
        failed = 40 * files if seen.checks[-1].column == "none" else 0
        assert (seen.checks[-1].failed_count, len(seen.checks[-1].sample)) == (failed, min(failed, 5))
    # So many row groups are not looked at in the event loop.
    del read[:]
    monkeypatch.setattr(parquet, "_FEW_GROUPS", 5 * files - 1)
    seen = sentrio.check(path, sound).report
    assert seen is not None
    assert (seen.passed, seen.rows_scanned, read) == (True, 40 * files, ["rows"])


def test_nested_columns_that_lie_beyond_the_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"l": [[i] for i in range(5_000)], "s": [{"x": [i / 7]} for i in range(5_000)]})
    frame.write_parquet(path, compression="uncompressed")
    sound = path.read_bytes()
    end = len(sound) - 8 - footer_size(path)
    path.write_bytes(sound[:100] + sound[end - 100 :])
    for name in "ls":
        result = sentrio.check(path, [{"not_null": {"column": name}}])
        assert result.error is not None  # whichever column is asked for: the file is damaged
        assert result.error.endswith("not a readable Parquet file: column 'l' lies beyond the end of the file")
    assert capfd.readouterr().err == ""


def test_extremes_without_an_order_or_cut_short_are_not_known(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"i": [1, 2, 3], "t": [LONG, LONG, LONG], "x": [1.0, math.nan, 2.0]})
    pq.write_table(table, path)
    schema = pl.read_parquet_schema(path)
    footer = footer_of(path, schema)
    assert footer is not None
    assert [(chunk.low, chunk.high) for chunk in footer.groups[0].chunks.values()] == [
        (1, 3),
        (None, None),
        (None, None),
    ]
    # The last field of pyarrow's footer are the orders; without them the extremes may mean anything.
    content = path.read_bytes()
    orders = content.rindex(b"\x1c\x00\x00" * 3)
    assert content[orders - 2] >> 4 == 1, "field 7 follows field 6"
    cut = content[: orders - 2] + b"\x00"
    start = len(content) - 8 - footer_size(path)
    path.write_bytes(cut + (len(cut) - start).to_bytes(4, "little") + b"PAR1")
    footer = footer_of(path, schema)
    assert footer is not None
    assert footer.groups[0].chunks["i"].low is None
    assert footer.groups[0].chunks["i"].nulls == 0


def test_morsels_of_texts_that_compress_well_are_small(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = 3_000
    number = pl.int_range(rows, eager=True).cast(pl.String)
    pl.DataFrame({"t": (number + "x" * 10_000), "n": range(rows)}).write_parquet(path, row_group_size=1_000)
    assert path.stat().st_size < rows * 1_000, "this must compress well"
    source = make_source(path)
    for _ in source.prepare():
        pass
    description = source.describe()
    for _ in source.study(["t"]):
        pass
    reader = source.open(description)
    assert 10_000 <= (reader.bytes_per_row or 0) < 11_000
    size = MorselSize(bytes_per_row=reader.bytes_per_row)
    assert size.wanted < 4_000


@pytest.mark.parametrize("wanted", [1, 7, 10, 25, 100])
def test_morsels_end_where_row_groups_end(tmp_path: Path, wanted: int) -> None:
    for name, groups in (("a", 10), ("b", 10), ("c", 3)):
        pl.DataFrame({"n": range(23)}).write_parquet(tmp_path / f"{name}.parquet", row_group_size=groups)
    with facts(True):
        source = make_source(tmp_path)
        for _ in source.prepare():
            pass
        reader = source.open(source.describe())
        edges: list[int] = []
        while (morsel := reader.read(wanted)) is not None:
            assert morsel.first_row == (edges[-1] if edges else 0)
            assert 0 < morsel.rows <= max(wanted, 1)
            assert morsel.frame.lazy().select(pl.len()).collect().item() == morsel.rows
            assert morsel.known is not None
            assert morsel.known.rows == morsel.rows
            edges.append(morsel.first_row + morsel.rows)
    ends = {10, 20, 23, 33, 43, 46} if wanted < 23 else {23, 46} if wanted < 46 else {69}
    assert ends <= set(edges)


def test_what_a_cut_found_holds_beyond_its_morsel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text column without failures is asked a few times; where one fails, every morsel counts its own."""
    asked: list[int] = []
    count = cuts._count

    def counted(condition: pl.Expr, frame: pl.LazyFrame) -> int:
        asked.append(frame.select(pl.len()).collect().item())
        return count(condition, frame)

    monkeypatch.setattr(cuts, "_count", counted)
    monkeypatch.setattr(cuts, "_QUICK_SECONDS", 1e9)
    path = tmp_path / "a.parquet"
    rows = 640
    texts = pl.Series("t", ["a", "b"] * (rows // 2))
    pl.DataFrame({"t": texts}).write_parquet(path, row_group_size=10)
    entries = [{"in_set": {"column": "t", "values": ["a", "b"]}}]
    with facts(True):
        result = sentrio.check(path, entries, morsel_rows=10)
        assert result.passed
        assert len(asked) < 16
        assert max(asked) > 100
        asked.clear()
        pl.DataFrame({"t": [*texts[:-20], *["c"] * 20]}).write_parquet(path, row_group_size=10)
        result = sentrio.check(path, entries, morsel_rows=10)
    assert result.report.checks[0].failed_count == 20
    assert [item.row for item in result.report.checks[0].sample] == [620, 621, 622, 623, 624]


def test_rows_in_several_files_are_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each query opens each of its files anew, so that a filter of its own does not pay there."""
    asked: list[pl.LazyFrame] = []
    count = cuts._count

    def counted(condition: pl.Expr, frame: pl.LazyFrame) -> int:
        asked.append(frame)
        return count(condition, frame)

    monkeypatch.setattr(cuts, "_count", counted)
    entries = ["not_null", {"in_set": {"column": "t", "values": ["a"]}}, {"mean": {"column": "x", "min": 0}}]
    for name in "ab":
        pl.DataFrame({"t": ["a", "b"] * 500, "x": [1.0] * 1000}).write_parquet(tmp_path / f"{name}.parquet")
    with facts(True):
        one = sentrio.check(tmp_path / "a.parquet", entries, sample_failures=0)
        assert asked, "one file is asked by a filter"
        asked.clear()
        both = sentrio.check(tmp_path, entries, sample_failures=0)
    assert not asked
    assert [result.report.checks[2].failed_count for result in (one, both)] == [500, 1000]
