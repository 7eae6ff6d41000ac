"""A pipeline from a configuration file, for code that is async and for code that is not."""

from __future__ import annotations

__all__ = ("UniversalRunner",)

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from sentrio.pipeline.config import PipelineConfig
from sentrio.pipeline.executor import AsyncPipelineExecutor, PipelineExecutor, run_blocking
from sentrio.pipeline.file import read_config


class UniversalRunner:
    """Runs the pipeline of a configuration file.

    ::

        runner = UniversalRunner("automation/config.yaml")
        results = runner.run_pipeline(["shop.example", "blog.example"])

    ``sync_executor`` and ``async_executor`` are the two executors, ``config`` what they have in common.

    :param config_path: a YAML file with a section ``pipeline``, or the configuration itself, as
        ``sentrio.load_config().pipeline`` is
    :raises sentrio.errors.ConfigurationError: if it can not be read, or something is wrong with the section; the
        error names file, line and column
    """

    def __init__(self, config_path: str | os.PathLike[str] | PipelineConfig = "automation/config.yaml") -> None:
        self.config = config_path if isinstance(config_path, PipelineConfig) else read_config(Path(config_path))
        self.sync_executor = PipelineExecutor(self.config)
        self.async_executor = AsyncPipelineExecutor(self.config)

    def run_pipeline_sync(self, sites: Iterable[str]) -> dict[str, bool]:
        """Run all sites, one after another; see :meth:`PipelineExecutor.run_all`.

        :raises sentrio.errors.RunningLoopError: if an event loop is running in this thread
        """
        return self.sync_executor.run_all(sites)

    async def run_pipeline_async(self, sites: Iterable[str]) -> dict[str, bool]:
        """Run all sites concurrently; see :meth:`AsyncPipelineExecutor.run_all_async`."""
        return await self.async_executor.run_all_async(sites)

    def run_pipeline(self, sites: Iterable[str], use_async: bool | None = None) -> dict[str, bool]:
        """Run all sites and wait for them, concurrently or one after another.

        :param use_async: whether concurrently; ``None``: what the configuration's ``use_async`` says
        :raises sentrio.errors.RunningLoopError: if an event loop is running in this thread
        """
        if not (self.config.use_async if use_async is None else use_async):
            return self.run_pipeline_sync(sites)
        found: dict[str, bool] = run_blocking(
            partial(self.run_pipeline_async, sites), "run_pipeline()", "run_pipeline_async(sites)"
        )
        return found
