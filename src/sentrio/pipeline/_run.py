"""One run of a pipeline: its sites, its slots, its job log, and when it halts."""

from __future__ import annotations

__all__ = ("OnAttempt", "Run", "listed")

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import TypeAlias

import anyio

from sentrio.errors import JobLogError, OptionValueError
from sentrio.pipeline._site import Job, Outcome, attempt
from sentrio.pipeline.config import PipelineConfig
from sentrio.pipeline.joblog import JobLog
from sentrio.pipeline.result import SiteAttempt, SiteResult, SiteStatus, shown

logger = logging.getLogger("sentrio.pipeline")

OnAttempt: TypeAlias = "Callable[[SiteAttempt], object]"


class Run:
    """One call: its sites, its slots, and how many of them have failed."""

    def __init__(
        self,
        config: PipelineConfig,
        sites: list[str],
        deliver: Callable[[SiteResult], object],
        on_attempt: OnAttempt | None = None,
        *,
        in_turn: bool = False,
        known: Mapping[str, SiteResult] | None = None,
    ) -> None:
        self._config = config
        self._sites = sites
        self.deliver = deliver
        self._on_attempt = on_attempt
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
                self._tell(SiteAttempt(site=job.site, attempt=job.attempts + 1))
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
                self._tell(SiteAttempt(site=job.site, attempt=job.attempts, error=outcome.error, wait_seconds=wait))
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

    def _tell(self, news: SiteAttempt) -> None:
        if self._on_attempt is not None:
            try:
                self._on_attempt(news)
            except Exception:
                logger.exception("on_attempt failed for %s; the run goes on", shown(news.site))

    def _report(self, result: SiteResult) -> None:
        self._done += 1
        if not result.success:
            news = (shown(result.site), result.error, result.attempts)
            logger.warning("%s: %s (attempts: %d)", *news, extra={"site": result.site})
        if self._config.progress_reporting:
            logger.info("Progress: %d/%d sites completed", self._done, len(self._sites))
        self.deliver(result)


def listed(sites: Iterable[str]) -> list[str]:
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
