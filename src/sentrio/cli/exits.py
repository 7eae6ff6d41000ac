"""Exit codes, and which of several counts."""

from __future__ import annotations

__all__ = (
    "ACTION_FAILED",
    "FAILED",
    "INTERRUPTED",
    "PASSED",
    "PIPE_CLOSED",
    "UNDECIDED",
    "USAGE",
    "ended_by",
    "exit_code",
    "first_of",
)

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentrio.checkpoint.result import CheckpointResult

PASSED = 0
FAILED = 1
USAGE = 2
UNDECIDED = 3
ACTION_FAILED = 4
INTERRUPTED = 130  # by Ctrl-C, and so by SIGINT
PIPE_CLOSED = 141  # as a process that a signal for it ended

# Of several, the first of these.
_ORDER = (INTERRUPTED, USAGE, UNDECIDED, FAILED, ACTION_FAILED, PASSED)


def ended_by(number: int) -> int:
    """Return the exit code of a command that a signal has ended, as shells have it: 143 for SIGTERM."""
    return 128 + number


def _code(result: CheckpointResult) -> int:
    if result.status == "failure":
        return FAILED
    if not result.passed:
        return UNDECIDED
    return ACTION_FAILED if result.failed_actions else PASSED


def exit_code(results: Iterable[CheckpointResult]) -> int:
    """Return the exit code for some results; for none of them, 0."""
    return first_of({_code(result) for result in results})


def first_of(codes: Collection[int]) -> int:
    """Return the code that counts of several; of none of them, 0."""
    return next((code for code in _ORDER if code in codes), PASSED)
