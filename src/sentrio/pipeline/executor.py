"""Many sites, a command for each: at once within a limit, or one after another."""

from __future__ import annotations

__all__ = ("AsyncPipelineExecutor", "PipelineExecutor", "SiteResults")

import inspect
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from sentrio.async_core.background import BackgroundTask, default_backend
from sentrio.errors import JobLogError, OptionValueError, RunningLoopError
from sentrio.pipeline._site import Job, Outcome, attempt
from sentrio.pipeline.config import PipelineConfig
from sentrio.pipeline.joblog import JobLog, read_results
from sentrio.pipeline.result import SiteResult, SiteStatus, shown

logger = logging.getLogger("sentrio.pipeline")

Progress = Callable[[int, int, SiteResult], Any]

# Beyond the grace of a command: to kill, to take the last output, to write the last line of the job log.
_CLOSE_SECONDS = 35.0


class _Run:
    """One call: its sites, its slots, and how many of them have failed."""

    def __init__(
        self,
        config: PipelineConfig,
        sites: list[str],
        deliver: Callable[[SiteResult], object],
        *,
        in_turn: bool = False,
        known: Mapping[str, SiteResult] | None = None,
    ) -> None:
        self._config = config
        self._sites = sites
        self._deliver = deliver
        self._in_turn = in_turn
        self._known = known
        self._width = 1 if in_turn else config.max_concurrent_sites
        self._halt = config.halting()
        self._failed = self._done = 0
        self._log: JobLog | None = None
        self._broken: JobLogError | None = None

    async def __call__(self) -> None:
        with ExitStack() as stack:
            if self._config.job_log is not None:
                begin = len(self._sites) if self._known is None else None
                self._log = stack.enter_context(JobLog.opened(self._config.job_log, begin=begin))
            jobs = {site: Job(site) for site in self._sites if site not in (self._known or {})}
            for site in self._sites:
                if site not in jobs and self._known is not None:
                    self._report(self._known[site])
            await self._work(jobs)
        if self._broken is not None:
            raise self._broken
        for job in jobs.values():  # that have no result yet
            when = "while it ran" if job.attempts else "before it began"
            error = f"cancelled {when}: {self._failed} failed site{'s' * (self._failed != 1)} halted the run"
            self._report(job.result(Outcome(SiteStatus.CANCELLED, error)))

    async def _work(self, jobs: dict[str, Job]) -> None:
        slots = anyio.CapacityLimiter(self._width)
        threads = anyio.CapacityLimiter(self._width)
        async with anyio.create_task_group() as tg:
            # A task is started when there is a slot for it, so that there are no more of them than run or wait
            # for another attempt.
            for job in list(jobs.values()):
                await slots.acquire_on_behalf_of(job)
                if self._is_halted:
                    slots.release_on_behalf_of(job)
                    break
                tg.start_soon(self._site, job, jobs, slots, threads, tg.cancel_scope, name="sentrio: site")

    @property
    def _is_halted(self) -> bool:
        return self._failed >= self._halt.at or self._broken is not None

    async def _site(
        self,
        job: Job,
        jobs: dict[str, Job],
        slots: anyio.CapacityLimiter,
        threads: anyio.CapacityLimiter,
        scope: anyio.CancelScope,
    ) -> None:
        """Make attempts, holding a slot during each but not between them; the first slot is there already."""
        has_slot = True
        try:
            while True:
                outcome = await attempt(job, self._config, threads)
                if (
                    outcome.status is SiteStatus.SUCCESS
                    or not outcome.again
                    or job.attempts >= self._config.retry_count
                ):
                    break
                wait = self._config.delay(job.attempts)
                logger.info(
                    "%s: attempt %d of %d: %s; the next one in %g s",
                    shown(job.site), job.attempts, self._config.retry_count, outcome.error, wait,
                )  # fmt: skip
                if self._in_turn:
                    await anyio.sleep(wait)
                    continue
                slots.release_on_behalf_of(job)
                has_slot = False
                await anyio.sleep(wait)
                await slots.acquire_on_behalf_of(job)
                has_slot = True
            result = job.result(outcome)
            # The count, before anybody may take the slot: it decides whether another site begins.
            self._failed += not result.success
            if self._log is not None:
                if not self._in_turn:
                    slots.release_on_behalf_of(job)
                    has_slot = False
                try:
                    await self._log.write(result)
                except JobLogError as exc:
                    self._broken = exc
                    scope.cancel()
                    return
            del jobs[job.site]
            self._report(result)
            if self._is_halted and self._halt.now:
                scope.cancel()
        finally:
            if has_slot:
                slots.release_on_behalf_of(job)

    def _report(self, result: SiteResult) -> None:
        self._done += 1
        if not result.success:
            logger.warning("%s: %s (attempts: %d)", shown(result.site), result.error, result.attempts)
        if self._config.progress_reporting:
            logger.info("Progress: %d/%d sites completed", self._done, len(self._sites))
        self._deliver(result)


