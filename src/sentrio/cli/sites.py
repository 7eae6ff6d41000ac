"""Running a pipeline from the command: what happens on standard error, what came of it on standard output."""

from __future__ import annotations

__all__ = ("SiteOutputs", "Wanted", "run_sites")

import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

import anyio
import attrs

from sentrio.cli.exits import ACTION_FAILED, FAILED, PASSED, UNDECIDED, USAGE, ended_by, first_of
from sentrio.cli.printing import say, shows_marks, terminal_colours
from sentrio.cli.running import Outputs
from sentrio.cli.signals import CTRL_C, END, watch_signals
from sentrio.cli.sitesview import View, opened_view
from sentrio.errors import JobLogError, OptionValueError
from sentrio.pipeline import AsyncPipelineExecutor, PipelineConfig, SiteAttempt, SiteResult, SiteStatus
from sentrio.pipeline import formats as site_formats
from sentrio.pipeline.joblog import read_log


@attrs.frozen
class SiteOutputs(Outputs):
    """Where the results of sites go and how."""

    formats: ClassVar = site_formats.FORMATS
    suffixes: ClassVar = site_formats.SUFFIXES

    def rendered(self, name: str, results: Sequence[Any], code: int) -> str:
        """Return results in a format other than ``table``."""
        return site_formats.renderer(name)(results, exit_code=code)

    def line(self, result: SiteResult) -> None:
        """Print a result as soon as it is there, if the format allows it."""
        if self.format == "ndjson":
            say(self.rendered("ndjson", [result], PASSED))

    def finish(self, results: Sequence[SiteResult], code: int) -> None:
        """Print what needs all results, and write the files.

        :raises OptionValueError: if a file can not be written
        """
        if self.format == "table":
            marks = shows_marks(sys.stdout)
            say(site_formats.render_table(results, colour=terminal_colours(sys.stdout), ascii_only=not marks))
        super().finish(results, code)


@attrs.frozen(kw_only=True)
class Wanted:
    """What is to be run.

    :raises OptionValueError: if the options exclude each other
    """

    sites: tuple[str, ...] = ()
    resume: bool = False
    retry_failed: bool = False

    def __attrs_post_init__(self) -> None:
        if self.resume and self.retry_failed:
            problem = (
                "--resume and --retry-failed exclude each other: run first what has not finished, then what failed"
            )
            raise OptionValueError("sentrio", "--resume", problem)

    def listed(self, config: PipelineConfig) -> tuple[str, ...]:
        """Return the sites.

        :raises OptionValueError: if there are none, or the job log is missing that the options need
        :raises JobLogError: if it can not be read
        """
        flag = "--resume" if self.resume else "--retry-failed"
        if (self.resume or self.retry_failed) and config.job_log is None:
            problem = f"{flag} needs a job log: `job_log` under `pipeline`, or --job-log FILE"
            raise OptionValueError("sentrio", flag, problem)
        if self.retry_failed and not self.sites and config.job_log is not None:
            return tuple(read_log(config.job_log).failed())
        sites = self.sites or config.sites
        if not sites:
            problem = "no sites are given: name them, as in `sentrio pipeline shop.example`, or under `sites`"
            raise OptionValueError("pipeline", "sites", problem)
        return sites


