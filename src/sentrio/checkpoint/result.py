"""The result of a run of a checkpoint: what was found, what was done about it, and how to say so."""

from __future__ import annotations

__all__ = (
    "SCHEMA_VERSION",
    "ActionResult",
    "ActionStatus",
    "CheckpointResult",
    "CheckpointStatus",
    "load_results",
)

import datetime as dt
import json
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs

from sentrio.errors import CheckpointFailed, CheckpointUndecided, OptionValueError
from sentrio.validation.report import CheckResult, Severity, SplitResult, ValidationReport
from sentrio.validation.values import json_ready
from sentrio.validation.wording import count_of

#: The major version of :meth:`CheckpointResult.to_dict`. Within it, fields are only added.
SCHEMA_VERSION = 1


class CheckpointStatus(StrEnum):
    """The verdict of a run. "failed" and "could not tell" are different words."""

    SUCCESS = "success"  #: every check passed
    WARNING = "warning"  #: checks failed, all of them of a severity below ``fail_on``
    FAILURE = "failure"  #: a check of severity ``fail_on`` or above failed
    ERROR = "error"  #: it could not be told whether the data are good
    CANCELLED = "cancelled"  #: a runner ended the run when it stopped


class ActionStatus(StrEnum):
    """What became of an action."""

    SUCCESS = "success"
    FAILURE = "failure"  #: it ran and reported no success
    SKIPPED = "skipped"  #: its condition did not hold, or another action's error came first
    ERROR = "error"  #: it raised or timed out
    CANCELLED = "cancelled"  #: another action's error ended it


