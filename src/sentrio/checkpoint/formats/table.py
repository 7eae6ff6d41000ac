"""A result as a table for people."""

from __future__ import annotations

__all__ = (
    "ASCII_MARKS",
    "HEADER",
    "MARKS",
    "cells",
    "explained",
    "kind_of",
    "own_columns",
    "render",
    "sample_lines",
    "title",
    "value_text",
    "verdict",
    "visible",
)

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from sentrio.checkpoint.result import CheckpointResult, CheckpointStatus
from sentrio.validation.report import CheckOutcome, CheckResult, SampleRow
from sentrio.validation.wording import count_of, number_text

MARKS = {"passed": "✓", "failed": "✗", "warned": "!", "error": "?", "not_evaluated": "·"}
ASCII_MARKS = {"passed": "+", "failed": "x", "warned": "!", "error": "?", "not_evaluated": "."}
_COLOURS = {"passed": "32", "failed": "31", "warned": "33", "error": "35", "not_evaluated": "2"}
_STATUS_COLOURS = {"success": "32", "warning": "33", "failure": "31", "error": "35", "cancelled": "35"}

HEADER = ("check", "column", "failed", "of", "observed", "expected", "")
_RIGHT = {2, 3}
_GAPS = (3, 2, 3, 3, 3, 3)
_WIDEST = (40, 40, 20, 20, 40, 48, 10)


def visible(text: object) -> str:
    """Return text in which control characters are escaped, so that it can not change the terminal."""
    shown = []
    for char in str(text):
        if char in "\t\n\r" or unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
            shown.append(char.encode("unicode_escape", "backslashreplace").decode("ascii"))
        else:
            shown.append(char)
    return "".join(shown)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def kind_of(result: CheckpointResult, check: CheckResult) -> str:
    """Return the outcome as readers see it: a failure that only warns is one of its own."""
    if check.outcome is CheckOutcome.FAILED and not result.counts_as_failure(check):
        return "warned"
    return str(check.outcome)


def render(result: CheckpointResult, *, colour: bool = False, ascii_only: bool = False) -> str:
    """Return the table of a result.

    :param colour: mark outcomes with ANSI colours
    :param ascii_only: for terminals that can not show check marks
    """

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    marks = ASCII_MARKS if ascii_only else MARKS
    blocks = [title(result)]
    if result.report.checks:
        kinds = [kind_of(result, check) for check in result.report.checks]
        rows = [cells(check) for check in result.report.checks]
        lines = _aligned([HEADER, *rows])
        painted = [f"      {lines[0]}"]
        for kind, line in zip(kinds, lines[1:], strict=True):
            painted.append(f"  {paint(marks[kind], _COLOURS[kind])}   {line}".rstrip())
        blocks.append("\n".join(painted))
    if samples := _samples(result):
        blocks.append("\n".join(samples))
    if problems := _problems(result):
        blocks.append("\n".join(problems))
    word = paint(str(result.status).upper(), _STATUS_COLOURS[result.status])
    blocks.append(f"{word}  {verdict(result)}".rstrip())
    text = "\n\n".join(blocks)
    return text.encode("ascii", "backslashreplace").decode("ascii") if ascii_only else text


def title(result: CheckpointResult) -> str:
    """Return what was checked: name, data, rows, and how long it took."""
    report = result.report
    parts = [visible(result.checkpoint_name), visible(result.data_asset)]
    if report.row_count is not None and report.complete:
        parts.append(count_of(report.row_count, "row"))
    elif report.checks:
        of = "" if report.row_count is None else f" of {report.row_count:,}"
        parts.append(f"{report.rows_scanned:,}{of} rows read")
    parts.append(f"{result.duration_ms / 1000:.2f} s")
    return "   ".join(filter(None, parts))


def cells(check: CheckResult) -> tuple[str, ...]:
    """Return one row of the table, a text for each column of ``HEADER``."""

    def count(value: int | None) -> str:
        return "-" if value is None or check.failed_count is None else str(value)

    observed = "" if check.observed is None else number_text(check.observed)
    severity = "" if check.outcome is CheckOutcome.PASSED else str(check.severity)
    named = check.id.partition("#")[0]
    default = ":".join(filter(None, (check.name, check.column)))
    cells = (
        check.name if named == default else named,
        "(table)" if check.column is None else check.column,
        count(check.failed_count),
        count(check.evaluated_count),
        observed,
        check.expected,
        severity,
    )
    return tuple(_cut(visible(cell), width) for cell, width in zip(cells, _WIDEST, strict=True))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        line = ""
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            line += cell.rjust(width) if i in _RIGHT else cell.ljust(width)
            line += " " * (_GAPS[i] if i < len(_GAPS) else 0)
        lines.append(line.rstrip())
    return lines


