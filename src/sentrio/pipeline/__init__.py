"""Many sites, one command each: concurrently, with retries, timeouts, progress, and a job log."""

from __future__ import annotations

__all__ = (
    "AsyncPipelineExecutor",
    "PipelineConfig",
    "PipelineExecutor",
    "SiteAttempt",
    "SiteResult",
    "SiteResults",
    "SiteStatus",
    "UniversalRunner",
    "raise_for_failures",
)

from sentrio.pipeline._iterate import SiteResults
from sentrio.pipeline.config import PipelineConfig
from sentrio.pipeline.executor import AsyncPipelineExecutor, PipelineExecutor
from sentrio.pipeline.result import SiteAttempt, SiteResult, SiteStatus, raise_for_failures
from sentrio.pipeline.runner import UniversalRunner
