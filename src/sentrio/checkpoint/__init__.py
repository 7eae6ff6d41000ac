"""Checkpoints: what is checked, when, and what is done about it."""

from __future__ import annotations

__all__ = ("Checkpoint", "CheckpointResult", "CheckpointStatus", "check", "check_async", "load_results")

from sentrio.checkpoint.check import check, check_async
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.result import CheckpointResult, CheckpointStatus, load_results
