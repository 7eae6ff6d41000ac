"""Logging, configured by the command and by nobody else."""

from __future__ import annotations

__all__ = ("set_up",)

import datetime as dt
import json
import logging
import sys

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def set_up(verbose: int, *, as_json: bool) -> None:
    """Log to standard error: warnings, with ``verbose`` 1 information, with 2 everything of sentrio."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("sentrio")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(_LEVELS[min(verbose, 2)])
