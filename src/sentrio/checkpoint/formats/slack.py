"""A result as a message for Slack, and for what understands Slack's messages."""

from __future__ import annotations

__all__ = ("render",)

from typing import Any

from sentrio.checkpoint.formats.table import explained, kind_of, sample_lines, title, verdict, visible
from sentrio.checkpoint.result import CheckpointResult
from sentrio.validation.report import CheckOutcome, CheckResult

# https://docs.slack.dev/reference/block-kit/blocks: 3,000 characters in a section's text, 50 blocks in a message.
_LONGEST_TEXT = 3000
_LONGEST_LINE = 300
_MOST_CHECKS = 10
_MOST_ROWS = 3

_ICONS = {
    "success": ":white_check_mark:",
    "warning": ":warning:",
    "failure": ":x:",
    "error": ":grey_question:",
    "cancelled": ":black_square_for_stop:",
}
_MARKS = {"failed": ":x:", "warned": ":warning:", "error": ":grey_question:"}


def render(result: CheckpointResult) -> dict[str, Any]:
    """Return what is posted: the verdict, the checks that did not pass, and a few failing rows of each."""
    name, word = _text(result.checkpoint_name), result.status.upper()
    first = f"{_ICONS[result.status]} *{name}* {word}\n{_text(verdict(result))}"
    shown = [check for check in result.report.checks if kind_of(result, check) in _MARKS]
    # What fails the run comes first, lest it be among those that are cut off.
    shown.sort(key=lambda check: (kind_of(result, check) == "warned", -check.severity.rank))
    blocks = [_section(first), *(_section(_described(result, check)) for check in shown[:_MOST_CHECKS])]
    foot = [title(result), f"run {result.run_id}", f"{result.run_time:%Y-%m-%d %H:%M} UTC"]
    if len(shown) > _MOST_CHECKS:
        foot.insert(0, f"and {len(shown) - _MOST_CHECKS} more checks did not pass")
    blocks.append({"type": "context", "elements": [_markup(_text("   ".join(foot)))]})
    return {
        "text": f"{name}: {word}   {_text(verdict(result))}",  # in notifications, which show no blocks
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _described(result: CheckpointResult, check: CheckResult) -> str:
    where = f" `{_code(check.column)}`" if check.column else ""
    severity = "" if check.outcome is CheckOutcome.ERROR else f" ({check.severity})"
    lines = [f"{_MARKS[kind_of(result, check)]} *{_text(check.name)}*{where}{severity}: {_text(explained(check))}"]
    rows = sample_lines(check)
    lines += [f"`{_code(row)}`" for row in rows[:_MOST_ROWS]]
    return "\n".join(lines)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _markup(text)}


def _markup(text: str) -> dict[str, Any]:
    # Verbatim: nothing that stands in the data becomes a link or calls anybody.
    assert len(text) <= _LONGEST_TEXT  # each part of it is bounded
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _text(text: str) -> str:
    """Return text without control characters, bounded, and with Slack's own three escaped."""
    shown = visible(text)
    if len(shown) > _LONGEST_LINE:
        shown = f"{shown[: _LONGEST_LINE - 3]}..."
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    return _text(text.replace("`", "'"))
