"""Checkpoints: what is checked, when, and what is done about it."""

from __future__ import annotations

__all__ = (
    "AsyncCheckpointRunner",
    "AsyncRunnerConfig",
    "Checkpoint",
    "CheckpointPool",
    "CheckpointResult",
    "CheckpointStatus",
    "check",
    "check_async",
    "get_checkpoint",
    "list_checkpoints",
    "load_results",
    "register_checkpoint",
    "run_checkpoint_async",
    "run_checkpoints_parallel",
)

from sentrio.checkpoint.check import check, check_async
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.pool import CheckpointPool, run_checkpoints_parallel
from sentrio.checkpoint.registry import get_checkpoint, list_checkpoints, register_checkpoint
from sentrio.checkpoint.result import CheckpointResult, CheckpointStatus, load_results
from sentrio.checkpoint.runner import AsyncCheckpointRunner, AsyncRunnerConfig, run_checkpoint_async
