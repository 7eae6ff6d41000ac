"""Repeated values when there are more of them than memory should hold, and when hashes collide."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import _naive as naive
import anyio
import anyio.to_thread
import attrs
import polars as pl
import pytest
from _running import CUTS, Cut, column, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sentrio
from sentrio.testing import Backend, cancel_everywhere
from sentrio.validation import external
from sentrio.validation import run as validation_run
from sentrio.validation.engines.threads import run_morsels
from sentrio.validation.validators import _repeats

ONE = Cut("frame", 7, 2, 5)


@attrs.define(eq=False)
class Watched:
    """The temporary files that were made, and their folder."""

    folder: Path
    files: list[IO[bytes]] = attrs.field(factory=list)

    @property
    def left(self) -> list[object]:
        """The files that take room still, or have a name."""
        return [*self.folder.iterdir(), *(file for file in self.files if not file.closed)]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Have nothing kept in memory; return the temporary files, none of which must be left afterwards."""
    found = Watched(tmp_path / "scratch")
    found.folder.mkdir()
    make = external.make_file

    def watched() -> IO[bytes]:
        found.files.append(make())
        return found.files[-1]

    monkeypatch.setattr(tempfile, "tempdir", str(found.folder))
    monkeypatch.setattr(external, "make_file", watched)
    monkeypatch.setattr(external, "_KEPT_BYTES", 0)
    monkeypatch.setattr(external, "_PART_BYTES", 200)
    yield found
    assert not found.left


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(0, 60))
    return pl.DataFrame(
        {
            "t": column(draw, st.sampled_from(["a", "", "é", "b", "x" * 40]), height),
            "n": column(draw, st.integers(0, 40), height),
            "l": column(draw, st.lists(st.integers(0, 1), max_size=2), height),
        },
        schema={"t": pl.String, "n": pl.Int64, "l": pl.List(pl.Int64)},
    )


def agree(frame: pl.DataFrame, cut: Cut) -> None:
    """Compare with the naive count; samples too, which are the very first rows."""
    entries = ["unique", "unique_rows", {"unique": {"columns": ["t", "n"]}}]
    report = run(frame, entries, cut, most=70)
    rows = [tuple(tuple(cell) if isinstance(cell, list) else cell for cell in row) for row in frame.rows()]
    expected = [naive.unique([(row[place],) for row in rows], nulls_equal=False) for place in range(3)]
    expected += [naive.unique(rows, nulls_equal=True), naive.unique([row[:2] for row in rows], nulls_equal=False)]
    for check, (failed, evaluated, failing) in zip(report.checks, expected, strict=True):
        assert (check.failed_count, check.evaluated_count) == (failed, evaluated), check
        assert [item.row for item in check.sample] == failing


