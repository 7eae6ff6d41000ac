"""The ``sentrio`` command."""

from __future__ import annotations

__all__ = ("main",)

import os
import sys

from sentrio.cli.exits import INTERRUPTED, UNDECIDED, USAGE
from sentrio.cli.printing import complain


def main() -> None:
    """Run the command and exit with its code; no error of use or data ends in a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us, as with `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    try:
        from sentrio.cli.app import app
        from sentrio.errors import SentrioError, SourceError

        try:
            app(prog_name="sentrio")
        except SentrioError as exc:
            complain(exc)
            sys.exit(UNDECIDED if isinstance(exc, SourceError) else USAGE)
        except OSError as exc:
            # What files and sources raise are errors of ours; this is the help, or a message about wrong options,
            # that nobody can take.
            complain(f"the output can not be written: {exc.strerror or exc}")
            sys.exit(USAGE)
    except (KeyboardInterrupt, Exception) as exc:
        # Before a run has begun: while modules are imported, or a configuration is read.
        if not _is_interruption(exc):
            raise
        complain("interrupted")
        sys.exit(INTERRUPTED)


def _is_interruption(exc: BaseException) -> bool:
    """Tell whether Ctrl-C is behind an error: while a class is made, Python raises another one because of it."""
    found: BaseException | None = exc
    while found is not None and not isinstance(found, KeyboardInterrupt):
        found = found.__cause__
    return found is not None
