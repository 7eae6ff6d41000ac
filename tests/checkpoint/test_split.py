"""Valid and failing rows in files of their own: all of them, exactly, whole, or not at all."""

from __future__ import annotations

import errno
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sentrio
from sentrio import Checkpoint, Split
from sentrio.checkpoint.names import own_name
from sentrio.checkpoint.params import fill_path
from sentrio.errors import ConfigurationError, OptionValueError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere
from sentrio.validation import sinks
from sentrio.validation import split as splitting

ROW, CHECKS = "_sentrio_row", "_sentrio_checks"
SUFFIXES = ["parquet", "csv", "tsv", "ndjson"]


def read(path: Path, schema: Any = None) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    if path.suffix == ".ndjson":
        return pl.read_ndjson(path, schema=schema)
    return pl.read_csv(path, separator="\t" if path.suffix == ".tsv" else ",", schema=schema)


def rows_of(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return [
        tuple("NaN" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row) for row in frame.rows()
    ]


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(0, 40))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(st.none() | values, min_size=height, max_size=height))

    return pl.DataFrame(
        {
            "k": column(st.integers(0, 6)),
            "x": column(st.sampled_from([0.0, -0.0, 1.5, -2.5, math.nan, math.inf])),
            "t": column(st.sampled_from(["a", "b", "", "a,b", 'say "x"', "ü\n", " "])),
        },
        schema={"k": pl.Int64, "x": pl.Float64, "t": pl.String},
    )


RULES: list[Any] = [
    {"not_null": {"column": "k", "severity": "critical"}},
    {"range": {"column": "x", "min": 0, "mostly": 0.1}},
    {"in_set": {"column": "t", "values": ["a", "b", ""], "where": "k > 2", "name": "^t$, {odd}"}},
    {"range": {"column": "k", "max": 1, "severity": "low"}},
    {"row_count": {"max": 3}},
]
KEYS: list[Any] = [
    {"unique": {"column": "k"}},
    {"unique": {"columns": ["x", "t"], "nulls_equal": True, "where": "k < 5"}},
    {"unique_rows": {"severity": "low"}},
    {"foreign_key": {"column": "t", "reference": ["a", "", "ü\n", "c"]}},
]


def failing_ids(row: dict[str, Any], everything: list[dict[str, Any]], *, keys: bool) -> list[str]:
    """Which checks of severity ``high`` and above a row fails, as plainly as possible."""
    found = []
    if row["k"] is None:
        found.append("not_null:k")
    if row["x"] is not None and not row["x"] >= 0:
        found.append("range:x")
    if row["t"] is not None and row["k"] is not None and row["k"] > 2 and row["t"] not in {"a", "b", ""}:
        found.append("^t$, {odd}")
    if keys:
        if row["k"] is not None and sum(other["k"] == row["k"] for other in everything) > 1:
            found.append("unique:k")

        def pair(each: dict[str, Any]) -> tuple[Any, Any]:
            x = each["x"]
            return ("NaN" if x is not None and math.isnan(x) else x, each["t"])

        about = [each for each in everything if each["k"] is not None and each["k"] < 5]
        if row["k"] is not None and row["k"] < 5 and sum(pair(other) == pair(row) for other in about) > 1:
            found.append("unique:x,t")
        if row["t"] is not None and row["t"] not in {"a", "", "ü\n", "c"}:
            found.append("foreign_key:t")
    return found


