"""Results as one page of HTML that stands by itself: it loads nothing and runs nothing, whatever the data hold.

What did not pass comes first, worst first. Colours follow the reader's light or dark setting; below 40 rem of
width, tables become lists.
"""

from __future__ import annotations

__all__ = ("render",)

import json
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from sentrio.checkpoint.formats import table
from sentrio.checkpoint.result import CheckpointResult, CheckpointStatus
from sentrio.validation.report import CheckOutcome, CheckResult
from sentrio.validation.wording import count_of, number_text, percent

# How a status and the kind of an outcome are painted.
_TONES = {
    CheckpointStatus.SUCCESS: "passed",
    CheckpointStatus.WARNING: "warned",
    CheckpointStatus.FAILURE: "failed",
    CheckpointStatus.ERROR: "error",
    CheckpointStatus.CANCELLED: "error",
}
_WORDS = {
    "failed": "failed",
    "error": "could not be evaluated",
    "warned": "failed, a warning only",
    "not_evaluated": "not evaluated",
}
# Worst first. What could not be told comes before what only warns: it may hide anything.
_ORDER = {kind: place for place, kind in enumerate(("failed", "error", "warned", "not_evaluated", "passed"))}
_STATUS_ORDER = ("failure", "error", "cancelled", "warning", "success")


def _text(value: object) -> str:
    """Return text that is shown as it is: neither markup nor control characters have any effect."""
    return escape(table.visible(value))


def render(results: Sequence[CheckpointResult], *, exit_code: int) -> str:
    """Return one page for all results.

    :param exit_code: what the command exits with; the page does not show it
    """
    ordered = sorted(enumerate(results), key=lambda each: (_STATUS_ORDER.index(each[1].status), each[0]))
    names = ", ".join(result.checkpoint_name for _, result in ordered)
    word = str(ordered[0][1].status) if ordered else "nothing ran"
    body = [f"<h1>{_headline(results)}</h1>"]
    if len(results) > 1:
        body.append(_contents(ordered))
    body += [_run(result, number) for number, result in ordered]
    return _page(_text(f"{word}: {names}" if names else word), "\n".join(body))


