"""Logging, configured by the command and by nobody else."""

from __future__ import annotations

__all__ = ("set_up",)

import datetime as dt
import json
import logging
import sys

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def _run_of(record: logging.LogRecord) -> tuple[str, str] | None:
    """Return run id and checkpoint of a record, if it was logged within a run."""
    checkpoints = sys.modules.get("sentrio.checkpoint.run")
    found: tuple[str, str] | None = checkpoints.current_run.get() if checkpoints is not None else None
    return found


class _Text(logging.Formatter):
    """One line a record, which control characters can not leave."""

    def format(self, record: logging.LogRecord) -> str:
        from sentrio.checkpoint.formats.table import visible

        run = _run_of(record)
        place = f" [{visible(run[1])} {run[0][:6]}]" if run else ""
        text = f"{record.levelname} {record.name}{place}: {visible(record.getMessage())}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        run = _run_of(record)
        fields = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "run_id": run[0] if run else None,
            "checkpoint": run[1] if run else None,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def set_up(verbose: int, *, as_json: bool) -> None:
    """Log to standard error: warnings, with ``verbose`` 1 information, with 2 everything of sentrio."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Text())
    logger = logging.getLogger("sentrio")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(_LEVELS[min(verbose, 2)])
