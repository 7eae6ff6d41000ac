"""Runners and pools, under the address that people know them by."""

from __future__ import annotations

__all__ = (
    "AsyncCheckpointRunner",
    "AsyncRunnerConfig",
    "CheckpointPool",
    "run_checkpoint_async",
    "run_checkpoints_parallel",
)

from sentrio.checkpoint.pool import CheckpointPool, run_checkpoints_parallel
from sentrio.checkpoint.runner import AsyncCheckpointRunner, AsyncRunnerConfig, run_checkpoint_async
