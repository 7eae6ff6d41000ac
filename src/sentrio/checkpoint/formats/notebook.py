"""A result as a piece of HTML for notebooks."""

from __future__ import annotations

__all__ = ("fragment",)

from html import escape

from sentrio.checkpoint.formats import table
from sentrio.checkpoint.result import CheckpointResult

_STYLES = {
    "passed": "color:#1a7f37",
    "failed": "color:#cf222e;font-weight:bold",
    "warned": "color:#9a6700",
    "error": "color:#8250df;font-weight:bold",
    "not_evaluated": "opacity:.6",
}
_STATUS_STYLES = {
    "success": "passed",
    "warning": "warned",
    "failure": "failed",
    "error": "error",
    "cancelled": "error",
}


def fragment(result: CheckpointResult) -> str:
    """Return one ``<div>`` with the verdict, a row a check, and the failing rows; nothing is loaded."""

    def cell(text: str, style: str = "") -> str:
        attribute = f' style="text-align:left;{style}"'
        return f"<td{attribute}>{escape(text)}</td>"

    rows = []
    for check in result.report.checks:
        kind = table.kind_of(result, check)
        cells = table.cells(check)
        first = cell(f"{table.MARKS[kind]} {cells[0]}", _STYLES[kind])
        detail = check.message if check.outcome == "error" else "; ".join(table.sample_lines(check))
        rows.append("<tr>" + first + "".join(map(cell, cells[1:])) + cell(detail) + "</tr>")
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in (*table.HEADER, "rows"))
    style = _STYLES[_STATUS_STYLES[result.status]]
    verdict = f'<b style="{style}">{result.status.upper()}</b>'
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""
    return f"<div><p>{verdict} {escape(table.title(result))}<br>{escape(table.verdict(result))}</p>{body}</div>"
