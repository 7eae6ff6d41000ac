"""Results as Markdown, for job summaries and pull requests."""

from __future__ import annotations

__all__ = ("render",)

import re
from collections.abc import Sequence

from sentrio.checkpoint.formats.table import HEADER, MARKS, cells, kind_of, sample_lines, title, verdict
from sentrio.checkpoint.result import CheckpointResult


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", text)


def render(results: Sequence[CheckpointResult], *, exit_code: int) -> str:
    """Return a section for each result: the verdict, a table of the checks, and the failing rows."""
    blocks = []
    for result in results:
        blocks.append(f"## {result.status.upper()}: {_escaped(title(result))}\n\n{_escaped(verdict(result))}")
        if result.report.checks:
            header = ("", *HEADER)
            lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
            for check in result.report.checks:
                row = (MARKS[kind_of(result, check)], *map(_escaped, cells(check)))
                lines.append(f"| {' | '.join(row)} |")
            blocks.append("\n".join(lines))
        for check in (*result.report.errors, *result.report.failed):
            name = _escaped(" ".join(filter(None, (check.name, check.column))))
            rows = "".join(f"\n  - {_escaped(line)}" for line in sample_lines(check))
            blocks.append(f"- {name}: {_escaped(check.message)}{rows}")
    return "\n\n".join(blocks) + "\n"