class SiteResults:
    """The results of a run, as they come; what :meth:`AsyncPipelineExecutor.iter_results` returns.

    Iterate over it; the run begins with the first result that is asked for. Leaving the loop early ends the
    run in the background; with ``async with`` it has ended, and its commands with it, when the block is left.
    """

    def __init__(self, config: PipelineConfig, sites: list[str]) -> None:
        self._config = config
        self._sites = sites
        self._task: BackgroundTask[None] | None = None
        self._receive: MemoryObjectReceiveStream[SiteResult] | None = None
        self._closed = False

    def __aiter__(self) -> AsyncIterator[SiteResult]:
        return self

    async def __anext__(self) -> SiteResult:
        if self._closed:
            raise StopAsyncIteration
        if self._task is None:
            send, self._receive = anyio.create_memory_object_stream[SiteResult](math.inf)
            self._task = BackgroundTask.start_soon(_send_results, self._config, self._sites, send)
        assert self._receive is not None
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            self._closed = True
            self._receive.close()
            await self._task.wait()  # raises what has gone wrong with the run as a whole
            raise StopAsyncIteration from None
        except BaseException:
            await self._stop()
            raise

    async def aclose(self) -> None:
        """End the run, and wait until its commands have ended. Closing again does nothing."""
        if not self._closed:
            await self._stop()

    async def _stop(self) -> None:
        self._closed = True
        if self._receive is not None:
            self._receive.close()
        if self._task is None:
            return
        self._task.cancel()
        deadline = anyio.current_time() + self._config.kill_grace_seconds + _CLOSE_SECONDS
        pierced: BaseException | None = None
        while not self._task.done and anyio.current_time() < deadline:
            with anyio.CancelScope(deadline=deadline, shield=True) as patience:
                try:
                    await self._task.wait()
                except anyio.TaskCancelled:
                    pass  # as it was asked to
                except anyio.get_cancelled_exc_class() as exc:
                    if patience.cancel_called:
                        raise
                    pierced = exc  # a native cancellation, which knows nothing of shields
        if pierced is not None:
            raise pierced

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


async def _send_results(config: PipelineConfig, sites: list[str], send: MemoryObjectSendStream[SiteResult]) -> None:
    with send:
        await _Run(config, sites, partial(_send, send))()


