"""Printing, to readers that may be gone and to terminals that may show little."""

from __future__ import annotations

__all__ = ("complain", "say", "shows_marks", "terminal_colours")

import os
import sys
from typing import Any

from sentrio.cli.exits import PIPE_CLOSED, USAGE


def terminal_colours(stream: Any) -> bool:
    """Tell whether to colour what goes to a stream."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shows_marks(stream: Any) -> bool:
    """Tell whether a stream can show check marks."""
    try:
        "✓✗".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def complain(text: object) -> None:
    """Print an error to standard error; if that can not be done, the exit code has to say it alone."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _forget(sys.stderr)


def _forget(stream: Any) -> None:
    # Python would flush once more at exit, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str, stream: Any = None) -> None:
    """Print a text; exit if it can not be printed, quietly if only nobody reads any more, as after ``| head``."""
    target = stream or sys.stdout
    try:
        try:
            print(text, file=target, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode("ascii"), file=target, flush=True)
    except OSError as exc:
        _forget(target)
        if isinstance(exc, BrokenPipeError):
            raise SystemExit(PIPE_CLOSED) from None
        if target is not sys.stderr:
            complain(f"the output can not be written: {exc.strerror or exc}")
        raise SystemExit(USAGE) from None
