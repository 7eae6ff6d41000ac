"""Damaged files end as an error with a message, or as findings: never as a crash, a hang, or a pass without some rows."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import _corrupt
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

import sentrio

#: what one check of some megabytes may take on a busy machine
SECONDS = 30


def rows_of(ending: str, data: bytes) -> int:
    """Return how many rows a file has that can be read: a text that was cut at a line may still be one."""
    if ending == "csv":
        return sum(1 for row in csv.reader(data.decode().splitlines(keepends=True)) if row) - 1
    if ending == "ndjson":
        return sum(isinstance(json.loads(line), dict) for line in data.decode().splitlines() if line.strip())
    return _corrupt.ROWS


@pytest.mark.chaos
def test_damaged_files_are_errors_or_findings(tmp_path: Path, large_counts: int) -> None:
    """In a process of its own, whose end and whose standard error tell of crashes and of panics in native code."""
    count = 10 * large_counts
    print(f"seeds 0 to {count - 1}")
    command = [sys.executable, "-W", "error", _corrupt.__file__, str(tmp_path), "0", str(count)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60 + SECONDS * count,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout.splitlines()[-1:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == count
    for each in found:
        assert each["seconds"] < SECONDS, each
        assert each["memory"] < _corrupt.MEMORY, each
        if each["status"] == "error":
            assert each["message"], each
            assert "unwrap" not in each["message"], each
        elif each["status"] == "success":
            ending, _, data = _corrupt.damaged(each["seed"])
            assert each["rows"] == rows_of(ending, data), each
        else:
            assert each["status"] == "failure", each


def check(path: Path, content: bytes, **options: Any) -> str:
    path.write_bytes(content)
    result = sentrio.check({"path": path, **options}, ["not_null"])
    assert result.status == "error", result
    assert result.error is not None
    return result.error.removeprefix(f"{path}: ")


MANY = b"1,2\n" * 30_000


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zst"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n" + MANY + b"1,2,3\n1,2\n", "line 30002 has 3 fields where 2 are expected"),
        (b"a,b\n" + MANY + b"1\n1,2\n", "line 30002 has 1 field where 2 are expected"),
        (b'a,b\n"1\n1",\n' + MANY + b"1\n1,2\n", "line 30004 has 1 field where 2 are expected"),
        (b"a,b\n" + b'"x\ny",2\n' * 9_000 + b"1\n", "line 18002 has 1 field where 2 are expected"),
        (b'a\n"x\ny"\n\n1\n1,2\n', "line 6 has 2 fields where 1 are expected"),
        (
            b"a,b\n" + MANY + b"x\xff,2\n",
            "line 30002 is not utf-8 text; give `encoding`, for instance cp1252 or latin-1",
        ),
    ],
    ids=["long", "short", "after a quoted break", "quoted breaks", "empty in one column", "encoding"],
)
def test_the_line_of_a_csv_file_that_is_wrong(ending: str, content: bytes, message: str, tmp_path: Path) -> None:
    from _formats import packed

    assert check(tmp_path / f"a.{ending}", packed(ending, content)) == message


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_zero_bytes(encoding: str, tmp_path: Path) -> None:
    """Where a disk lost a block, two lines become one with the right number of fields."""
    content = b"a,b\nx,2\n" + MANY + b"x" + bytes(4096) + b"y,2\n"
    message = "line 30003 holds a zero byte, so it is damaged, or no text"
    assert check(tmp_path / "a.csv", content, encoding=encoding) == message


def test_a_quote_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentrio.validation.sources.csv_lines._LONGEST_FIELD", 100_000)
    content = b'a,b\nx,"' + b"y" * 200_000 + b",\n"
    assert check(tmp_path / "a.csv", content) == "line 2: a quoted field does not end; is quote_char right?"
    assert csv.field_size_limit() == 131_072


UNREAD = "no JSON that could be read: a number is too large, or an escape in a text stands for no character"
OBJECTS = b'{"a": 1}\n' * 30_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (OBJECTS + b'{"a": \n', "line 30001: no JSON: Expecting value (column 6)"),
        (OBJECTS + b"[1]\n" + OBJECTS, "line 30001: no JSON object"),
        (OBJECTS + b'{"a": 1}{"a": 2}\n', "line 30001: no JSON: Extra data (column 9)"),
        (b'{"a": NaN}\n', "line 1: no JSON: it has no NaN; write null instead"),
        (OBJECTS + b'{"a": -Infinity}\n', "line 30001: no JSON: it has no -Infinity; write null instead"),
        (OBJECTS + b'{"a": 1e400}\n' + OBJECTS, f"line 30001: {UNREAD}"),
        (b'{"b": "\\udc00"}\n' + OBJECTS, f"line 1: {UNREAD}"),
        (OBJECTS + b"\n" + OBJECTS + b'{"a": 1%s}' % (b"1" * 40), f"line 60002: {UNREAD}"),
        (b'{"a": "\xff"}\n', "line 1 is not utf-8 text; give `encoding`, for instance cp1252 or latin-1"),
        (b"", "the file is empty"),
        (b"\n\n", "the file holds no line"),
    ],
)
def test_the_line_of_an_ndjson_file_that_is_wrong(content: bytes, message: str, tmp_path: Path) -> None:
    assert check(tmp_path / "a.ndjson", content) == message


def test_a_line_in_another_encoding(tmp_path: Path) -> None:
    text = "a,b\n" + "ä,2\n" * 20
    error = check(tmp_path / "a.csv", text.encode("cp1252") + b"\x81,2\n", encoding="cp1252")
    assert error == "line 22 is not cp1252 text"
    assert "line 1 is not ascii text" in check(tmp_path / "a.csv", "ä,b\n".encode(), encoding="ascii")


def stream(*, rows: int = 100) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"x": list(range(rows)), "t": ["some text"] * rows})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (stream()[:-8], "it ends without its end mark"),
        (stream()[:-9], "longer than the file"),
        (stream() + b"more", "more follows after its end"),
        (b"ARROW1" + bytes(20), "it ends without its footer"),
        (b"FEA1" + bytes(20), "version 1 of Feather"),
        (b"what is this?", "no Arrow IPC"),
        (b"", "it ends without its end mark"),
    ],
)
def test_what_is_wrong_with_an_arrow_file(content: bytes, message: str, tmp_path: Path) -> None:
    assert message in check(tmp_path / "a.arrow", content)


def test_files_and_streams_do_not_mix(tmp_path: Path) -> None:
    import polars as pl

    pl.DataFrame({"x": [1], "t": ["a"]}).write_ipc(tmp_path / "a.arrow")
    (tmp_path / "b.arrow").write_bytes(stream())
    assert "some are files and some are streams" in str(sentrio.check(tmp_path, ["not_null"]).error)
