"""Many sites, a command for each: at once within a limit, or one after another."""

from __future__ import annotations

__all__ = ("AsyncPipelineExecutor", "PipelineExecutor", "run_blocking")

import inspect
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

from sentrio.async_core._checks import require_callback
from sentrio.async_core.background import default_backend
from sentrio.async_core.threads import call_sync
from sentrio.errors import JobLogError, OptionValueError, RunningLoopError
from sentrio.pipeline._iterate import SiteResults
from sentrio.pipeline._run import OnAttempt, Run, listed
from sentrio.pipeline.config import PipelineConfig
from sentrio.pipeline.joblog import Logged, read_log
from sentrio.pipeline.result import SiteResult, shown

logger = logging.getLogger("sentrio.pipeline")

# A job log is read within this time, or its file system hangs; then a thread is left behind.
_READ_SECONDS = 5.0

Progress: TypeAlias = "Callable[[int, int, SiteResult], object]"


class AsyncPipelineExecutor:
    """Runs a command, or a function, for each of many sites.

    ::

        executor = AsyncPipelineExecutor({"command": ["fetch", "--site", "{site}"], "timeout": 60})
        results = await executor.run_detailed(["shop.example", "blog.example"])
        raise_for_failures(results)

    At most ``max_concurrent_sites`` attempts of a call run at once; the wait before another attempt holds no
    slot. When a call is cancelled, every command that it has started has ended before the cancellation comes
    out. An executor holds nothing between calls: it may be used many times, at once, and in any event loop.

    A site that is listed twice runs once, and the log has a warning; no sites are no results.

    :param config: a :class:`PipelineConfig`, or a mapping of its options
    :raises sentrio.errors.OptionValueError: if a value is out of range
    :raises sentrio.errors.UnknownOptionError: for an option that does not exist
    """

    def __init__(self, config: PipelineConfig | Mapping[str, Any]) -> None:
        self.config = config if isinstance(config, PipelineConfig) else PipelineConfig.from_dict(config)

    async def run_all_async(self, sites: Iterable[str]) -> dict[str, bool]:
        """Run all sites, and return whether each one succeeded, in the order of ``sites``.

        :raises sentrio.errors.OptionValueError: if ``sites`` is no list of texts
        :raises sentrio.errors.JobLogError: if the job log can not be written
        """
        return {result.site: result.success for result in await self.run_detailed(sites)}

    async def run_detailed(
        self, sites: Iterable[str], on_progress: Progress | None = None, *, on_attempt: OnAttempt | None = None
    ) -> list[SiteResult]:
        """Run all sites, and return their results, in the order of ``sites``.

        :param on_progress: called with the number of sites that are done, the number of all, and the result of the
            latest, before anything else happens; sync (in the event loop), or async, then one call is over before
            the next one begins. What it raises is logged and stops nothing
        :param on_attempt: called (in the event loop) with a :class:`SiteAttempt` when an attempt begins, and when
            one has failed that another will follow. What it raises is logged and stops nothing
        :raises sentrio.errors.OptionValueError: if ``sites`` is no list of texts, or what is called no function
        :raises sentrio.errors.JobLogError: if the job log can not be written
        """
        return await self._collect(listed(sites), on_progress, on_attempt)

    async def run_with_progress(self, sites: Iterable[str], on_progress: Progress | None = None) -> dict[str, bool]:
        """Run all sites and tell of each one that is done; return whether each one succeeded.

        :param on_progress: as for :meth:`run_detailed`; ``None``: the log is told, also without
            ``progress_reporting``
        :raises sentrio.errors.OptionValueError: if ``sites`` is no list of texts, or ``on_progress`` no function
        :raises sentrio.errors.JobLogError: if the job log can not be written
        """
        if on_progress is None and not self.config.progress_reporting:
            on_progress = _log_progress
        return {result.site: result.success for result in await self.run_detailed(sites, on_progress)}

    def iter_results(self, sites: Iterable[str]) -> SiteResults:
        """Run all sites, and give their results as they come.

        ::

            async with executor.iter_results(sites) as results:
                async for result in results:
                    ...

        A bare ``async for`` does as well. Results that are not taken yet wait in memory.

        :raises sentrio.errors.OptionValueError: if ``sites`` is no list of texts
        """
        return SiteResults(self.config, listed(sites))

    async def resume(
        self, sites: Iterable[str], on_progress: Progress | None = None, *, on_attempt: OnAttempt | None = None
    ) -> list[SiteResult]:
        """Go on with the last run of the job log: run the sites that have not finished in it.

        Finished means that the last attempt has ended, well or badly; those results come from the job log. A
        run that was killed may have left commands behind, which nobody ends.

        :param on_progress: as for :meth:`run_detailed`; also called for results of the job log
        :param on_attempt: as for :meth:`run_detailed`
        :return: the results of all ``sites``, in their order
        :raises sentrio.errors.OptionValueError: if there is no ``job_log``, or ``sites`` is no list of texts
        :raises sentrio.errors.JobLogError: if the job log can not be read or written
        """
        given = listed(sites)
        return await self._collect(given, on_progress, on_attempt, known=(await self._logged()).results)

    async def retry_failed(
        self,
        sites: Iterable[str] | None = None,
        on_progress: Progress | None = None,
        *,
        on_attempt: OnAttempt | None = None,
    ) -> list[SiteResult]:
        """Go on with the last run of the job log: run what has failed in it, and what of ``sites`` has not finished.

        :param sites: which ones; ``None``: those that have failed according to the job log, which does not name
            those that have not finished; a warning in the log counts them
        :param on_progress: as for :meth:`run_detailed`; also called for results of the job log
        :param on_attempt: as for :meth:`run_detailed`
        :return: the results of all ``sites``, in their order
        :raises sentrio.errors.OptionValueError: if there is no ``job_log``, or ``sites`` is no list of texts
        :raises sentrio.errors.JobLogError: if the job log can not be read or written
        """
        given = None if sites is None else listed(sites)
        logged = await self._logged()
        good = {site: result for site, result in logged.results.items() if result.success}
        if given is None:
            given = logged.failed()
        return await self._collect(given, on_progress, on_attempt, known=good)

    async def _logged(self) -> Logged:
        if self.config.job_log is None:
            raise OptionValueError("pipeline", "job_log", "job_log is not set: there is nothing to go on with")
        return await call_sync(read_log, self.config.job_log, abandon_after=_READ_SECONDS)

    async def _collect(
        self,
        sites: list[str],
        on_progress: Progress | None = None,
        on_attempt: OnAttempt | None = None,
        *,
        known: Mapping[str, SiteResult] | None = None,
        in_turn: bool = False,
    ) -> list[SiteResult]:
        require_callback("pipeline", "on_progress", on_progress)
        require_callback("pipeline", "on_attempt", on_attempt)
        found: dict[str, SiteResult] = {}

        def keep(result: SiteResult) -> None:
            found[result.site] = result

        run = Run(self.config, sites, keep, on_attempt, in_turn=in_turn, known=known)
        if on_progress is None:
            await run()
        else:
            await _watched(run, found, len(sites), on_progress)
        return [found[site] for site in sites]


