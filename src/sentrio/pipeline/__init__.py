"""Many sites, one command each: concurrently, with retries, timeouts, progress, and a job log."""

from __future__ import annotations

__all__ = (
    "AsyncPipelineExecutor",
    "PipelineConfig",
    "PipelineExecutor",
    "SiteResult",
    "SiteResults",
    "SiteStatus",
    "UniversalRunner",
    "raise_for_failures",
)

from sentrio.pipeline.config import PipelineConfig
from sentrio.pipeline.executor import AsyncPipelineExecutor, PipelineExecutor, SiteResults
from sentrio.pipeline.result import SiteResult, SiteStatus, raise_for_failures
from sentrio.pipeline.runner import UniversalRunner
