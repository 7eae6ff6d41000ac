"""Renderings of what came of sites, after the conventions of ``sentrio.checkpoint.formats``."""

from __future__ import annotations

__all__ = ("FORMATS", "SUFFIXES", "render_table", "renderer", "verdict")

import json
from collections import Counter
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

from sentrio.checkpoint.formats.junit import clean
from sentrio.checkpoint.formats.table import ASCII_MARKS, MARKS, visible
from sentrio.pipeline.result import SiteResult, SiteStatus, shown

#: The formats that go to standard output.
FORMATS = ("table", "json", "ndjson", "junit")

#: The formats of files by their suffix.
SUFFIXES = {".json": "json", ".ndjson": "ndjson", ".xml": "junit"}

# Of the document; within it, fields are only added.
_SCHEMA_VERSION = 1

_KINDS = {
    SiteStatus.SUCCESS: "passed",
    SiteStatus.FAILED: "failed",
    SiteStatus.TIMED_OUT: "error",
    SiteStatus.CANCELLED: "not_evaluated",
}
_COLOURS = {"passed": "32", "failed": "31", "error": "31", "not_evaluated": "33"}
_HEADER = ("site", "status", "attempts", "seconds", "")
_RIGHT = {2, 3}

# A table is for a glance; the whole error and all lines are in the other formats.
_WIDEST_ERROR = 120
_LINES_OF_OUTPUT = 5


def renderer(name: str) -> Callable[..., str]:
    """Return the function that renders a list of results in a format other than ``table``."""
    return {"json": _json, "ndjson": _lines, "junit": _junit}[name]


def _json(results: Sequence[SiteResult], *, exit_code: int) -> str:
    plain = [result.to_dict() for result in results]
    document = {"schema_version": _SCHEMA_VERSION, "exit_code": exit_code, "results": plain}
    # Escaped, since a site may hold half a character, which no encoding can write.
    return json.dumps(document, indent=2, allow_nan=False)


def _lines(results: Sequence[SiteResult], *, exit_code: int) -> str:
    return "\n".join(json.dumps(result.to_dict(), allow_nan=False) for result in results)


def _junit(results: Sequence[SiteResult], *, exit_code: int) -> str:
    """Return one suite with a test case for each site.

    A site that failed is a ``failure``, one whose time was over or that was ended an ``error``, one that never began
    ``skipped``.
    """
    root = ET.Element("testsuites", name="sentrio")
    suite = ET.SubElement(root, "testsuite", name="pipeline")
    seconds = 0.0
    for result in results:
        seconds += result.duration_ms / 1000
        case = ET.SubElement(suite, "testcase", classname="pipeline", name=clean(result.site))
        case.set("time", f"{result.duration_ms / 1000:.3f}")
        tag = {SiteStatus.SUCCESS: None, SiteStatus.FAILED: "failure"}.get(result.status, "error")
        if result.status is SiteStatus.CANCELLED and not result.attempts:
            tag = "skipped"
        if tag is not None:
            ET.SubElement(case, tag, message=clean(result.error or result.status))
        if result.output_tail:
            ET.SubElement(case, "system-out").text = clean(result.output_tail)
    suite.set("tests", str(len(results)))
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", f"{seconds:.3f}")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def render_table(results: Sequence[SiteResult], *, colour: bool = False, ascii_only: bool = False) -> str:
    """Return a table of all sites, then the last lines of those that did not succeed, then the count.

    :param colour: mark outcomes with ANSI colours
    :param ascii_only: for terminals that can not show check marks
    """

    def paint(text: str, kind: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if colour else text

    marks = ASCII_MARKS if ascii_only else MARKS
    rows = [_HEADER, *map(_cells, results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in _RIGHT else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("   ".join(cells).rstrip())
    kinds = [_KINDS[result.status] for result in results]
    table = [f"      {lines[0]}"]
    table += [f"  {paint(marks[kind], kind)}   {line}" for kind, line in zip(kinds, lines[1:], strict=True)]
    blocks = ["\n".join(table)] if results else []
    # What a command wrote explains its own failure, not that of a checkpoint after it.
    blocks += [_output(each) for each in results if each.output_tail and not each.success and each.checkpoint is None]
    bad = any(not result.success for result in results)
    word = paint("FAILED", "failed") if bad else paint("SUCCESS", "passed")
    blocks.append(f"{word}  {verdict(results)}")
    text = "\n\n".join(blocks)
    return text.encode("ascii", "backslashreplace").decode("ascii") if ascii_only else text


def _cells(result: SiteResult) -> tuple[str, ...]:
    error = visible(result.error or "")
    if len(error) > _WIDEST_ERROR:
        error = f"{error[: _WIDEST_ERROR - 3]}..."
    seconds = f"{result.duration_ms / 1000:.1f}" if result.attempts else "-"
    return visible(shown(result.site)), str(result.status), str(result.attempts), seconds, error


def _output(result: SiteResult) -> str:
    name, last = visible(shown(result.site)), result.output_tail.splitlines()[-_LINES_OF_OUTPUT:]
    lines = [f" {name if number == 0 else '':{len(name)}}  | {visible(line)}" for number, line in enumerate(last)]
    if result.log_file is not None:
        lines.append(f" {'':{len(name)}}  all of it is in {visible(result.log_file)}")
    return "\n".join(lines)


def verdict(results: Sequence[SiteResult]) -> str:
    """Return how many sites came to what, in one line."""
    counts = Counter(result.status for result in results)
    total = f"{len(results)} site{'' if len(results) == 1 else 's'}"
    parts = [f"{counts[SiteStatus.SUCCESS]} of {total} succeeded"]
    parts += [f"{counts[each]} {each.replace('_', ' ')}" for each in list(SiteStatus)[1:] if counts[each]]
    return ", ".join(parts)