def _page(title: str, body: str) -> str:
    # The policy forbids what the page does not do anyway, in case a browser or a mail program thinks otherwise.
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{_style()}</style>
</head>
<body>
<main>
{body}
</main>
<footer>sentrio {escape(version("sentrio"))}. This page loads nothing and runs nothing.</footer>
</body>
</html>
"""


@cache
def _style() -> str:
    return files("sentrio.checkpoint.formats").joinpath("report.css").read_text(encoding="utf-8")


def _headline(results: Sequence[CheckpointResult]) -> str:
    if len(results) == 1:
        return "Data quality report"
    passed = sum(result.passed for result in results)
    return f"Data quality report: {passed} of {count_of(len(results), 'checkpoint')} passed"


def _contents(ordered: Iterable[tuple[int, CheckpointResult]]) -> str:
    items = [
        f'<li><span><span class="badge {_TONES[result.status]}">{result.status}</span></span>'
        f'<span><a href="#run-{number}">{_text(result.checkpoint_name)}</a> '
        f'<span class="muted">{escape(_verdict(result))}</span></span></li>'
        for number, result in ordered
    ]
    return f'<nav aria-label="Checkpoints"><ul class="summary">{"".join(items)}</ul></nav>'


def _verdict(result: CheckpointResult) -> str:
    """Return the counts of outcomes; why it could not be told, if it could not."""
    checks = result.report.checks
    if result.status is CheckpointStatus.SUCCESS:
        return f"all {len(checks)} checks passed" if len(checks) > 1 else "the check passed"
    return table.verdict(result, actions=False)


def _run(result: CheckpointResult, number: int) -> str:
    word = f'<span class="word">{str(result.status).upper()}</span>'
    name = f'<h2 id="run-{number}">{_text(result.checkpoint_name)}</h2>'
    verdict = f"{word}{name}<p>{escape(_verdict(result))}</p>"
    parts = [f'<header class="verdict {_TONES[result.status]}">{verdict}</header>', _facts(result)]
    checks = sorted(result.report.checks, key=lambda check: _badness(result, check))
    bad = [check for check in checks if not check.passed]
    good = [check for check in result.report.checks if check.passed]
    if bad:
        parts.append(f"<h3>Did not pass ({len(bad)})</h3>")
        parts += [_card(result, check) for check in bad]
    if good:
        # Open where there is nothing else to see.
        parts.append(_passed(good, is_open=not bad))
    parts += _actions(result)
    return f'<section class="run" aria-labelledby="run-{number}">\n' + "\n".join(parts) + "\n</section>"


def _badness(result: CheckpointResult, check: CheckResult) -> tuple[float, ...]:
    return _ORDER[table.kind_of(result, check)], -check.severity.rank, -(check.failed_ratio or 0.0)


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    shown = "".join(f"<dt>{label}</dt><dd>{text}</dd>" for label, text in pairs if text)
    return f"<dl>{shown}</dl>" if shown else ""


def _facts(result: CheckpointResult) -> str:
    report = result.report
    rows = count_of(report.rows_scanned, "row")
    if not report.complete:
        rows = f"{report.rows_scanned:,}{'' if report.row_count is None else f' of {report.row_count:,}'} rows read"
    moment = f"{result.run_time:%Y-%m-%d %H:%M:%S} UTC"
    return _pairs(
        [
            ("Data", f'<span class="value">{_text(result.data_asset)}</span>' if result.data_asset else ""),
            ("Rows", rows),
            (
                "Run",
                f'<time datetime="{result.run_time.isoformat()}">{moment}</time>, {result.duration_ms / 1000:.2f} s',
            ),
            ("Run id", f'<span class="value">{_text(result.run_id)}</span>'),
            *((_text(name), _plain(value)) for name, value in {**result.params, **result.metadata}.items()),
            ("Split", _split(result)),
        ]
    )


def _split(result: CheckpointResult) -> str:
    if result.split is None:
        return ""
    places = ", ".join(
        f'{kind}: <span class="value">{_text(path)}</span>' for kind, path in result.split.paths.items()
    )
    return f"{_text(str(result.split).removeprefix('Split: '))}<br>{places}"


def _plain(value: Any) -> str:
    return _text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _value(value: Any) -> str:
    return f'<span class="value">{_text(table.value_text(value))}</span>'


def _card(result: CheckpointResult, check: CheckResult) -> str:
    kind = table.kind_of(result, check)
    column = f"<code>{_text(check.column)}</code>" if check.column is not None else '<span class="muted">table</span>'
    own_name = check.id if check.id.partition("#")[0] != ":".join(filter(None, (check.name, check.column))) else ""
    badges = f'<span class="badge">{_WORDS[kind]}</span><span class="muted">severity {check.severity}</span>'
    parts = [f"<h4>{_text(check.name)} {column}{badges}</h4>"]
    if check.description:
        parts.append(f"<p>{_text(check.description)}</p>")
    if check.outcome is CheckOutcome.FAILED and check.failed_ratio is not None:
        parts.append(_share(check, check.failed_ratio))
    elif check.message and check.observed is None:  # else it says what stands below
        parts.append(f"<p>{_text(check.message)}</p>")
    observed = "" if check.observed is None else _text(number_text(check.observed))
    parts.append(
        _pairs(
            [
                ("Expected", _text(check.expected)),
                ("Observed", observed),
                ("Check", _text(own_name)),
                ("Dimension", _text(check.dimension or "")),
            ]
        )
    )
    parts.append(_samples(check))
    return f'<article class="check {kind}">{"".join(parts)}</article>'


def _share(check: CheckResult, share: float) -> str:
    said = f"{check.failed_count:,} of {count_of(check.evaluated_count or 0, 'row')} failed ({percent(share)})"
    width = f"{min(max(share, 0.0), 1.0) * 100:.4f}".rstrip("0").rstrip(".")
    # The words say it all: the bar is for the eye alone.
    return (
        f'<div class="share"><span>{said}</span>'
        f'<span class="bar" aria-hidden="true"><span style="width:{width}%"></span></span></div>'
    )


def _samples(check: CheckResult) -> str:
    """Return the failing rows as a table: key columns first, then the offending ones."""
    if not check.sample:
        return ""
    own = table.own_columns(check, check.sample[0])
    names = list(dict.fromkeys(name for item in check.sample for name in item.values))
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in names)
    rows = []
    for item in check.sample:
        cells = "".join(
            f"<td{' class=offending' if name in own else ''}>{_value(item.values[name])}</td>"
            if name in item.values
            else "<td></td>"
            for name in names
        )
        rows.append(f'<tr><th scope="row" class="value">{item.row}</th>{cells}</tr>')
    shown = count_of(len(rows), "failing row")
    caption = f"The first {shown}" if check.failed_count is None or check.failed_count > len(rows) else "Failing rows"
    # Focusable, since a keyboard must be able to scroll what is too wide.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Failing rows of {_text(check.id)}"><table>'
        f'<caption>{caption}, counted from 0</caption><thead><tr><th scope="col">row</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _passed(checks: Sequence[CheckResult], *, is_open: bool) -> str:
    labels = ("check", "column", "failed", "of", "observed", "expected")
    head = "".join(
        f'<th scope="col"{" class=number" if label in {"failed", "of"} else ""}>{label}</th>' for label in labels
    )
    rows = []
    for check in checks:
        cells = []
        for label, text in list(zip(labels, table.cells(check), strict=False))[1:]:
            shown = "" if text == "-" else _text(text)
            number = " class=number" if label in {"failed", "of"} else ""
            cells.append(f'<td{number} data-label="{label}">{shown}</td>')
        rows.append(f'<tr><th scope="row">{_text(check.name)}</th>{"".join(cells)}</tr>')
    grid = f'<table class="checks"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    scroll = f'<div class="scroll" tabindex="0" role="region" aria-label="Checks that passed">{grid}</div>'
    return f"<details{' open' if is_open else ''}><summary>Passed ({len(checks)})</summary>{scroll}</details>"


def _actions(result: CheckpointResult) -> list[str]:
    if not result.action_results:
        return []
    tones = {"success": "passed", "failure": "failed", "error": "failed"}
    items = [
        f'<li><span><span class="badge {tones.get(action.status, "not_evaluated")}">{action.status}</span></span>'
        f"<span>{_text(action.action_name)} "
        f'<span class="muted">{_text(action.error or action.message)}</span></span></li>'
        for action in result.action_results
    ]
    return ["<h3>Actions</h3>", f'<ul class="summary">{"".join(items)}</ul>']
