"""Actions, triggers, strategies and decorators, under the address that people know them by."""

from __future__ import annotations

__all__ = (
    "ActionConfig",
    "ActionResult",
    "ActionStatus",
    "AsyncBaseAction",
    "AsyncBaseTrigger",
    "AsyncExecutable",
    "AsyncExecutionContext",
    "BaseAction",
    "BaseTrigger",
    "ConcurrentStrategy",
    "ExecutionStrategy",
    "NotifyCondition",
    "PipelineStrategy",
    "SequentialStrategy",
    "SyncActionAdapter",
    "SyncExecutable",
    "TriggerConfig",
    "TriggerResult",
    "adapt_to_async",
    "with_retry",
    "with_semaphore",
    "with_timeout",
)

from sentrio.async_core.limits import with_semaphore
from sentrio.async_core.retry import with_retry
from sentrio.async_core.timeouts import with_timeout
from sentrio.checkpoint.actions import (
    ActionConfig,
    ActionResult,
    ActionStatus,
    AsyncBaseAction,
    AsyncExecutable,
    BaseAction,
    NotifyCondition,
    SyncExecutable,
)
from sentrio.checkpoint.actions.adapters import SyncActionAdapter, adapt_to_async
from sentrio.checkpoint.strategies import (
    AsyncExecutionContext,
    ConcurrentStrategy,
    ExecutionStrategy,
    PipelineStrategy,
    SequentialStrategy,
)
from sentrio.checkpoint.triggers import AsyncBaseTrigger, BaseTrigger, TriggerConfig, TriggerResult
