"""Fetch each site, then validate what it wrote."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest

from sentrio import Checkpoint
from sentrio.errors import OptionValueError
from sentrio.pipeline import AsyncPipelineExecutor, PipelineConfig, SiteResult
from sentrio.testing import Backend, cancel_everywhere

pytestmark = pytest.mark.endurance

# What each site "fetches" is in its name.
FETCH = ["sh", "-c", 'echo "$1" >> fetched; printf "amount\\n$1\\n" > "$1.csv"', "-", "{site}"]
RULES = [{"range": {"column": "amount", "min": 0}}]


def executor(folder: Path, rules: Any = RULES, command: Any = FETCH, **options: Any) -> AsyncPipelineExecutor:
    checkpoint = Checkpoint("orders", folder / "{site}.csv", rules, **options.pop("checkpoint", {}))
    options = {"retry_count": 1, "cwd": folder, **options}
    return AsyncPipelineExecutor({"command": command, "checkpoint": checkpoint, **options})


async def test_bad_data_are_a_failed_site(tmp_path: Path) -> None:
    good, bad = await executor(tmp_path).run_detailed(["12", "-3"])
    assert (good.status, good.error, good.exit_code) == ("success", None, 0)
    assert good.checkpoint is not None
    assert good.checkpoint.checkpoint_name == "orders[12]"
    assert good.checkpoint.metadata == {"site": "12"}
    assert good.checkpoint.data_asset == str(tmp_path / "12.csv")
    assert (bad.status, bad.exit_code) == ("failed", 0)
    assert str(bad.error).startswith("orders[-3]: failure, 0 of 1 check passed; range amount 1 of 1 (1 row, ")
    assert bad.checkpoint is not None
    assert bad.checkpoint.report.failed[0].sample[0].values == {"amount": -3}


async def test_a_verdict_is_final_and_an_undecided_one_is_not(tmp_path: Path) -> None:
    made = executor(tmp_path, retry_count=3, retry_delay_seconds=0)
    results = await made.run_detailed(["-3", "12"])
    assert [result.attempts for result in results] == [1, 1]
    nothing = [
        "sh",
        "-c",
        'echo "$1" >> fetched; test "$(grep -c "^$1$" fetched)" -lt 2 || echo amount > "$1.csv"',
        "-",
        "{site}",
    ]
    (late,) = await executor(
        tmp_path, [{"row_count": {"min": 0}}], nothing, retry_count=3, retry_delay_seconds=0
    ).run_detailed(["7"])
    assert (late.status, late.attempts) == ("success", 2)
    (never,) = await executor(tmp_path, command=["true"], retry_count=2, retry_delay_seconds=0).run_detailed(["99"])
    assert (never.status, never.attempts) == ("failed", 2)
    assert str(never.error).startswith("orders[99]: error, ")
    assert "there is no such file" in str(never.error)


async def test_no_verdict_where_the_command_fails(tmp_path: Path) -> None:
    (tmp_path / "12.csv").write_text("amount\n12\n")
    (result,) = await executor(tmp_path, command=["false"]).run_detailed(["12"])
    assert (result.error, result.checkpoint) == ("exit code 1", None)


async def test_warnings_pass_and_failed_actions_are_kept(tmp_path: Path) -> None:
    def breaks(_: object) -> None:
        raise OSError("no such channel")

    rules = [{"range": {"column": "amount", "min": 0, "severity": "low"}}]
    (result,) = await executor(tmp_path, rules, checkpoint={"actions": [breaks]}).run_detailed(["-3"])
    assert result.success
    assert result.checkpoint is not None
    assert result.checkpoint.status == "warning"
    assert len(result.checkpoint.failed_actions) == 1


@pytest.mark.parametrize("site", ["../up", "a/b", "a\\b", "..", ".", "", "*", "a?", "[ab]"])
async def test_sites_that_would_leave_the_folder_run_nothing(tmp_path: Path, site: str) -> None:
    (tmp_path / "12.csv").write_text("amount\n12\n")
    (result,) = await executor(tmp_path, retry_count=3).run_detailed([site])
    assert (result.status, result.attempts) == ("failed", 1)
    assert "can not be one segment of the path of checkpoint 'orders'; nothing was run for it" in str(result.error)
    assert not await anyio.Path(tmp_path / "fetched").exists()


@pytest.mark.parametrize(
    "site", ["with space", "'quotes\"", "$(touch owned)", "two\nlines", "-n", "ünïcödé 🙂", "{site}", "%s", "a..b"]
)
async def test_other_sites_are_one_segment(tmp_path: Path, site: str) -> None:
    command = ["sh", "-c", 'printf "amount\\n1\\n" > "./$1.csv"', "-", "{site}"]
    (result,) = await executor(tmp_path, command=command).run_detailed([site])
    assert result.success, result.error
    assert [each.name async for each in anyio.Path(tmp_path).iterdir()] == [f"{site}.csv"]


async def test_functions_and_no_command_at_all(tmp_path: Path) -> None:
    def fetch(site: str) -> None:
        (tmp_path / f"{site}.csv").write_text(f"amount\n{site}\n")

    assert await executor(tmp_path, command=fetch).run_all_async(["1", "-1"]) == {"1": True, "-1": False}
    assert await executor(tmp_path, command=None).run_all_async(["1", "-1"]) == {"1": True, "-1": False}


async def test_options_of_the_source_stay(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("amount;x\nNA;1\n")
    source = {"path": "{site}.txt", "format": "csv", "separator": ";", "null_values": ["NA"]}
    checkpoint = Checkpoint(
        "orders", source, ["not_null"], validator_config={"not_null": {"column": "x"}}, base_dir=tmp_path
    )
    assert await AsyncPipelineExecutor({"checkpoint": checkpoint}).run_all_async(["a"]) == {"a": True}


def test_results_survive_the_job_log_and_pickle(tmp_path: Path) -> None:
    made = executor(tmp_path, job_log=tmp_path / "jobs", retry_count=1)
    (first,) = anyio.run(made.run_detailed, ["-3"])
    assert SiteResult.from_dict(json.loads(json.dumps(first.to_dict()))).to_dict() == first.to_dict()
    assert pickle.loads(pickle.dumps(first)).to_dict() == first.to_dict()  # noqa: S301  # our own
    (again,) = anyio.run(made.resume, ["-3"])
    assert again.to_dict() == first.to_dict()
    assert (tmp_path / "fetched").read_text() == "-3\n"
    anyio.run(made.retry_failed)
    assert (tmp_path / "fetched").read_text() == "-3\n-3\n"


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("orders", "checkpoint must be a Checkpoint, got 'orders'; in sentrio.yaml it is a name under `checkpoints`"),
        (Checkpoint("orders", "orders.csv", ["not_null"]), "the data_source of checkpoint 'orders' has no {site}"),
        (Checkpoint("orders", pl.DataFrame({"a": [1]}), ["not_null"]), "the data_source of checkpoint 'orders' has no {site}"),
    ],
)  # fmt: skip
def test_what_can_not_be_a_checkpoint(checkpoint: Any, message: str) -> None:
    with pytest.raises(OptionValueError) as caught:
        PipelineConfig(command=["true"], checkpoint=checkpoint)
    assert message in str(caught.value)


async def test_the_timeout_of_an_attempt_ends_its_checkpoint(tmp_path: Path) -> None:
    """A minute of reading, of which half a second passes."""
    rows = 2_000_000
    frame = pl.DataFrame({"text": pl.int_range(rows, eager=True).cast(pl.String) + "@example.com"})
    frame.write_parquet(tmp_path / "big.parquet", row_group_size=100_000)
    patterns = [rf"^([0-9]+)+@(e|x|a|m|p|l){{{n},}}\.com$" for n in range(1, 101)]
    rules = [{"regex": {"column": "text", "pattern": pattern}} for pattern in patterns]
    checkpoint = Checkpoint("orders", tmp_path / "{site}.parquet", rules)
    made = AsyncPipelineExecutor({"checkpoint": checkpoint, "timeout": 0.3, "retry_count": 1})
    begun = time.monotonic()
    (result,) = await made.run_detailed(["big"])
    assert (result.status, result.error) == ("timed_out", "timed out after 0.3 s, in its checkpoint")
    assert time.monotonic() - begun < 25


def test_cancel_everywhere_in_a_checkpoint(backend: Backend, tmp_path: Path, marked: Callable[[], list[int]]) -> None:
    made = executor(tmp_path, max_concurrent_sites=2)

    def none_left() -> None:
        assert marked() == []

    # uvloop forks the process of the tests for each site, which takes ten times as long as elsewhere.
    sites = ["-1"] if backend == "uvloop" else ["1", "-1"]
    cancel_everywhere(partial(made.run_all_async, sites), backend=backend, check=none_left)