@given(frame=tables(), cut=CUTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_that_do_not_fit_into_memory(scratch: Watched, frame: pl.DataFrame, cut: Cut) -> None:
    agree(frame, cut)
    assert not scratch.left


@pytest.mark.parametrize("different", [1, 3])
@pytest.mark.parametrize("kept", [0, 10**9])
def test_a_collision_of_hashes_is_no_repeat(
    scratch: Watched, monkeypatch: pytest.MonkeyPatch, different: int, kept: int
) -> None:
    """Two values with one hash are not to be had, so all hashes are made alike."""
    monkeypatch.setattr(external, "_KEPT_BYTES", kept)
    hashed = _repeats.hashed
    monkeypatch.setattr(_repeats, "hashed", lambda nw, columns: (hashed(nw, columns) % different) * (2**64 // 4))

    @given(frame=tables(), cut=CUTS)
    @settings(max_examples=30)
    def check(frame: pl.DataFrame, cut: Cut) -> None:
        agree(frame, cut)

    check()


def test_rows_let_through_by_mistake_are_not_counted(scratch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """All hashes have a mark that they share with others, and the repeats stand behind a thousand other rows."""
    monkeypatch.setattr(_repeats, "_LEAST_MARKS", 1)
    monkeypatch.setattr(_repeats, "_MOST_MARKS", 2)
    frame = pl.DataFrame({"x": [*map(str, range(1_000)), *["again"] * 3, *["more"] * 2]})
    (check,) = run(frame, ["unique"], Cut("frame", 100, 2, 5), most=5).checks
    assert (check.failed_count, check.evaluated_count) == (5, 1_005)
    assert [item.row for item in check.sample] == [1_000, 1_001, 1_002, 1_003, 1_004]


def test_one_value_in_many_rows_takes_no_room(scratch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    add = external.HashedRows.add

    def watched(self: external.HashedRows, frame: pl.DataFrame) -> external.Piece:
        sizes.append(frame.height)
        return add(self, frame)

    monkeypatch.setattr(external.HashedRows, "add", watched)
    frame = pl.DataFrame({"x": ["a", "b"] * 5_000})
    (check,) = run(frame, ["unique"], Cut("frame", 2_000, 2, 5), most=3).checks
    assert (check.failed_count, [item.row for item in check.sample]) == (10_000, [0, 1, 2])
    assert max(sizes) <= 2 * 64


def test_values_of_every_type(scratch: Watched) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5)
    values: dict[str, tuple[Any, Any, Any]] = {
        "i8": (pl.Int8, 1, 2), "u64": (pl.UInt64, 2**64 - 1, 2), "i128": (pl.Int128, -(2**100), 2),
        "f32": (pl.Float32, float("nan"), 0.5), "bool": (pl.Boolean, True, False), "text": (pl.String, "é" * 30, "a"),
        "bytes": (pl.Binary, b"\0", b""), "date": (pl.Date, date(2026, 1, 2), date(1, 1, 1)),
        "at": (pl.Datetime("us", "Europe/Berlin"), moment, moment + timedelta(1)),
        "time": (pl.Time, time(1), time(2)), "span": (pl.Duration("ms"), timedelta(1), timedelta(2)),
        "decimal": (pl.Decimal(10, 2), Decimal("1.50"), Decimal("2.50")),
        "enum": (pl.Enum(["a", "b"]), "a", "b"), "cat": (pl.Categorical, "a", "b"),
        "list": (pl.List(pl.String), ["a", None], []), "array": (pl.Array(pl.Int8, 2), [1, 2], [3, 4]),
        "struct": (pl.Struct({"a": pl.Int8, "b": pl.String}), {"a": 1, "b": None}, {"a": 2, "b": "x"}),
    }  # fmt: skip
    frame = pl.DataFrame(
        [pl.Series(name, [one, None, other, one, None], dtype=dtype) for name, (dtype, one, other) in values.items()]
    )
    report = run(frame, ["unique"], Cut("frame", 1, 1, 5), most=5)
    assert {check.id: check.failed_count for check in report.checks} == {f"unique:{name}": 2 for name in values}
    assert {tuple(item.row for item in check.sample) for check in report.checks} == {(0, 3)}
    (check,) = run(frame, ["unique_rows"], Cut("frame", 1, 1, 5), most=5).checks
    assert [item.row for item in check.sample] == [0, 1, 3, 4]


async def test_cancelled_it_leaves_no_file(scratch: Watched) -> None:
    frame = pl.DataFrame({"x": ["a", "b", "c"] * 30})
    made: list[bool] = []

    async def cancelled() -> None:
        checkpoint = sentrio.Checkpoint("a", frame, ["unique"], morsel_rows=10)
        with anyio.CancelScope() as scope:

            def look(progress: sentrio.Progress) -> None:
                if progress.phase == 2 and progress.rows > 50:
                    made.append(bool(scratch.left))
                    scope.cancel()

            await checkpoint.run_async(on_progress=look)

    await cancelled()
    assert made[0]
    assert not scratch.left


def test_cancelled_anywhere_it_leaves_no_file(scratch: Watched, backend: Backend) -> None:
    frame = pl.DataFrame({"x": ["a", "b", "c"] * 10})

    async def once() -> None:
        result = await sentrio.check_async(frame, ["unique"], morsel_rows=10)
        assert result.report is not None
        assert result.report.checks[0].failed_count == 30

    cancel_everywhere(once, backend=backend)
    assert not scratch.left


def test_a_full_disk_is_an_error_of_the_check_alone(scratch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes stay in memory then, but the values that may repeat can be large."""

    def full() -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(external, "make_file", full)
    first, second = run(pl.DataFrame({"x": ["a"] * 30}), ["unique", "not_null"], ONE).checks
    assert (first.outcome, second.outcome) == ("error", "passed")
    assert "No space left on device" in first.message
    (check,) = run(pl.DataFrame({"x": range(1_000)}), ["unique"], Cut("frame", 100, 2, 5)).checks
    assert (check.outcome, check.evaluated_count) == ("passed", 1_000)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="a file of this system has a name for a moment")
def test_a_killed_run_leaves_no_file(tmp_path: Path) -> None:
    """Nobody could clean up behind it."""
    code = """
import functools, os, signal, sys, tempfile
import anyio, polars as pl, sentrio
from sentrio.validation import external
tempfile.tempdir = sys.argv[1]
external._KEPT_BYTES = 0
made, make = [], external.make_file
def watched():
    made.append(make())
    return made[-1]
external.make_file = watched
def look(progress):
    if made and progress.rows > 20_000:
        print(os.fstat(made[0].fileno()).st_size, os.readlink(f"/proc/self/fd/{made[0].fileno()}"), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint = sentrio.Checkpoint("a", pl.DataFrame({"x": range(50_000)}), ["unique"], morsel_rows=1_000)
anyio.run(functools.partial(checkpoint.run_async, on_progress=look))
"""
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert child.returncode == -9, child.stderr
    size, _, place = child.stdout.partition(" ")
    assert int(size) > 0
    assert place.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_what_is_kept_in_memory_holds_nothing_else(scratch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows among many with long texts would hold on to all those texts, unseen by who counts bytes."""
    monkeypatch.setattr(external, "_KEPT_BYTES", 2**20)
    many = pl.DataFrame({"text": ["x" * 1_000] * 1_000}).with_columns(pl.col("text").hash().alias("hash"))
    rows = external.HashedRows("hash", 1_000)
    kept = rows.add(many.filter(pl.int_range(pl.len()) == 7)).frame
    assert kept is not None
    assert kept.equals(many[7:8])
    arrow = kept["text"].to_arrow(compat_level=pl.CompatLevel.newest())
    assert sum(buffer.size for buffer in arrow.buffers() if buffer is not None) < 2_000


class FullSoon(BytesIO):
    """A file on a disk that is full after some bytes, which also says so when the file is closed."""

    left = 0

    def write(self, data: Any) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)

    def close(self) -> None:
        super().close()
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_what_was_written_before_the_disk_was_full_counts(scratch: Watched) -> None:
    rows = external.HashedRows("hash", 100, needs_file=False)
    frames = [pl.DataFrame({"hash": pl.int_range(i, 100, 10, eager=True).hash().sort()}) for i in range(10)]
    pieces = [rows.add(frame) for frame in frames[:4]]
    shared = rows._shared.get()
    assert shared.file is not None
    written = shared.file
    written.seek(0)
    shared.file = FullSoon(written.read())
    rows._shared.put(shared)
    pieces += [rows.add(frame) for frame in frames[4:]]
    assert [piece.frame is None for piece in pieces] == [True] * 4 + [False] * 6
    found = pl.concat([part for part in rows.parts(pieces) if part is not None and part.height])
    assert found["hash"].equals(pl.int_range(100, eager=True).hash().sort().alias("hash"))
    rows.close()
    rows.free()
    written.close()
    assert not scratch.left


def test_each_part_holds_a_range_of_leading_bits(scratch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "_PIECES_READ", 3)
    rows = external.HashedRows("hash", 1_000)
    frames = [pl.DataFrame({"hash": pl.int_range(i, 1_000, 10, eager=True).hash().sort()}) for i in range(10)]
    pieces = [rows.add(frame) for frame in frames]
    assert rows.count & (rows.count - 1) == 0
    steps = list(rows.parts(pieces))
    parts = [part for part in steps if part is not None]
    assert len(parts) == rows.count > 4
    assert len(steps) == 4 * len(parts)  # ten pieces of each, three in a step
    for number, part in enumerate(parts):
        assert part["hash"].is_sorted()
        assert set(part["hash"] // (2**64 // rows.count)) <= {number}
    assert sum(part.height for part in parts) == 1_000
    rows.close()
    rows.free()


def test_hashes_wait_in_a_file(scratch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds no more of them however many rows there are."""
    monkeypatch.setattr(external, "_KEPT_BYTES", 2_000)
    pieces: list[external.Piece] = []
    add = external.HashedRows.add

    def watched(self: external.HashedRows, frame: pl.DataFrame) -> external.Piece:
        pieces.append(add(self, frame))
        return pieces[-1]

    monkeypatch.setattr(external.HashedRows, "add", watched)
    (check,) = run(pl.DataFrame({"x": range(10_000)}), ["unique"], Cut("frame", 100, 2, 5)).checks
    assert (check.outcome, check.evaluated_count) == ("passed", 10_000)
    assert 0 < sum(piece.frame.estimated_size() for piece in pieces if piece.frame is not None) <= 2_000
    assert not scratch.left


@pytest.mark.parametrize("run_length", [1, 2, 7, 1_000])
def test_hashes_in_runs_of_any_length(scratch: Watched, monkeypatch: pytest.MonkeyPatch, run_length: int) -> None:
    monkeypatch.setattr(_repeats, "_RUN", run_length)
    frame = pl.DataFrame({"x": [*range(50), 7, 7, 7, 49, *[None] * 5]})
    for nulls_equal, failed in ((False, 6), (True, 11)):
        (check,) = run(frame, [{"unique": {"nulls_equal": nulls_equal}}], Cut("frame", 20, 2, 5)).checks
        assert check.failed_count == failed


def test_one_value_in_many_rows_takes_two_hashes(scratch: Watched) -> None:
    """Else the part that holds its hash would hold all rows, and take its time."""
    hashes = _repeats.Hashes(("x",), nulls_equal=False).begin(None)
    state = hashes.state([pl.Series([5] * 1_000 + [6] + [9] * 2, dtype=pl.UInt64)])
    assert (state.values, state.dropped) == (5, 998)
    for _ in hashes.work(state):
        pass
    marks = hashes.finish(state)
    assert marks is not None
    assert marks.rows == 1_002
    hashes.close()


def test_who_was_left_behind_does_not_go_on(scratch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that a cancelled run could not wait for keeps no processor busy."""
    monkeypatch.setattr(_repeats, "_RUN", 10)
    hashes = _repeats.Hashes(("x",), nulls_equal=False).begin(None)
    values = [pl.int_range(100, eager=True).hash()]
    assert len(hashes.state(values).runs) == 10
    hashes.close()
    hashes.free()
    assert not hashes.state(values).runs
    verify = _repeats.Verify(("x",), False, _repeats.Marks(pl.repeat(True, 2, eager=True), 100))
    frame = pl.LazyFrame({"x": [1] * 100}).with_row_index("row")
    assert verify.scan(frame, "row").pieces
    verify.close()
    verify.free()
    assert not verify.scan(frame, "row").pieces


async def test_runs_at_once_of_one_checkpoint_keep_their_hashes_apart(scratch: Watched) -> None:
    """They share a plan, and a file of one must not end with the other."""
    checkpoint = sentrio.Checkpoint("a", pl.DataFrame({"x": range(200)}), ["unique"], morsel_rows=10)
    results: list[sentrio.CheckpointResult] = []

    async def once() -> None:
        results.append(await checkpoint.run_async())

    async with anyio.create_task_group() as tg:
        for _ in range(3):
            tg.start_soon(once)
    assert [result.passed for result in results] == [True] * 3
    assert not scratch.left


async def test_slices_are_smaller_where_hashes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several copies of a hash of each row are there for a moment."""
    found: list[float] = []

    async def watched(*args: Any, size: Any, **more: Any) -> None:
        found.append(size.most_bytes / size.bytes_per_row)
        await run_morsels(*args, size=size, **more)

    monkeypatch.setattr(validation_run, "run_morsels", watched)
    frame = pl.DataFrame({"x": range(20_000)})
    for rule in ("not_null", "unique"):
        assert (await sentrio.check_async(frame, [rule])).passed
    plain, hashed = found
    assert hashed * 4 < plain
    assert hashed <= 2**20


async def test_a_large_file_does_not_hold_up_who_cancels(scratch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """To close the last handle of a removed file is what frees its blocks, and that is not done in the event loop."""
    closing, closed, go_on = threading.Event(), threading.Event(), threading.Event()
    give_up = external._give_up

    def slow(shared: external._Shared) -> None:
        closing.set()
        assert go_on.wait(60)
        give_up(shared)
        closed.set()

    monkeypatch.setattr(external, "_give_up", slow)
    checkpoint = sentrio.Checkpoint("a", pl.DataFrame({"x": range(1_000)}), ["unique"], morsel_rows=10)
    with anyio.CancelScope() as scope:

        def look(progress: sentrio.Progress) -> None:
            if progress.rows > 500:
                scope.cancel()

        await checkpoint.run_async(on_progress=look)
    assert scope.cancelled_caught
    assert closing.is_set()
    assert not closed.is_set()
    assert scratch.left == scratch.files  # which have no name
    go_on.set()
    assert await anyio.to_thread.run_sync(closed.wait, 60)


@given(frame=tables(), cut=CUTS)
@settings(max_examples=30)
def test_hashes_of_several_columns_tell_them_apart(frame: pl.DataFrame, cut: Cut) -> None:
    """Also of columns that hold the same, or the same the other way round."""
    twin = frame.select("t", "n", t2="t", n2="n")
    hashes = twin.select(h=_repeats.hashed(pl, ["t", "n"]), g=_repeats.hashed(pl, ["t2", "n2"]))
    assert hashes["h"].equals(hashes["g"].alias("h"))
    both = twin.with_columns(hashes["h"]).unique()
    assert both["h"].n_unique() == both.height
    swapped = pl.DataFrame({"a": [1, 2, 3, 3], "b": [2, 1, 3, 4]}).select(h=_repeats.hashed(pl, ["a", "b"]))
    assert swapped["h"].n_unique() == 4