def explained(check: CheckResult) -> str:
    """Return what is wrong with a check, and what was expected."""
    if not check.expected or "expected" in check.message:
        return check.message
    return f"{check.message} (expected {check.expected})"


def sample_lines(check: CheckResult) -> list[str]:
    """Return the failing rows of one check, a text each."""
    lines = []
    for item in check.sample:
        keys, cells = _keys_and_cells(check, item)
        lines.append("  ".join(filter(None, (f"row {item.row}", *keys, cells))))
    return lines


def value_text(value: Any) -> str:
    """Return a cell as people see it: text in quotes, so that it is not taken for a number or for nothing."""
    if value is None:
        return "null"
    return _cut(visible(json.dumps(value, ensure_ascii=False) if isinstance(value, str) else value), 60)


def _samples(result: CheckpointResult) -> list[str]:
    """Return the failing rows: row number, keys, offending cells."""
    shown = [check for check in result.report.failed if check.sample]
    if not shown:
        return []
    rows: list[tuple[str, ...]] = []
    most_keys = 0
    for check in shown:
        for i, item in enumerate(check.sample):
            keys, cells = _keys_and_cells(check, item)
            most_keys = max(most_keys, len(keys))
            first = (check.name, check.column or "") if i == 0 else ("", "")
            rows.append((*map(visible, first), f"row {item.row}", *keys, "\0", cells))
    padded = []
    for row in rows:
        split = row.index("\0")
        padded.append((*row[:split], *[""] * (3 + most_keys - split), row[split + 1]))
    widths = [max(map(len, column)) for column in zip(*padded, strict=True)]
    gaps = [2, 3, 3, *[2] * max(most_keys - 1, 0), *[3] * min(most_keys, 1), 0]
    lines = []
    for row in padded:
        spaced = [cell.ljust(width + gap) for cell, width, gap in zip(row, widths, gaps, strict=True)]
        lines.append(f" {''.join(spaced)}".rstrip())
    return lines


def own_columns(check: CheckResult, item: SampleRow) -> list[str]:
    """Return the columns that a check is about, apart from the keys that are shown beside them."""
    column = check.column or ""
    return [column] if column in item.values else column.split(",")  # a column's name may hold a comma


def _keys_and_cells(check: CheckResult, item: SampleRow) -> tuple[list[str], str]:
    # A rule that is about no column in particular, as a condition, shows several: each needs its name.
    own = own_columns(check, item) if check.column is not None else list(item.values)
    keys = [_cut(visible(_plain(value)), 30) for name, value in item.values.items() if name not in own]
    cells = ", ".join(f"{visible(name)} = {value_text(item.values[name])}" for name in own if name in item.values)
    return keys, cells


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)


def _problems(result: CheckpointResult) -> Iterable[str]:
    """Return what could not be evaluated, what was not about rows, and what actions could not do."""
    lines = []
    for check in result.report.checks:
        unsaid = check.outcome is CheckOutcome.FAILED and check.failed_count is None
        if check.outcome is CheckOutcome.ERROR or unsaid:
            lines.append(f" {visible(check.name)}  {visible(check.column or '(table)')}   {visible(check.message)}")
    lines += [
        f" action {visible(action.action_name)}   {action.status}: {visible(action.error or action.message)}"
        for action in result.failed_actions
    ]
    return lines


def verdict(result: CheckpointResult, *, actions: bool = True) -> str:
    """Return the counts of outcomes, and (with ``actions``) what the actions did."""
    checks = result.report.checks
    kinds = [kind_of(result, check) for check in checks]
    parts = []
    for kind, text in (
        ("passed", "passed"),
        ("failed", "failed"),
        ("warned", f"failed below fail_on={result.fail_on or 'never'}"),
        ("error", "could not be evaluated"),
        ("not_evaluated", "not evaluated"),
    ):
        if number := kinds.count(kind):
            parts.append(f"{number} {text}")
    if not checks and not result.error:
        parts.append("no check was evaluated")
    says = [", ".join(parts)] if parts else []
    if result.error:
        says.insert(0, visible(result.error))
    if result.status is CheckpointStatus.FAILURE and not result.report.complete and not result.error:
        says.append("stopped at the first failure")
    if actions:
        done = [action for action in result.action_results if action.message and action.status == "success"]
        says += [visible(action.message) for action in done]
    return "   ".join(says)
