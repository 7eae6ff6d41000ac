"""The complete example of the documentation of asynchronous execution runs as written, and ends by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sentrio import Checkpoint

COMPLETE_EXAMPLE = """\
import asyncio
from sentrio.checkpoint import Checkpoint
from sentrio.checkpoint.async_runner import (
    AsyncCheckpointRunner,
    AsyncRunnerConfig,
    run_checkpoints_parallel,
)
from sentrio.checkpoint.async_base import (
    AsyncBaseAction,
    ConcurrentStrategy,
    adapt_to_async,
)
from sentrio.checkpoint.actions import SlackNotification
from sentrio.checkpoint.triggers import ScheduleTrigger


# Custom async action
class AsyncWebhookAction(AsyncBaseAction):
    action_type = "async_webhook"

    async def _execute_async(self, result):
        import aiohttp

        async with aiohttp.ClientSession() as session:
            async with session.post(
                self._config.url,
                json=result.to_dict(),
            ) as resp:
                return ActionResult(
                    status=ActionStatus.SUCCESS if resp.ok else ActionStatus.ERROR,
                    action_name=self.name,
                    action_type=self.action_type,
                )


# Convert synchronous action to async
slack = SlackNotification(webhook_url="${SLACK_WEBHOOK}")
async_slack = adapt_to_async(slack)

# Create checkpoints
checkpoint1 = Checkpoint(
    name="hourly_validation",
    data_source="data.csv",
    validators=["null"],
    actions=[async_slack],
)
checkpoint1.add_trigger(ScheduleTrigger(interval_hours=1))

checkpoint2 = Checkpoint(
    name="daily_data_validation",
    data_source="data.parquet",
    validators=["range", "distribution"],
)


async def main():
    # 1. Parallel execution
    results = await run_checkpoints_parallel(
        checkpoints=[checkpoint1, checkpoint2],
        max_concurrent=5,
        on_complete=lambda r: print(f"Done: {r.checkpoint_name}"),
    )

    # 2. Trigger-based execution with runner
    runner = AsyncCheckpointRunner(
        config=AsyncRunnerConfig(max_concurrent_checkpoints=10),
        result_callback=lambda r: print(f"Completed: {r.status}"),
    )

    runner.add_checkpoint(checkpoint1)
    runner.add_checkpoint(checkpoint2)

    await runner.start_async()

    # Stream results
    async for result in runner.iter_results_async(timeout=5.0):
        print(f"{result.checkpoint_name}: {result.status}")

        # Stop after 10 results
        if runner._result_queue.qsize() >= 10:
            break

    await runner.stop_async()


asyncio.run(main())
"""


def in_a_process(program: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-X", "utf8", "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SLACK_WEBHOOK", raising=False)
    frame = pl.DataFrame({"id": range(200), "amount": [1.0, 2.5, 3.0, 2.0] * 50})
    frame.with_columns(amount=pl.when(pl.col("id") != 3).then("amount")).write_csv(tmp_path / "data.csv")
    frame.write_parquet(tmp_path / "data.parquet")
    return tmp_path


def test_the_complete_example_ends_by_itself(folder: Path) -> None:
    # Nothing is due within five seconds of an hourly schedule, so no more than this is printed.
    assert sorted(in_a_process(COMPLETE_EXAMPLE, folder).splitlines()) == [
        "Done: daily_data_validation",
        "Done: hourly_validation",
    ]


def test_the_complete_example_tells_what_it_saw(folder: Path) -> None:
    """The same with the results written down, due at once instead of after an hour, and ended by its first result."""
    program = COMPLETE_EXAMPLE.replace("interval_hours=1", "interval_hours=1, run_immediately=True")
    program = program.replace("timeout=5.0", "timeout=60.0")
    program = program.replace("qsize() >= 10", "qsize() >= 0")
    show = "    import json; print(json.dumps([result.to_dict() for result in results]))\n"
    printed = in_a_process(program.replace("    # 2.", f"{show}    # 2."), folder)
    lines = printed.splitlines()
    assert "Completed: failure" in lines
    assert "hourly_validation: failure" in lines
    hourly, daily = json.loads(next(line for line in lines if line.startswith("[")))
    assert (hourly["status"], daily["status"]) == ("failure", "success")
    (action,) = hourly["action_results"]
    assert action["status"] == "error"
    assert "SLACK_WEBHOOK" in action["error"]
    assert {check["name"] for check in daily["report"]["checks"]} == {"range", "distribution"}


def test_range_and_distribution_need_no_options() -> None:
    frame = pl.DataFrame({"id": [1, 2, 3], "amount": [1.0, 2.0, float("inf")]})
    result = Checkpoint("daily", frame, ["range", "distribution"]).run()
    assert result.status == "failure"
    assert [check.id for check in result.report.failed if check.severity == "high"] == ["range:amount"]
