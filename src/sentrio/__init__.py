"""Data-quality checkpoints with structured concurrency, for trio, asyncio and uvloop.

The names below are imported when they are first used, so that ``import sentrio`` loads neither Polars nor httpx.
"""

from __future__ import annotations

__all__ = (
    "ActionConfig",
    "ActionResult",
    "ActionStatus",
    "AsyncBaseAction",
    "AsyncBaseTrigger",
    "AsyncCheckpointRunner",
    "AsyncRunnerConfig",
    "BaseAction",
    "BaseTrigger",
    "CheckOutcome",
    "CheckResult",
    "Checkpoint",
    "CheckpointFailed",
    "CheckpointPool",
    "CheckpointResult",
    "CheckpointStatus",
    "CheckpointUndecided",
    "CronTrigger",
    "CustomAction",
    "NotifyCondition",
    "PoolClosedError",
    "ScheduleTrigger",
    "SentrioError",
    "Severity",
    "SlackNotification",
    "Split",
    "SplitResult",
    "StoreValidationResult",
    "TriggerConfig",
    "TriggerResult",
    "UnknownCheckpointError",
    "ValidationReport",
    "WebhookAction",
    "check",
    "check_async",
    "load_config",
    "load_results",
    "run_checkpoint_async",
    "run_checkpoints_parallel",
)

from typing import TYPE_CHECKING

from sentrio._lazy import lazily

if TYPE_CHECKING:
    from sentrio.checkpoint.actions import (
        ActionConfig,
        AsyncBaseAction,
        BaseAction,
        CustomAction,
        NotifyCondition,
        SlackNotification,
        StoreValidationResult,
        WebhookAction,
    )
    from sentrio.checkpoint.check import check, check_async
    from sentrio.checkpoint.checkpoint import Checkpoint
    from sentrio.checkpoint.pool import CheckpointPool, run_checkpoints_parallel
    from sentrio.checkpoint.result import (
        ActionResult,
        ActionStatus,
        CheckpointResult,
        CheckpointStatus,
        load_results,
    )
    from sentrio.checkpoint.runner import AsyncCheckpointRunner, AsyncRunnerConfig, run_checkpoint_async
    from sentrio.checkpoint.triggers import (
        AsyncBaseTrigger,
        BaseTrigger,
        CronTrigger,
        ScheduleTrigger,
        TriggerConfig,
        TriggerResult,
    )
    from sentrio.config import load_config
    from sentrio.errors import (
        CheckpointFailed,
        CheckpointUndecided,
        PoolClosedError,
        SentrioError,
        UnknownCheckpointError,
    )
    from sentrio.validation.report import CheckOutcome, CheckResult, Severity, SplitResult, ValidationReport
    from sentrio.validation.split import Split

_HOMES = {
    "ActionConfig": "sentrio.checkpoint.actions",
    "ActionResult": "sentrio.checkpoint.result",
    "ActionStatus": "sentrio.checkpoint.result",
    "AsyncBaseAction": "sentrio.checkpoint.actions",
    "AsyncBaseTrigger": "sentrio.checkpoint.triggers",
    "AsyncCheckpointRunner": "sentrio.checkpoint.runner",
    "AsyncRunnerConfig": "sentrio.checkpoint.runner",
    "BaseAction": "sentrio.checkpoint.actions",
    "BaseTrigger": "sentrio.checkpoint.triggers",
    "CheckOutcome": "sentrio.validation.report",
    "CheckResult": "sentrio.validation.report",
    "Checkpoint": "sentrio.checkpoint.checkpoint",
    "CheckpointFailed": "sentrio.errors",
    "CheckpointPool": "sentrio.checkpoint.pool",
    "CheckpointResult": "sentrio.checkpoint.result",
    "CheckpointStatus": "sentrio.checkpoint.result",
    "CheckpointUndecided": "sentrio.errors",
    "CronTrigger": "sentrio.checkpoint.triggers",
    "CustomAction": "sentrio.checkpoint.actions",
    "NotifyCondition": "sentrio.checkpoint.actions",
    "PoolClosedError": "sentrio.errors",
    "ScheduleTrigger": "sentrio.checkpoint.triggers",
    "SentrioError": "sentrio.errors",
    "Severity": "sentrio.validation.report",
    "Split": "sentrio.validation.split",
    "SplitResult": "sentrio.validation.report",
    "SlackNotification": "sentrio.checkpoint.actions",
    "StoreValidationResult": "sentrio.checkpoint.actions",
    "TriggerConfig": "sentrio.checkpoint.triggers",
    "TriggerResult": "sentrio.checkpoint.triggers",
    "UnknownCheckpointError": "sentrio.errors",
    "ValidationReport": "sentrio.validation.report",
    "WebhookAction": "sentrio.checkpoint.actions",
    "check": "sentrio.checkpoint.check",
    "check_async": "sentrio.checkpoint.check",
    "load_config": "sentrio.config",
    "load_results": "sentrio.checkpoint.result",
    "run_checkpoint_async": "sentrio.checkpoint.runner",
    "run_checkpoints_parallel": "sentrio.checkpoint.pool",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
