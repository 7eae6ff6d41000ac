"""One run of a checkpoint: read, validate, act, and call back."""

from __future__ import annotations

__all__ = ("CheckpointRun", "broken_result", "current_run")

import datetime as dt
import inspect
import logging
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import attrs

from sentrio._options import shown
from sentrio.async_core._checks import require_callback
from sentrio.async_core._within import within
from sentrio.checkpoint.connections import shared_connections
from sentrio.checkpoint.result import ActionStatus, CheckpointResult, CheckpointStatus
from sentrio.errors import OptionValueError, SourceError
from sentrio.validation.report import CheckOutcome, Severity, ValidationReport
from sentrio.validation.run import Progress, Validation
from sentrio.validation.samples import SampleOptions
from sentrio.validation.split import Splitter
from sentrio.validation.values import json_ready

if TYPE_CHECKING:
    from sentrio.checkpoint.checkpoint import Checkpoint

logger = logging.getLogger("sentrio.checkpoint")

#: Run id and checkpoint of the current run, for log records.
current_run: ContextVar[tuple[str, str] | None] = ContextVar("sentrio_current_run", default=None)


class CheckpointRun:
    """One run. Whoever ends it early can still ask what it has found by then.

    :param checkpoint: what to run
    :param context: merged over the checkpoint's ``metadata`` into the result; JSON-ready values
    :param on_progress: called in the event loop after each morsel
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        context: Mapping[str, Any] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._context = _require_mapping(context)
        require_callback("Checkpoint", "on_progress", on_progress)
        self._fails_at = None if checkpoint.fail_on == "never" else Severity(checkpoint.fail_on)
        self.run_id = uuid.uuid4().hex
        self._run_time = dt.datetime.now(dt.UTC)
        targets = checkpoint.split_targets(self.run_id, self._run_time)
        self._splitter = None if targets is None else Splitter(targets)
        self._validation = Validation(
            checkpoint.source(),
            checkpoint.validators,
            where=checkpoint.where,
            samples=SampleOptions(
                most=checkpoint.sample_failures,
                key_columns=checkpoint.key_columns,
                redact_columns=checkpoint.redact_columns,
            ),
            fail_fast=self._fails_at if checkpoint.fail_fast else None,
            morsel_rows=checkpoint.morsel_rows,
            on_progress=on_progress,
            base=checkpoint.base_dir,
            plans=checkpoint._plans,
            split=self._splitter,
        )

    async def execute(self) -> CheckpointResult:
        """Read, validate, act and call back; see :meth:`Checkpoint.run_async`."""
        checkpoint = self._checkpoint
        checkpoint.execution_strategy.check(len(checkpoint.actions))
        token = current_run.set((self.run_id, checkpoint.name))
        try:
            logger.info("run begins over %s", checkpoint._label)
            result = self._result(await self._validate())
            if checkpoint.actions:
                result = await self._act(result)
            logger.info("run has ended: %s", result.status)
            await self._call_back(result)
        finally:
            current_run.reset(token)
        return result

    def interrupted(self, why: str) -> CheckpointResult:
        """Return the result of a run that was ended: what it saw, and none of its actions."""
        return attrs.evolve(self._result(why), status=CheckpointStatus.CANCELLED)

    def _result(self, error: str | None) -> CheckpointResult:
        checkpoint = self._checkpoint
        report = self._validation.report()
        return CheckpointResult(
            run_id=self.run_id,
            checkpoint_name=checkpoint.name,
            run_time=self._run_time,
            status=_status(report, error, self._fails_at),
            report=report,
            data_asset=checkpoint._label,
            duration_ms=report.duration_ms,
            error=error,
            fail_on=self._fails_at,
            metadata=json_ready({**checkpoint.metadata, **self._context}),
            split=None if self._splitter is None else self._splitter.result,
        )

    async def _validate(self) -> str | None:
        """Run the validation within its time; return why it could not be told, if it could not."""
        checkpoint = self._checkpoint
        if not checkpoint.validators:
            return "no check was evaluated: the checkpoint has no validators"
        seconds = checkpoint.timeout_seconds
        with within(seconds) as limit:
            try:
                await self._validation.run()
            except SourceError as exc:
                # What follows the semicolon may name columns, and those may be values without their header.
                discreet = checkpoint.redact_columns or not checkpoint.sample_failures
                return str(exc).partition(";")[0] if discreet else str(exc)
        return f"timed out after {seconds:g} s" if limit.expired else None

    async def _act(self, result: CheckpointResult) -> CheckpointResult:
        actions = self._checkpoint.actions
        async with shared_connections():
            done = await self._checkpoint.execution_strategy.execute(actions, result)
        result = attrs.evolve(result, action_results=tuple(done))
        for action, outcome in zip(actions, done, strict=True):
            given = getattr(action, "_given", None)
            if outcome.status is ActionStatus.ERROR and getattr(given, "fail_checkpoint_on_error", False):
                problem = f"action {outcome.action_name} failed: {outcome.error}"
                result = attrs.evolve(result, status=CheckpointStatus.ERROR, error=result.error or problem)
        return result

    async def _call_back(self, result: CheckpointResult) -> None:
        checkpoint = self._checkpoint
        callback = checkpoint.on_error if result.status is CheckpointStatus.ERROR else checkpoint.on_complete
        if callback is None:
            return
        try:
            answer = callback(result)
            if inspect.isawaitable(answer):
                await answer
        except Exception:
            logger.exception("checkpoint %s: its callback raised; the result is kept", checkpoint.name)


def _require_mapping(context: object) -> Mapping[str, Any]:
    """Return a run's context; said before an hour of reading, not after it."""
    if context is None:
        return {}
    if not isinstance(context, Mapping):
        raise OptionValueError("Checkpoint", "context", f"context must be a mapping, got {shown(context)}")
    return context


def broken_result(checkpoint: Checkpoint, context: Mapping[str, Any] | None, exc: BaseException) -> CheckpointResult:
    """Return the result of a run that raised, which only a wrong configuration or a fault of ours does."""
    return CheckpointResult(
        run_id=uuid.uuid4().hex,
        checkpoint_name=checkpoint.name,
        run_time=dt.datetime.now(dt.UTC),
        status=CheckpointStatus.ERROR,
        data_asset=checkpoint._label,
        error=f"{type(exc).__name__}: {exc}",
        metadata=json_ready({**checkpoint.metadata, **(context or {})}),
    )


def _status(report: ValidationReport, error: str | None, fails_at: Severity | None) -> CheckpointStatus:
    if error is not None or report.errors or not report.checks:
        return CheckpointStatus.ERROR
    if any(fails_at is not None and check.severity.rank >= fails_at.rank for check in report.failed):
        return CheckpointStatus.FAILURE
    if not report.complete or any(check.outcome is CheckOutcome.NOT_EVALUATED for check in report.checks):
        return CheckpointStatus.ERROR
    return CheckpointStatus.WARNING if report.failed else CheckpointStatus.SUCCESS
