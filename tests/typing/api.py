"""What a user's type checker sees; checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

import polars as pl

import sentrio
from sentrio import (
    ActionConfig,
    ActionResult,
    BaseAction,
    BaseTrigger,
    Checkpoint,
    CheckpointResult,
    CheckpointStatus,
    ScheduleTrigger,
    SlackNotification,
    StoreValidationResult,
    TriggerConfig,
    TriggerResult,
    check,
    check_async,
)
from sentrio.async_core.threads import call_sync
from sentrio.validation import InRange, NotNull


async def uses(frame: pl.DataFrame) -> None:
    assert_type(check(frame, ["not_null", {"range": {"min": 0}}, NotNull(column="a")]), CheckpointResult)
    result = await check_async("a.csv", [InRange(column="a", min=0, max=1.5)], fail_on="medium")
    assert_type(result, CheckpointResult)
    assert_type(result.status, CheckpointStatus)
    assert_type(result.raise_for_status(), CheckpointResult)
    assert_type(result.report.failed[0].sample[0].values, Mapping[str, Any])
    assert_type(result.report.to_polars(), pl.DataFrame)
    checkpoint = Checkpoint("a", frame, ["not_null"], actions=[StoreValidationResult(path="x"), print], tags=["x"])
    assert_type(checkpoint.add_action(print), Checkpoint)
    assert_type(await checkpoint.run_async({"a": 1}), CheckpointResult)
    assert_type(checkpoint.run(), CheckpointResult)
    assert_type(sentrio.load_config().checkpoints, dict[str, Checkpoint])
    assert_type(sentrio.load_results("x"), list[CheckpointResult])
    assert_type(await call_sync(int, "7"), int)
    if result:
        assert_type(result.summary(), str)


class RowConfig(ActionConfig):
    table: str = "runs"


class WriteRow(BaseAction[RowConfig]):
    def _execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        return self.success(assert_type(self.config.table, str))


class TopicConfig(TriggerConfig):
    topic: str = "orders"


class Topic(BaseTrigger[TopicConfig]):
    def should_trigger(self) -> TriggerResult:
        return TriggerResult(assert_type(self.config.topic, str) == "orders")


async def acts(result: CheckpointResult) -> None:
    assert_type(await WriteRow(table="x").execute_async(result), ActionResult)
    assert_type(SlackNotification(webhook_url="...").execute(result), ActionResult)
    assert_type(await Topic().wait(), TriggerResult)
    async with ScheduleTrigger(interval_minutes=15).watch() as watch:
        async for due in watch:
            assert_type(due, TriggerResult)