@given(
    frame=frames(),
    morsel_rows=st.integers(1, 50),
    group=st.integers(1, 20),
    suffix=st.sampled_from(SUFFIXES),
    keys=st.booleans(),
    where=st.sampled_from([None, "k > 1"]),
)
@example(pl.DataFrame(schema={"k": pl.Int64, "x": pl.Float64, "t": pl.String}), 1, 1, "parquet", True, None)
def test_together_they_are_the_source(
    frame: pl.DataFrame, morsel_rows: int, group: int, suffix: str, keys: bool, where: str | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame.write_parquet(folder / "data.parquet", row_group_size=group)
        result = Checkpoint(
            "c", folder / "data.parquet", RULES + (KEYS if keys else []), where=where, morsel_rows=morsel_rows,
            split=Split(valid=folder / f"v.{suffix}", failing=folder / f"f.{suffix}"),
        ).run()  # fmt: skip
        assert result.split is not None, result
        ids_type = pl.List(pl.String) if suffix in {"parquet", "ndjson"} else pl.String
        valid = read(folder / f"v.{suffix}", frame.schema)
        failing = read(folder / f"f.{suffix}", {**frame.schema, ROW: pl.UInt64, CHECKS: ids_type})
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            ["data.parquet", f"f.{suffix}", f"v.{suffix}"]
        )
    numbered = [{**row, "row": i} for i, row in enumerate(frame.iter_rows(named=True))]
    about = [row for row in numbered if where is None or (row["k"] is not None and row["k"] > 1)]
    judged = [(row, failing_ids(row, about, keys=keys)) for row in about]
    if suffix == "ndjson":  # JSON has neither NaN nor infinities
        judged = [
            ({**row, "x": None if row["x"] is not None and not math.isfinite(row["x"]) else row["x"]}, ids)
            for row, ids in judged
        ]
    assert failing[ROW].to_list() == [row["row"] for row, ids in judged if ids]
    told = failing[CHECKS].to_list()
    assert told == [ids if suffix in {"parquet", "ndjson"} else ",".join(ids) for _, ids in judged if ids]
    expected = pl.DataFrame(
        [{name: row[name] for name in frame.columns} for row, ids in judged if not ids], schema=frame.schema
    )
    assert rows_of(valid) == rows_of(expected)
    both = Counter(rows_of(valid)) + Counter(rows_of(failing.select(frame.columns)))
    assert both == Counter(
        rows_of(pl.DataFrame([{n: row[n] for n in frame.columns} for row, _ in judged], schema=frame.schema))
    )
    assert (result.split.valid_rows, result.split.failing_rows) == (valid.height, failing.height)


def orders(folder: Path, rows: int = 1000) -> Path:
    frame = pl.DataFrame({"order_id": range(rows), "amount": [float(i % 100) - 1 for i in range(rows)]})
    frame.write_parquet(folder / "orders.parquet", row_group_size=100)
    return folder / "orders.parquet"


def test_a_quarantine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    orders(tmp_path)
    result = Checkpoint(
        "orders", "orders.parquet", ["not_null", {"range": {"column": "amount", "min": 0}}],
        split=Split(valid="clean/orders.parquet", failing="quarantine/orders-{run_id}.parquet"),
    ).run()  # fmt: skip
    assert str(result.split) == "Split: 990 valid, 10 failing"
    assert result.split is not None
    assert result.split.paths == {
        "valid": "clean/orders.parquet",
        "failing": f"quarantine/orders-{result.run_id}.parquet",
    }
    failing = pl.read_parquet(result.split.paths["failing"])
    assert failing.schema == {"order_id": pl.Int64, "amount": pl.Float64, ROW: pl.UInt64, CHECKS: pl.List(pl.String)}
    assert failing[CHECKS].to_list() == [["range:amount"]] * 10
    assert pl.read_parquet("clean/orders.parquet").height == 990
    assert result.status == "failure"
    again = sentrio.CheckpointResult.from_dict(result.to_dict())
    assert (again.split, again.to_dict()) == (result.split, result.to_dict())


def test_one_file_alone_and_severities(tmp_path: Path) -> None:
    rules = [{"range": {"column": "amount", "min": 0, "severity": "low"}}]
    for severity, failing in ((None, 0), ("low", 10), ("medium", 0)):
        result = Checkpoint(
            "o", orders(tmp_path), rules, split={"failing": tmp_path / "f.csv", "severity": severity}
        ).run()
        assert result.split is not None
        assert (result.split.failing_rows, list(result.split.paths)) == (failing, ["failing"])
        assert pl.read_csv(tmp_path / "f.csv").height == failing
    result = Checkpoint("o", orders(tmp_path), rules, fail_on="low", split={"valid": tmp_path / "v.jsonl"}).run()
    assert pl.read_ndjson(tmp_path / "v.jsonl").height == 990
    assert not (tmp_path / "f.parquet").exists()


