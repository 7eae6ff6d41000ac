"""What came of a site."""

from __future__ import annotations

__all__ = ("SiteAttempt", "SiteResult", "SiteStatus", "raise_for_failures")

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from sentrio.errors import SiteFailed

if TYPE_CHECKING:
    from sentrio.checkpoint.result import CheckpointResult

# A site may be a page long; a message that holds it should not be.
_MOST_OF_A_NAME = 80


# What the fields of a result may hold in JSON; a file may have been damaged, or be another program's.
_PLAIN: dict[str, Any] = {
    "site": str,
    "attempts": int,
    "duration_ms": int | float,
    "exit_code": int | None,
    "error": str | None,
    "output_tail": str,
    "log_file": str | None,
}


class SiteStatus(StrEnum):
    """How a site ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


@attrs.frozen(kw_only=True)
class SiteAttempt:
    """News of a site that is not done yet: an attempt that begins, or one that another will follow."""

    site: str
    attempt: int  #: counted from 1
    error: str | None = None  #: what went wrong with it; ``None``: it begins
    wait_seconds: float | None = None  #: until the next attempt, once this one has gone wrong


@attrs.frozen(kw_only=True)
class SiteResult:
    """What came of one site, after its last attempt."""

    site: str
    status: SiteStatus = attrs.field(converter=SiteStatus)
    attempts: int = 0  #: attempts that were begun
    duration_ms: float = 0.0  #: from the first attempt's begin to the last one's end, waits between them included
    exit_code: int | None = (
        None  #: of the command; negative: the signal that ended it; ``None``: it never ended by itself
    )
    error: str | None = None  #: what went wrong; ``None`` after a success
    output_tail: str = ""  #: the last lines that the command's last attempt wrote to either output
    started_at: datetime | None = None  #: UTC; ``None`` if it never began
    completed_at: datetime | None = None  #: UTC
    log_file: str | None = None  #: the full output, if there is a ``log_dir``
    checkpoint: CheckpointResult | None = None  #: what the pipeline's checkpoint found, if it was reached
    exception: BaseException | None = attrs.field(default=None, eq=False, repr=False)  #: what a callable raised

    @property
    def success(self) -> bool:
        """Whether the site succeeded."""
        return self.status is SiteStatus.SUCCESS

    def explain(self) -> str:
        """Say in one text what came of it, with the last lines of its output if it did not succeed."""
        text = f"{shown(self.site)}: {self.error or self.status}"
        if self.attempts > 1:
            text += f" (attempt {self.attempts})"
        if not self.success and self.output_tail:
            text += "".join(f"\n  {line}" for line in self.output_tail.splitlines())
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; the exception is not part of it."""
        plain = {field.name: getattr(self, field.name) for field in attrs.fields(SiteResult)}
        del plain["exception"]
        plain["checkpoint"] = None if self.checkpoint is None else self.checkpoint.to_dict()
        plain["status"], plain["success"] = str(self.status), self.success
        for moment in ("started_at", "completed_at"):
            if plain[moment] is not None:
                plain[moment] = plain[moment].isoformat()
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> SiteResult:
        """Make a result of what :meth:`to_dict` returned; keys that it does not know are passed over.

        :raises ValueError: if it is none
        :raises TypeError: if it is none
        """
        known = {field.name for field in attrs.fields(cls)} - {"exception"}
        options = {name: value for name, value in plain.items() if name in known}
        for name, kinds in _PLAIN.items():
            value = options.get(name)
            if name in options and (not isinstance(value, kinds) or isinstance(value, bool) or value != value):
                raise TypeError(f"{name} can not be {value!r}")
        for moment in ("started_at", "completed_at"):
            if options.get(moment) is not None:
                options[moment] = datetime.fromisoformat(options[moment])
        if options.get("checkpoint") is not None:
            from sentrio.checkpoint.result import CheckpointResult

            options["checkpoint"] = CheckpointResult.from_dict(options["checkpoint"])
        return cls(**options)


def shown(site: str) -> str:
    """Return a site for messages: short, and without what could disturb a terminal."""
    text = site if len(site) <= _MOST_OF_A_NAME else f"{site[: _MOST_OF_A_NAME - 1]}…"
    return text if text.isprintable() and text else repr(text)


def raise_for_failures(results: Iterable[SiteResult]) -> None:
    """Raise one group with an error for each site that did not succeed; do nothing if all did.

    :raises ExceptionGroup: of :class:`sentrio.errors.SiteFailed`, in the order of ``results``
    """
    every = list(results)
    failed = [SiteFailed(result) for result in every if not result.success]
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(every)} sites did not succeed", failed)
