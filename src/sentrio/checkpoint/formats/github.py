"""Results as GitHub workflow commands, which become annotations."""

from __future__ import annotations

__all__ = ("render",)

from collections.abc import Sequence

from sentrio.checkpoint.formats.table import explained, kind_of, sample_lines, verdict
from sentrio.checkpoint.result import CheckpointResult

_LEVELS = {"failed": "error", "error": "error", "warned": "warning", "not_evaluated": "notice"}


def _data(text: str) -> str:
    """Escape the text of a command; a line break would end it, and a value could begin another one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def render(results: Sequence[CheckpointResult], *, exit_code: int) -> str:
    """Return one annotation for each check that did not pass, and one line for each result."""
    lines = []
    for result in results:
        for check in result.report.checks:
            level = _LEVELS.get(kind_of(result, check))
            if level is None:
                continue
            title = f"{result.checkpoint_name}: {' '.join(filter(None, (check.name, check.column)))}"
            text = "\n".join([explained(check), *sample_lines(check)])
            lines.append(f"::{level} title={_property(title)}::{_data(text)}")
        if result.error is not None:
            lines.append(f"::error title={_property(result.checkpoint_name)}::{_data(result.error)}")
        # Plain text, but no command even if a name in it looks like one.
        shown = f"{result.status.upper()} {result.checkpoint_name}: {verdict(result)}"
        lines.append(_data(shown.replace("::", ": :")))
    return "\n".join(lines)