@attrs.define(eq=False)
class _Run:
    """A run as the command sees it: what is known of each site, also if the run ends early."""

    executor: AsyncPipelineExecutor
    wanted: Wanted
    sites: tuple[str, ...]
    outputs: SiteOutputs
    results: dict[str, SiteResult] = attrs.field(factory=dict)
    attempts: dict[str, int] = attrs.field(factory=dict)
    began: dict[str, datetime] = attrs.field(factory=dict)
    cut_short: str | None = None  #: why it was ended before its end
    signal: int = signal.SIGINT  #: which one did it, if one did
    trouble: JobLogError | SystemExit | None = None
    stop: Callable[[], object] = attrs.field(default=lambda: None)

    async def main(self, view: View) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(watch_signals, (CTRL_C, *END), partial(self._interrupt, view), name="sentrio: signals")
            tg.start_soon(view.keep_drawing, name="sentrio: live table")
            with anyio.CancelScope() as work:
                self.stop = work.cancel
                await self._work(view)
            tg.cancel_scope.cancel()

    async def _work(self, view: View) -> None:
        done = partial(self._done, view)
        begun = partial(self._attempt, view)
        try:
            if self.wanted.resume:
                await self.executor.resume(self.sites, done, on_attempt=begun)
            elif self.wanted.retry_failed:
                await self.executor.retry_failed(self.sites, done, on_attempt=begun)
            else:
                await self.executor.run_detailed(self.sites, done, on_attempt=begun)
        except JobLogError as exc:
            self.trouble, self.cut_short = exc, "the job log could not be written"

    def _interrupt(self, view: View, number: int) -> None:
        if self.cut_short is None:
            self.cut_short, self.signal = "interrupted", number
            grace = self.executor.config.kill_grace_seconds
            view.say(f"interrupted: ending what runs (within {grace:g} s)")
            self.stop()

    def _attempt(self, view: View, news: SiteAttempt) -> None:
        if news.error is None:
            self.attempts[news.site] = news.attempt
            self.began.setdefault(news.site, datetime.now(UTC))
        view.attempt(news)

    def _done(self, view: View, done: int, total: int, result: SiteResult) -> None:
        self.results[result.site] = result
        try:
            view.done(done, total, result, is_old=result.site not in self.attempts)
            self.outputs.line(result)
        except SystemExit as exc:  # nobody reads any more
            self.trouble, self.cut_short = exc, "the output could not be written"
            self.stop()

    def all_results(self) -> list[SiteResult]:
        """Return one result a site, also for those that a run which was cut short did not get to."""
        return [self.results.get(site) or self._unfinished(site) for site in dict.fromkeys(self.sites)]

    def _unfinished(self, site: str) -> SiteResult:
        attempts = self.attempts.get(site, 0)
        error = f"{self.cut_short} {'while it ran' if attempts else 'before it began'}"
        ended, began = datetime.now(UTC), self.began.get(site)
        # A clock that was set back meanwhile makes no time less than none.
        seconds = 0.0 if began is None else max(0.0, (ended - began).total_seconds())
        return SiteResult(
            site=site,
            status=SiteStatus.CANCELLED,
            attempts=attempts,
            duration_ms=1000 * seconds,
            error=error,
            started_at=began,
            completed_at=ended,
        )


def run_sites(
    config: PipelineConfig, wanted: Wanted, outputs: SiteOutputs, *, backend: str, is_quiet: bool = False
) -> int:
    """Run the pipeline, print what came of it, and return the exit code.

    :param is_quiet: leave failed sites out of the log, since the view has them
    """
    run = _Run(AsyncPipelineExecutor(config), wanted, wanted.listed(config), outputs)
    try:
        with opened_view(len(set(run.sites)), config, is_quiet=is_quiet) as view:
            anyio.run(run.main, view, backend=backend)
    except* KeyboardInterrupt:  # before or after signals are heard
        run.cut_short = "interrupted"
    if isinstance(run.trouble, SystemExit):
        raise run.trouble
    results = run.all_results()
    interrupted = run.cut_short == "interrupted"
    code = ended_by(run.signal) if interrupted else first_of(set(map(_code, results)))
    if run.trouble is not None:
        print(run.trouble, file=sys.stderr)
        code = UNDECIDED if run.attempts else USAGE
    if run.attempts or run.trouble is None:
        outputs.finish(results, code)
    if interrupted:
        say("interrupted", sys.stderr)
    return code


def _code(result: SiteResult) -> int:
    verdict = result.checkpoint
    if result.success:
        return ACTION_FAILED if verdict is not None and verdict.failed_actions else PASSED
    # A site whose data could not be judged has failed as a site, and is undecided as data.
    return UNDECIDED if verdict is not None and verdict.status in {"error", "cancelled"} else FAILED