@attrs.frozen(kw_only=True)
class ActionResult:
    """What became of one action in one run."""

    action_name: str
    action_type: str
    status: ActionStatus = attrs.field(converter=ActionStatus)
    message: str = ""
    started_at: dt.datetime | None = None  #: UTC; ``None`` if it never started
    completed_at: dt.datetime | None = None
    duration_ms: float = 0.0
    attempts: int = 0
    details: Mapping[str, Any] = attrs.field(factory=dict)  #: JSON-ready values
    error: str | None = None  #: the error as text
    exception: BaseException | None = attrs.field(default=None, eq=False, repr=False)  #: not serialized

    def __getstate__(self) -> dict[str, Any]:
        # An exception may hold anything, a loop or a socket too: results must pickle all the same.
        state = {name: getattr(self, name) for name in (field.name for field in attrs.fields(type(self)))}
        return {**state, "exception": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, without the exception."""
        return {
            "action_name": self.action_name,
            "action_type": self.action_type,
            "status": str(self.status),
            "message": self.message,
            "started_at": None if self.started_at is None else self.started_at.isoformat(),
            "completed_at": None if self.completed_at is None else self.completed_at.isoformat(),
            "duration_ms": self.duration_ms,
            "attempts": self.attempts,
            "details": json_ready(self.details),
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ActionResult:
        """Rebuild a result from :meth:`to_dict`; fields that this version does not know are ignored."""
        fields = {field.name: data[field.name] for field in attrs.fields(cls) if field.name in data}
        for name in ("started_at", "completed_at"):
            if fields.get(name) is not None:
                fields[name] = dt.datetime.fromisoformat(fields[name])
        return cls(**fields)


@attrs.frozen(kw_only=True)
class CheckpointResult:
    """What a run of a checkpoint found and did. Its truth value is :attr:`passed`."""

    run_id: str
    checkpoint_name: str
    run_time: dt.datetime  #: when the run began, UTC
    status: CheckpointStatus
    report: ValidationReport = attrs.field(factory=ValidationReport)
    action_results: tuple[ActionResult, ...] = ()  #: one for each action, in the order of their definition
    data_asset: str = ""  #: path, URL without credentials, or shape of a frame
    duration_ms: float = 0.0  #: of reading and validating; actions have durations of their own
    error: str | None = None  #: why it could not be told, for status ``error``
    fail_on: Severity | None = Severity.HIGH  #: ``None``: no check fails the run
    params: Mapping[str, Any] = attrs.field(factory=dict)
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    split: SplitResult | None = None  #: rows and paths of a split, if there was one and it was written

    @property
    def passed(self) -> bool:
        """Whether the status is ``success`` or ``warning``."""
        return self.status in {CheckpointStatus.SUCCESS, CheckpointStatus.WARNING}

    def __bool__(self) -> bool:
        return self.passed

    def counts_as_failure(self, check: CheckResult) -> bool:
        """Tell whether a failed check fails the run, or only warns."""
        return self.fail_on is not None and check.severity.rank >= self.fail_on.rank

    @property
    def failed_actions(self) -> tuple[ActionResult, ...]:
        """The actions that raised, timed out, or reported no success."""
        bad = {ActionStatus.ERROR, ActionStatus.FAILURE}
        return tuple(action for action in self.action_results if action.status in bad)

    def raise_for_status(self) -> CheckpointResult:
        """Return the result itself if it passed.

        :raises CheckpointFailed: if the status is ``failure``
        :raises CheckpointUndecided: if the status is ``error`` or ``cancelled``
        """
        if self.passed:
            return self
        if self.status is CheckpointStatus.FAILURE:
            raise CheckpointFailed(self)
        raise CheckpointUndecided(self)

    def summary(self) -> str:
        """Return one readable line: name, status, counts, and the checks that did not pass."""
        report = self.report
        parts = []
        if report.checks:
            passed = sum(check.passed for check in report.checks)
            parts.append(f"{passed} of {count_of(len(report.checks), 'check')} passed")
        if self.error:
            parts.append(self.error)
        parts += _not_passed(report)
        rows = count_of(report.rows_scanned, "row")
        if not report.complete:
            of = "" if report.row_count is None else f" of {report.row_count:,}"
            rows = f"{report.rows_scanned:,}{of} rows read"
        size = f" ({rows}, {self.duration_ms / 1000:.2f} s)"
        line = f"{self.checkpoint_name}: {self.status}{', ' if parts else ''}{'; '.join(parts)}{size}"
        return " ".join(line.split())  # a line, whatever a name holds

    def explain(self) -> str:
        """Return why the run did not pass, with checks, columns and counts."""
        lines = [f"{self.checkpoint_name}: {self.status}"]
        if self.error:
            lines.append(self.error)
        lines += _not_passed(self.report)
        return "\n  ".join(lines)

    def __str__(self) -> str:
        from sentrio.checkpoint.formats.table import render

        return render(self)

    def _repr_html_(self) -> str:
        from sentrio.checkpoint.formats.notebook import fragment

        return fragment(self)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; ``from_dict(d).to_dict() == d``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "checkpoint_name": self.checkpoint_name,
            "run_time": self.run_time.isoformat(),
            "status": str(self.status),
            "data_asset": self.data_asset,
            "duration_ms": self.duration_ms,
            "error": self.error,
            "fail_on": None if self.fail_on is None else str(self.fail_on),
            "params": dict(self.params),
            "metadata": dict(self.metadata),
            "split": None if self.split is None else self.split.to_dict(),
            "report": self.report.to_dict(),
            "action_results": [action.to_dict() for action in self.action_results],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CheckpointResult:
        """Rebuild a result from :meth:`to_dict`; fields that this version does not know are ignored.

        :raises ValueError: if the dictionary is of another major version, or no result
        """
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise OptionValueError(
                "CheckpointResult",
                "schema_version",
                f"this sentrio reads results of schema_version {SCHEMA_VERSION}, got {version!r}; "
                "read it with the sentrio that wrote it",
            )
        fields = {field.name: data[field.name] for field in attrs.fields(cls) if field.name in data}
        fields["run_time"] = dt.datetime.fromisoformat(fields["run_time"])
        fields["status"] = CheckpointStatus(fields["status"])
        fields["fail_on"] = None if fields.get("fail_on") is None else Severity(fields["fail_on"])
        fields["split"] = None if fields.get("split") is None else SplitResult.from_dict(fields["split"])
        fields["report"] = ValidationReport.from_dict(fields["report"])
        fields["action_results"] = tuple(map(ActionResult.from_dict, fields.get("action_results", ())))
        return cls(**fields)


def _not_passed(report: ValidationReport) -> list[str]:
    texts = []
    for check in (*report.errors, *report.failed):
        text = " ".join(filter(None, (check.name, check.column)))
        if check.failed_count is not None and check.evaluated_count is not None:
            texts.append(f"{text} {check.failed_count:,} of {check.evaluated_count:,}")
        else:
            texts.append(f"{text}: {check.message}")
    return texts


def load_results(path: str | os.PathLike[str]) -> list[CheckpointResult]:
    """Read back what a store action wrote, oldest first.

    :param path: a stored result, or the folder of a store; its subfolders are read as well
    :raises FileNotFoundError: if there is no such file or folder
    :raises ValueError: if a file holds no result, or one of another major version; the message names the file
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"there are no stored results at {str(root)!r}")
    files = [root] if root.is_file() else sorted(root.rglob("*.json"))
    results = []
    for file in files:
        try:
            results.append(CheckpointResult.from_dict(json.loads(file.read_text(encoding="utf-8"))))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise OptionValueError("load_results", "path", f"{file} holds no stored result: {exc}") from exc
    return sorted(results, key=lambda result: result.run_time)
