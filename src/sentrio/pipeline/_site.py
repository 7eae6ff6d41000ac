"""One site: its attempts, and what came of them."""

from __future__ import annotations

__all__ = ("Job", "Outcome", "attempt")

import inspect
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs

from sentrio.async_core.threads import call_sync
from sentrio.pipeline._checkpoint import bound, unfit, validate
from sentrio.pipeline.config import Command, PipelineConfig
from sentrio.pipeline.process import StartError, explained, log_name, run_command
from sentrio.pipeline.result import SiteResult, SiteStatus

if TYPE_CHECKING:
    from sentrio.checkpoint.result import CheckpointResult


@attrs.define(eq=False)
class Outcome:
    """How one attempt ended."""

    status: SiteStatus
    error: str | None = None
    exit_code: int | None = None
    output_tail: str = ""
    exception: BaseException | None = None
    checkpoint: CheckpointResult | None = None
    again: bool = True  #: whether another attempt may be made


@attrs.define(eq=False)
class Job:
    """A site on its way through the pipeline."""

    site: str
    log_file: str | None = None
    attempts: int = 0
    started_at: datetime | None = None
    begun: float = 0.0

    def begin(self) -> None:
        """Count an attempt."""
        if self.started_at is None:
            self.started_at, self.begun = datetime.now(UTC), anyio.current_time()
        self.attempts += 1

    def result(self, outcome: Outcome) -> SiteResult:
        """Return the result of the site, if this is its last attempt."""
        duration = 0.0 if self.started_at is None else 1000 * (anyio.current_time() - self.begun)
        return SiteResult(
            site=self.site,
            status=outcome.status,
            attempts=self.attempts,
            duration_ms=duration,
            exit_code=outcome.exit_code,
            error=outcome.error,
            output_tail=outcome.output_tail,
            started_at=self.started_at,
            completed_at=datetime.now(UTC),
            log_file=self.log_file,
            checkpoint=outcome.checkpoint,
            exception=outcome.exception,
        )


async def attempt(job: Job, config: PipelineConfig, threads: anyio.CapacityLimiter) -> Outcome:
    """Make one attempt. Whatever goes wrong with it is the outcome; only a cancellation is raised."""
    job.begin()
    deadline = math.inf if config.timeout is None else anyio.current_time() + config.timeout
    if config.checkpoint is not None and (problem := unfit(config.checkpoint, job.site)) is not None:
        return Outcome(SiteStatus.FAILED, f"{problem}; nothing was run for it", again=False)
    try:
        outcome = await _execute(config.command, job, config, threads)
        return await _judged(outcome, job.site, config, deadline)
    except (Exception, SystemExit) as exc:  # noqa: BLE001  # it is this site's failure, and nobody else's
        return _raised(exc)
    except anyio.get_cancelled_exc_class() as exc:
        # A function may raise this by mistake, as when it awaits a task that somebody has cancelled.
        if anyio.current_effective_deadline() == float("-inf"):
            raise
        return _raised(exc)


async def _execute(
    command: Command | None, job: Job, config: PipelineConfig, threads: anyio.CapacityLimiter
) -> Outcome:
    if command is None:
        return Outcome(SiteStatus.SUCCESS)
    if callable(command):
        return await _call(command, job.site, config.timeout, threads)
    return await _run(command, job, config)


async def _judged(outcome: Outcome, site: str, config: PipelineConfig, deadline: float) -> Outcome:
    """Let the checkpoint, if there is one, say what a success really is."""
    if config.checkpoint is None or outcome.status is not SiteStatus.SUCCESS:
        return outcome
    verdict = await validate(bound(config.checkpoint, site), site, deadline)
    if verdict is None:
        outcome.status = SiteStatus.TIMED_OUT
        outcome.error = f"timed out after {config.timeout:g} s, in its checkpoint"
        return outcome
    outcome.checkpoint = verdict
    if not verdict.passed:
        outcome.status, outcome.error = SiteStatus.FAILED, verdict.summary()
        # A verdict over the data is one; only where it could not be told another attempt may help.
        outcome.again = verdict.status == "error"
    return outcome


def _raised(exc: BaseException) -> Outcome:
    text = str(exc) if isinstance(exc, StartError) else f"{type(exc).__name__}: {exc}"
    return Outcome(SiteStatus.FAILED, text.rstrip(": "), exception=exc)


def _too_late(timeout: float | None, more: str = "", *, again: bool = True, tail: str = "") -> Outcome:
    return Outcome(SiteStatus.TIMED_OUT, f"timed out after {timeout:g} s{more}", output_tail=tail, again=again)


async def _run(command: tuple[str, ...], job: Job, config: PipelineConfig) -> Outcome:
    arguments = [item.replace("{site}", job.site) for item in command]
    if "\0" in job.site:  # which uvloop would cut off there, in silence
        return Outcome(SiteStatus.FAILED, "a site with a null character can not be an argument", again=False)
    log = None
    if config.log_dir is not None:
        log = config.log_dir / log_name(job.site)
        job.log_file = str(log)
    with explained(arguments, config.cwd):
        ended = await run_command(
            arguments,
            timeout=config.timeout,
            kill_grace_seconds=config.kill_grace_seconds,
            tail_lines=config.tail_lines,
            cwd=config.cwd,
            env=config.env,
            log=log,
            append=job.attempts > 1,
        )
    if ended.timed_out:
        return _too_late(config.timeout, tail=ended.output_tail)
    code = ended.exit_code
    if code == 0:
        return Outcome(SiteStatus.SUCCESS, exit_code=0, output_tail=ended.output_tail)
    error = f"exit code {code}" if code is None or code > 0 else f"ended by signal {_signal_name(-code)}"
    return Outcome(SiteStatus.FAILED, error, exit_code=code, output_tail=ended.output_tail)


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


async def _call(
    func: Callable[[str], Any], site: str, timeout: float | None, threads: anyio.CapacityLimiter
) -> Outcome:
    begun: list[bool] = []
    ended: list[bool] = []
    is_async = inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(getattr(func, "__call__", None))  # noqa: B004
    with anyio.move_on_after(timeout) as limit:
        value = (
            func(site) if is_async else await call_sync(partial(_noted, func, site, begun, ended), limiter=threads)
        )
        if inspect.isawaitable(value):
            value = await _awaited(value)
        await anyio.lowlevel.checkpoint_if_cancelled()
    if not limit.cancelled_caught:
        if value is False:
            return Outcome(SiteStatus.FAILED, "the function returned False")
        if inspect.isgenerator(value) or inspect.isasyncgen(value):
            error = "the function returned a generator, of which nothing has run; have it return what it has done"
            return Outcome(SiteStatus.FAILED, error, again=False)
        return Outcome(SiteStatus.SUCCESS)
    if is_async or ended:
        return _too_late(timeout)
    if begun:
        # A second call beside the first one could do everything twice.
        more = "; its thread can not be stopped and still runs, so it is not tried again"
        return _too_late(timeout, more, again=False)
    return _too_late(timeout, ": all threads are taken by calls that timed out before and still run")


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _noted(func: Callable[[str], Any], site: str, begun: list[bool], ended: list[bool]) -> Any:
    begun.append(True)
    try:
        return func(site)
    finally:
        ended.append(True)
