"""Stored results are whole, or not there."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import jsonschema
import polars as pl
import pytest

import sentrio
from sentrio import Checkpoint, StoreValidationResult
from sentrio.checkpoint.formats.json import schema
from sentrio.checkpoint.names import own_name
from sentrio.errors import OptionValueError

FRAME = pl.DataFrame({"a": [1, None]})


def test_partitions(tmp_path: Path) -> None:
    checkpoint = Checkpoint("o/r d..ers", FRAME, ["not_null"])
    checkpoint.add_action({"store": {"path": tmp_path / "flat"}})
    checkpoint.add_action(StoreValidationResult(path=tmp_path / "dated", partition_by="date"))
    checkpoint.add_action(StoreValidationResult(path=tmp_path / "named", partition_by="checkpoint"))
    result = checkpoint.run()
    name = f"o_r_d..ers-{result.run_id[:6]}.json"
    day = result.run_time.date().isoformat()
    assert [action.message for action in result.action_results] == [
        f"saved {tmp_path / folder / name}" for folder in ("flat", f"dated/{day}", f"named/{own_name('o/r d..ers')}")
    ]
    for action in result.action_results:
        jsonschema.validate(
            json.loads(Path(action.details["path"]).read_text()),
            {**schema(), "$ref": "#/$defs/result", "required": [], "properties": {}},
        )
    loaded = sentrio.load_results(tmp_path)
    assert [each.run_id for each in loaded] == [result.run_id] * 3
    assert loaded[0] == attrs.evolve(result, action_results=())


def test_a_url_is_no_folder() -> None:
    with pytest.raises(OptionValueError, match=r"path must be a path on this machine.* s3://$"):
        StoreValidationResult(path="s3://key:hunter2@bucket/results")
    assert StoreValidationResult(path="C:/results").config.path == "C:/results"


async def test_runs_whose_ids_begin_alike_do_not_replace_each_other(tmp_path: Path) -> None:
    result = await Checkpoint("a", FRAME, ["not_null"]).run_async()
    store = StoreValidationResult(path=tmp_path)
    for tail in ("0" * 26, "1" * 26):
        assert (await store.execute_async(attrs.evolve(result, run_id=f"abcdef{tail}"))).status == "success"
    assert len(sentrio.load_results(tmp_path)) == 2
    again = await store.execute_async(attrs.evolve(result, run_id=f"abcdef{'1' * 26}"))
    assert again.status == "success"
    again = await store.execute_async(attrs.evolve(result, run_id=f"abcdef{'1' * 26}"))
    assert again.status == "error"
    assert "stored already" in str(again.error)


@pytest.mark.parametrize(
    "name", ["數" * 100, "𠀀" * 100, "x" * 300, "é" + "數" * 99], ids=["bmp", "beyond", "ascii", "odd"]
)
def test_long_names_in_any_script_fit_into_a_file_name(tmp_path: Path, name: str) -> None:
    checkpoint = Checkpoint(name, FRAME, ["not_null"], split={"failing": tmp_path / "{checkpoint}-{run_id}.csv"})
    for partition_by in (None, "checkpoint"):
        for suffix in ("json", "html"):
            store = {"path": tmp_path / "store", "partition_by": partition_by, "format": suffix}
            checkpoint.add_action({"store": store})
    result = checkpoint.run()
    assert [action.error for action in result.action_results] == [None] * 4
    assert [each.checkpoint_name for each in sentrio.load_results(tmp_path / "store")] == [name] * 2
    assert result.split is not None


def test_bad_options() -> None:
    with pytest.raises(OptionValueError, match="one of date, checkpoint, got 'week'"):
        StoreValidationResult(path="x", partition_by="week")
    with pytest.raises(OptionValueError, match="'path' is missing"):
        StoreValidationResult()


def test_reading_back_what_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no stored results"):
        sentrio.load_results(tmp_path / "no")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x.json holds no stored result: .*schema_version 1, got None"):
        sentrio.load_results(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="x.json holds no stored result"):
        sentrio.load_results(tmp_path)


def test_other_versions_are_refused_and_new_fields_ignored() -> None:
    data = Checkpoint("a", FRAME, ["not_null"]).run().to_dict()
    data["new"] = data["report"]["new"] = data["report"]["checks"][0]["new"] = 1
    assert sentrio.CheckpointResult.from_dict(data).status == "failure"
    with pytest.raises(ValueError, match="schema_version 1, got 2"):
        sentrio.CheckpointResult.from_dict(data | {"schema_version": 2})


WRITER = """
import sys, polars as pl, anyio
from sentrio import Checkpoint
checkpoint = Checkpoint("killed", pl.DataFrame({"a": ["x" * 900] * 50}), [{"in_set": {"values": ["y"]}}],
                        actions=[{"store": {"path": sys.argv[1]}}], sample_failures=50)
async def main():
    print("ready", flush=True)
    while True:
        await checkpoint.run_async()
anyio.run(main)
"""


@pytest.mark.endurance
@pytest.mark.chaos
def test_killed_at_any_moment_leaves_only_whole_files(tmp_path: Path, large_counts: int) -> None:
    seed = random.randrange(2**32) if large_counts > 1 else 1
    print(f"seed {seed}")
    dice = random.Random(seed)
    kills = 10 * large_counts
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            process.stdout.readline()
            time.sleep(dice.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
    stored = sentrio.load_results(tmp_path)
    assert stored
    visible = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert len(visible) == len(stored)
    assert all(len(result.report.checks[0].sample) == 50 for result in stored)
