"""What is split must not be written over: neither by one of the two files, nor by the run after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sentrio import Checkpoint, Split
from sentrio.errors import OptionValueError

FRAME = pl.DataFrame({"a": [1, None, 3]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in").mkdir()
    FRAME.write_parquet(tmp_path / "orders.parquet")
    FRAME.write_parquet(tmp_path / "in/monday.parquet")
    (tmp_path / "link.parquet").symlink_to("orders.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("data", "option", "path", "said"),
    [
        ("orders.parquet", "valid", "./orders.parquet", "is the data source itself"),
        ({"path": "orders.parquet"}, "failing", "in/../orders.parquet", "is the data source itself"),
        ("orders.parquet", "valid", "link.parquet", "is the data source itself"),
        ("link.parquet", "valid", "orders.parquet", "is the data source itself"),
        ("in", "valid", "in/clean/orders.parquet", "would be read as a part"),
        ("in/*.parquet", "failing", "in/bad-{run_id}.parquet", "would be read as a part"),
    ],
)
def test_what_is_read_is_not_written(folder: Path, data: Any, option: str, path: str, said: str) -> None:
    with pytest.raises(OptionValueError, match=f"split: {option}: .* {said}"):
        Checkpoint("c", data, ["not_null"], split=Split(**{option: path}))
    assert pl.read_parquet("orders.parquet").equals(FRAME)


def test_two_names_of_one_file(folder: Path) -> None:
    with pytest.raises(OptionValueError, match="valid and failing are the same file"):
        Checkpoint("c", FRAME, ["not_null"], split=Split(valid="out.csv", failing="in/../out.csv"))


def test_a_link_that_came_later(folder: Path) -> None:
    checkpoint = Checkpoint("c", "orders.parquet", ["not_null"], split=Split(valid="later.parquet"))
    (folder / "later.parquet").symlink_to("orders.parquet")
    result = checkpoint.run()
    assert result.status == "error"
    assert result.error is not None
    assert "is the data source itself" in result.error
    assert pl.read_parquet("orders.parquet").equals(FRAME)


@pytest.mark.parametrize(
    ("data", "path"),
    [("in", "clean/orders.parquet"), ("in", "in/_clean/orders.parquet"), ("in/*.parquet", "in/deeper/a.parquet")],
)
def test_beside_what_is_read_anything_may_be_written(folder: Path, data: str, path: str) -> None:
    checkpoint = Checkpoint("c", data, ["not_null"], split=Split(valid=path))
    for _ in range(2):
        split = checkpoint.run().split
        assert split is not None
        assert (split.valid_rows, split.failing_rows) == (2, 1)