def test_rows_without_their_counterpart(tmp_path: Path) -> None:
    source, known = orders(tmp_path), pl.DataFrame({"order_id": range(990)})
    rule = {"foreign_key": {"column": "order_id", "reference": known, "reference_column": "order_id"}}
    split = Split(valid=tmp_path / "v.parquet", failing=tmp_path / "f.parquet")
    result = Checkpoint("o", source, [rule], split=split, morsel_rows=300).run()
    assert str(result.split) == "Split: 990 valid, 10 failing"
    assert pl.read_parquet(tmp_path / "f.parquet")[ROW].to_list() == list(range(990, 1000))


def test_text_that_is_no_number_is_kept_as_text(tmp_path: Path) -> None:
    lines = [f"{i},{i}.5\n" for i in range(11_000)]
    lines[10_500] = "oops,1.5\n"
    (tmp_path / "n.csv").write_text("n,x\n" + "".join(lines))
    result = Checkpoint(
        "n", tmp_path / "n.csv", [{"range": {"column": "x", "min": 1}}], morsel_rows=3000,
        split=Split(valid=tmp_path / "v.parquet", failing=tmp_path / "f.parquet", severity="critical"),
    ).run()  # fmt: skip
    failing, valid = pl.read_parquet(tmp_path / "f.parquet"), pl.read_parquet(tmp_path / "v.parquet")
    assert failing.rows() == [("oops", "1.5", 10_500, ["type:n"])]
    assert valid.schema == {"n": pl.Int64, "x": pl.Float64}
    assert valid["n"].null_count() == 0
    assert valid.height == 10_999
    assert result.status == "failure"


def test_names_that_are_patterns_to_polars(tmp_path: Path) -> None:
    frame = pl.DataFrame({"^a.*$": [1, -1], "abc": [1, 2], "*": ["x", "y"]})
    rules = [{"expression": {"condition": "abc < 2", "name": "^f.*$"}}]
    result = Checkpoint(
        "c", frame, rules, split=Split(valid=tmp_path / "v.parquet", failing=tmp_path / "f.parquet")
    ).run()
    assert pl.read_parquet(tmp_path / "v.parquet").rows() == [(1, 1, "x")]
    assert pl.read_parquet(tmp_path / "f.parquet").rows() == [(-1, 2, "y", 1, ["^f.*$"])]
    assert result.split is not None


@pytest.mark.parametrize(
    ("rules", "frame", "said"),
    [
        ([{"range": {"column": "b"}}], {"a": [1]}, "split: nothing was written, since check 'range:b' could not be evaluated"),
        ([{"monotonic": {"column": "a"}}], {"a": [1]}, "split: check 'monotonic:a' can not tell of one row whether it fails"),
        ([{"foreign_key": {"column": "a", "reference": "nowhere.csv", "reference_column": "a"}}], {"a": [1]}, "split: nothing was written, since check 'foreign_key:a' could not be evaluated"),
        (["not_null"], {"a": [[1]]}, "split: valid: column 'a' is List(Int64), which a .csv file can not hold"),
        (["not_null"], {ROW: [1]}, f"split: the source has a column {ROW!r} of its own"),
    ],
)  # fmt: skip
def test_what_can_not_be_split_is_said_and_nothing_is_written(
    tmp_path: Path, rules: Any, frame: Any, said: str
) -> None:
    rules = [*rules, {"row_count": {"min": 0}}]
    split = Split(valid=tmp_path / "deep" / "v.csv", failing=tmp_path / "deep" / "f.parquet")
    result = Checkpoint("c", pl.DataFrame(frame), rules, split=split).run()
    assert (result.status, result.split) == ("error", None)
    assert said in (result.error or "")
    assert list(tmp_path.iterdir()) == []


def test_a_timeout_and_a_source_that_breaks_leave_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "v.parquet").write_text("old")

    def dawdle(frame: pl.DataFrame) -> pl.DataFrame:
        time.sleep(0.3)
        return frame

    slow = pl.LazyFrame({"a": [1]}).map_batches(dawdle)
    result = Checkpoint(
        "c", slow, ["not_null"], timeout_seconds=0.05, split=Split(valid=tmp_path / "v.parquet")
    ).run()
    assert (result.status, result.split) == ("error", None)
    (tmp_path / "d.csv").write_text("a,b\n" + "1,2\n" * 20_000 + "1,2,3\n")
    result = Checkpoint("c", tmp_path / "d.csv", ["not_null"], split=Split(valid=tmp_path / "v.parquet")).run()
    assert (result.status, result.split) == ("error", None)
    assert (tmp_path / "v.parquet").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"v.parquet", "d.csv"}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("piece", [100, 1000])