def _send(send: MemoryObjectSendStream[SiteResult], result: SiteResult) -> None:
    # Whoever has left the loop gets no more; what runs is being cancelled.
    with suppress(anyio.BrokenResourceError):
        send.send_nowait(result)


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

    async def run_detailed(self, sites: Iterable[str]) -> list[SiteResult]:
        """Run all sites, and return their results, in the order of ``sites``.

        :raises sentrio.errors.OptionValueError: if ``sites`` is no list of texts
        :raises sentrio.errors.JobLogError: if the job log can not be written
        """
        return await self._collect(_listed(sites))

    async def run_with_progress(self, sites: Iterable[str], on_progress: Progress | None = None) -> dict[str, bool]:
        """Run all sites and tell of each one that is done; return whether each one succeeded.

        :param on_progress: called with the number of sites that are done, the number of all, and the result;
            sync (in the event loop) or async, one call after another. What it raises is logged and stops
            nothing. ``None``: the log is told, also without ``progress_reporting``
        :raises sentrio.errors.OptionValueError: if ``sites`` is no list of texts
        :raises sentrio.errors.JobLogError: if the job log can not be written
        """
        listed = _listed(sites)
        if on_progress is None:
            on_progress = _nobody if self.config.progress_reporting else _log_progress
        found: dict[str, SiteResult] = {}
        failure: JobLogError | None = None
        send, receive = anyio.create_memory_object_stream[SiteResult](math.inf)

        async def run() -> None:
            nonlocal failure
            with send:
                try:
                    await _Run(self.config, listed, send.send_nowait)()
                except JobLogError as exc:
                    failure = exc

        async with anyio.create_task_group() as tg:
            with receive:
                tg.start_soon(run, name="sentrio: pipeline")
                async for result in receive:
                    found[result.site] = result
                    await _told(on_progress, len(found), len(listed), result)
        if failure is not None:
            raise failure
        return {site: found[site].success for site in listed}

    def iter_results(self, sites: Iterable[str]) -> SiteResults:
        """Run all sites, and give their results as they come.

        ::

            async with executor.iter_results(sites) as results:
                async for result in results:
                    ...

        A bare ``async for`` does as well. Results that are not taken yet wait in memory.

        :raises sentrio.errors.OptionValueError: if ``sites`` is no list of texts
        """
        return SiteResults(self.config, _listed(sites))

    async def resume(self, sites: Iterable[str]) -> list[SiteResult]:
        """Go on with the last run of the job log: run the sites that have not finished in it.

        Finished means that the last attempt has ended, well or badly; those results come from the job log. A
        run that was killed may have left commands behind, which nobody ends.

        :return: the results of all ``sites``, in their order
        :raises sentrio.errors.OptionValueError: if there is no ``job_log``, or ``sites`` is no list of texts
        :raises sentrio.errors.JobLogError: if the job log can not be read or written
        """
        return await self._collect(_listed(sites), self._logged())

    async def retry_failed(self, sites: Iterable[str] | None = None) -> list[SiteResult]:
        """Go on with the last run of the job log: run what has failed in it, and what has not finished.

        :param sites: which ones; ``None``: those that have failed according to the job log
        :return: the results of all ``sites``, in their order
        :raises sentrio.errors.OptionValueError: if there is no ``job_log``, or ``sites`` is no list of texts
        :raises sentrio.errors.JobLogError: if the job log can not be read or written
        """
        logged = self._logged()
        good = {site: result for site, result in logged.items() if result.success}
        listed = [site for site in logged if site not in good] if sites is None else _listed(sites)
        return await self._collect(listed, good)

    def _logged(self) -> dict[str, SiteResult]:
        if self.config.job_log is None:
            raise OptionValueError("pipeline", "job_log", "job_log is not set: there is nothing to go on with")
        return read_results(self.config.job_log)

    async def _collect(
        self, sites: list[str], known: Mapping[str, SiteResult] | None = None, *, in_turn: bool = False
    ) -> list[SiteResult]:
        found: dict[str, SiteResult] = {}

        def keep(result: SiteResult) -> None:
            found[result.site] = result

        await _Run(self.config, sites, keep, in_turn=in_turn, known=known)()
        return [found[site] for site in sites]


def _nobody(done: int, total: int, result: SiteResult) -> None:
    """The run itself logs its progress."""


def _log_progress(done: int, total: int, result: SiteResult) -> None:
    logger.info("Progress: %d/%d sites completed", done, total)


async def _told(on_progress: Progress, done: int, total: int, result: SiteResult) -> None:
    try:
        answer: Awaitable[object] | object = on_progress(done, total, result)
        if inspect.isawaitable(answer):
            await answer
    except Exception:
        # Hours of work are not thrown away for a line on a screen.
        logger.exception("on_progress failed for %s; the run goes on", shown(result.site))


def _listed(sites: Iterable[str]) -> list[str]:
    if isinstance(sites, str | bytes) or not isinstance(sites, Iterable):
        problem = f"sites must be a list of texts, got {type(sites).__name__}; write [site]"
        raise OptionValueError("pipeline", "sites", problem)
    given = list(sites)
    for site in given:
        if not isinstance(site, str):
            raise OptionValueError("pipeline", "sites", f"sites must be texts, got {site!r}")
    unique = list(dict.fromkeys(given))
    if len(unique) < len(given):
        again = [site for site, times in Counter(given).items() if times > 1]
        logger.warning("listed more than once, run once: %s", ", ".join(map(shown, again)))
    return unique


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
        listed = _listed(sites)
        results = run_blocking(
            partial(self._executor._collect, listed, in_turn=True),
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