async def _watched(run: Run, found: dict[str, SiteResult], total: int, on_progress: Progress) -> None:
    """Run, and tell of each result at once; what is async of that happens in our own task and delays no site."""
    failure: JobLogError | None = None
    # What is to be awaited does not go through the stream: a native cancellation loses what is being handed over.
    pending: deque[tuple[str, Awaitable[object]]] = deque()
    send, receive = anyio.create_memory_object_stream[None](math.inf)

    def deliver(result: SiteResult) -> None:
        found[result.site] = result
        with _logged_failure(result.site):
            answer = on_progress(len(found), total, result)
            if inspect.isawaitable(answer):
                pending.append((result.site, answer))
                send.send_nowait(None)

    async def main() -> None:
        nonlocal failure
        with send:
            try:
                await run()
            except JobLogError as exc:
                failure = exc

    run.deliver = deliver
    with receive:
        try:
            async with anyio.create_task_group() as tg:
                tg.start_soon(main, name="sentrio: pipeline")
                async for _ in receive:
                    site, answer = pending.popleft()
                    with _logged_failure(site):
                        await answer
        finally:
            for _, answer in pending:
                if inspect.iscoroutine(answer):
                    answer.close()  # or it would complain that nobody has awaited it
    if failure is not None:
        raise failure


@contextmanager
def _logged_failure(site: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        # Hours of work are not thrown away for a line on a screen.
        logger.exception("on_progress failed for %s; the run goes on", shown(site))


def _log_progress(done: int, total: int, result: SiteResult) -> None:
    logger.info("Progress: %d/%d sites completed", done, total)


class PipelineExecutor:
    """Runs a command, or a function, for each of many sites, one after another.

    It blocks, and takes the same configuration as :class:`AsyncPipelineExecutor`.

    :param config: a :class:`PipelineConfig`, or a mapping of its options
    :raises sentrio.errors.OptionValueError: if a value is out of range
    :raises sentrio.errors.UnknownOptionError: for an option that does not exist
    """

    def __init__(self, config: PipelineConfig | Mapping[str, Any]) -> None:
        self._executor = AsyncPipelineExecutor(config)
        self.config = self._executor.config

    def run_all(self, sites: Iterable[str]) -> dict[str, bool]:
        """Run all sites, and return whether each one succeeded, in the order of ``sites``.

        :raises sentrio.errors.RunningLoopError: if an event loop is running in this thread
        :raises sentrio.errors.OptionValueError: if ``sites`` is no list of texts
        :raises sentrio.errors.JobLogError: if the job log can not be written
        """
        given = listed(sites)
        results = run_blocking(
            partial(self._executor._collect, given, in_turn=True),
            "PipelineExecutor.run_all()",
            "AsyncPipelineExecutor.run_all_async(sites)",
        )
        return {result.site: result.success for result in results}


def run_blocking(func: Callable[[], Awaitable[Any]], called: str, instead: str) -> Any:
    """Run ``func`` in an event loop of its own.

    :raises sentrio.errors.RunningLoopError: if one is running already
    """
    with suppress(anyio.NoEventLoopError):
        anyio.lowlevel.current_token()
        raise RunningLoopError(called, instead)
    return anyio.run(func, backend=default_backend())