def test_a_disk_that_is_full_is_an_error_of_the_run(
    suffix: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it happens: while rows are read, or with the last ones."""

    def full(self: Any, frame: pl.DataFrame) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sinks.SUFFIXES[f".{suffix}"], "write", full)
    monkeypatch.setattr(splitting, "_WRITTEN_ROWS", piece)
    split = Split(valid=tmp_path / f"q/v.{suffix}", failing=tmp_path / f"q/f.{suffix}")
    result = Checkpoint("c", pl.DataFrame({"a": range(500)}), ["not_null"], split=split, morsel_rows=100).run()
    assert (result.status, result.split) == ("error", None)
    assert f".{suffix} can not be written: No space left on device" in (result.error or "")
    assert list(tmp_path.iterdir()) == []


def test_a_struct_without_fields_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [[{}]]}, schema={"a": pl.List(pl.Struct([]))})
    result = Checkpoint("c", frame, ["not_null"], split=Split(valid=tmp_path / "v.parquet")).run()
    assert (result.error or "").endswith("column 'a' is List(Struct({})), which a .parquet file can not hold")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_put_in_place_takes_the_other_one_back(tmp_path: Path) -> None:
    (tmp_path / "v.parquet").mkdir()
    split = Split(valid=tmp_path / "v.parquet", failing=tmp_path / "f.parquet")
    result = Checkpoint("c", pl.DataFrame({"a": [1]}), ["not_null"], split=split).run()
    assert (result.status, result.split) == ("error", None)
    assert "v.parquet can not be written" in (result.error or "")
    assert [path.name for path in tmp_path.iterdir()] == ["v.parquet"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, OptionValueError, "split: give 'valid', 'failing' or both"),
        ({"valid": "a.xlsx"}, OptionValueError, "split: valid must be a path that ends in one of .csv, .tsv, .parquet"),
        ({"valid": 3}, OptionValueError, "split: valid must be a path"),
        ({"valid": "a.csv", "failing": "a.csv"}, OptionValueError, "split: valid and failing are the same path 'a.csv'"),
        ({"valid": "a.csv", "severity": "hihg"}, OptionValueError, "split: severity must be one of critical"),
        ({"vaild": "a.csv"}, UnknownOptionError, "split: unknown option 'vaild'; did you mean 'valid'?"),
        ({"valid": "{run}.csv"}, OptionValueError, "split: nothing is called 'run' in '{run}.csv'; did you mean 'run_id'?"),
        ({"valid": "s3://key:hunter2@bucket/v.parquet"}, OptionValueError, "split: valid must be a path on this machine, got a URL that begins with s3://"),
        ({"failing": "a\0.csv"}, OptionValueError, "split: failing must be a path without zero characters"),
        ({"valid": "{.csv"}, OptionValueError, "split: the brace in '{.csv' begins no word; write '{{' for a brace"),
    ],
)  # fmt: skip
def test_options_that_are_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        Checkpoint("c", "a.parquet", ["not_null"], split=options)
    assert said in str(caught.value)


def test_options_that_do_not_go_together() -> None:
    split = Split(valid="v.csv")
    with pytest.raises(OptionValueError, match="split: a split needs all rows, and fail_fast stops before"):
        Checkpoint("c", "a.parquet", ["not_null"], split=split, fail_fast=True)
    with pytest.raises(OptionValueError, match="split: with fail_on='never' nothing says which checks count"):
        Checkpoint("c", "a.parquet", ["not_null"], split=split, fail_on="never")
    Checkpoint("c", "a.parquet", ["not_null"], split=Split(valid="v.csv", severity="high"), fail_on="never")
    with pytest.raises(OptionValueError, match="split must be a Split, or a mapping of its options, got 'v.csv'"):
        Checkpoint("c", "a.parquet", ["not_null"], split="v.csv")


def test_words_in_paths() -> None:
    values = {"date": "2026-11-20", "checkpoint": "orders"}

    def fill(text: str) -> str:
        return fill_path(text, values, owner="split", option="valid")

    assert fill("a/{date}/{checkpoint}-{{x}}.csv") == "a/2026-11-20/orders-{x}.csv"
    for bad in ("a/b", "..", "", "a\\b"):
        values["checkpoint"] = bad
        with pytest.raises(OptionValueError, match="which is no name of a file"):
            fill("{checkpoint}.csv")


def test_in_a_configuration(tmp_path: Path) -> None:
    orders(tmp_path)
    file = tmp_path / "sentrio.yaml"
    text = """
checkpoints:
  "or/ders":
    data_source: orders.parquet
    validators: [range: {column: amount, min: 0}]
    split: {valid: "clean/{checkpoint}-{date}.csv", failing: "bad/{{x}}.parquet"}
"""
    file.write_text(text)
    result = sentrio.load_config(file).checkpoints["or/ders"].run()
    assert result.split is not None
    day = result.run_time.date()
    assert [Path(path).relative_to(tmp_path).as_posix() for path in result.split.paths.values()] == [
        f"clean/{own_name('or/ders')}-{day}.csv", "bad/{x}.parquet"
    ]  # fmt: skip
    assert all(Path(path).exists() for path in result.split.paths.values())
    assert "Split" in str(sentrio.checkpoint.formats.renderer("html")([result], exit_code=0))
    file.write_text(text.replace("failing:", "faling:"))
    with pytest.raises(
        ConfigurationError, match=r":6:\d+  checkpoints\S*split: unknown option 'faling'; did you mean 'failing'"
    ):
        sentrio.load_config(file)


@pytest.mark.endurance
@pytest.mark.parametrize("keys", [False, True], ids=["rows", "keys"])
def test_cancelled_anywhere_it_leaves_nothing_or_all(backend: Backend, tmp_path: Path, keys: bool) -> None:
    source = orders(tmp_path, 300)
    out = tmp_path / "out"
    rules: list[Any] = [
        {"range": {"column": "amount", "min": 0}},
        *([{"unique": {"column": "amount"}}] if keys else []),
    ]
    checkpoint = Checkpoint(
        "c", source, rules, morsel_rows=100,
        split=Split(valid=out / "deep" / "v.parquet", failing=out / "f.parquet"),
    )  # fmt: skip
    ended = Counter[int]()

    def look() -> None:
        found = {path.relative_to(out).as_posix() for path in out.rglob("*")} if out.exists() else set()
        assert found in (set(), {"deep", "deep/v.parquet", "f.parquet"}), found
        ended[len(found)] += 1
        for path in sorted(out.rglob("*"), reverse=True) if out.exists() else ():
            path.rmdir() if path.is_dir() else path.unlink()
        if out.exists():
            out.rmdir()

    # A loaded machine may need longer for one slice than a cancelled run waits; such a thread writes nothing.
    cancel_everywhere(checkpoint.run_async, backend=backend, check=look, allow_abandoned=True)
    assert ended[0] > 10


KILLED = """
import sys, polars as pl
from sentrio import Checkpoint, Split
folder = sys.argv[1]
checkpoint = Checkpoint(
    "c", folder + "/orders.parquet", [{"range": {"column": "amount", "min": 0}}], morsel_rows=100,
    split=Split(valid=folder + "/out/v.parquet", failing=folder + "/out/f.parquet"),
)
checkpoint.run()
import shutil; shutil.rmtree(folder + "/out")
print("ready", flush=True)
while True:
    checkpoint.run()
    for name in "vf":
        pathlib = __import__("pathlib").Path(folder, "out", name + ".parquet").unlink()
"""


@pytest.mark.endurance
def test_killed_anywhere_each_file_is_whole_or_absent(tmp_path: Path, large_counts: int) -> None:
    orders(tmp_path, 2000)
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    out = tmp_path / "out"
    for _ in range(8 * large_counts):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.1))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        names = {path.name for path in out.iterdir() if path.suffix == ".parquet"} if out.exists() else set()
        assert names in (set(), {"f.parquet"}, {"f.parquet", "v.parquet"}), seed
        heights = {name: pl.read_parquet(out / name).height for name in names}
        assert heights.items() <= {"f.parquet": 20, "v.parquet": 1980}.items(), seed
        for path in out.iterdir() if out.exists() else ():
            path.unlink()
