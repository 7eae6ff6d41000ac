"""Results as JUnit XML: a suite for each checkpoint, a test case for each check.

A failed check that only warns is ``skipped`` with its message, since JUnit knows no warnings; a check that could
not be evaluated is an ``error``.
"""

from __future__ import annotations

__all__ = ("clean", "render")

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from sentrio.checkpoint.formats.table import explained, kind_of, sample_lines
from sentrio.checkpoint.result import CheckpointResult, CheckpointStatus
from sentrio.validation.report import CheckResult

# XML 1.0 has no way at all to write these characters.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_TAGS = {"failed": "failure", "error": "error", "warned": "skipped", "not_evaluated": "skipped"}


def clean(text: object) -> str:
    """Return text without the characters that XML can not write."""
    return _FORBIDDEN.sub("�", str(text))


def render(results: Sequence[CheckpointResult], *, exit_code: int) -> str:
    """Return one document for all results."""
    root = ET.Element("testsuites", name="sentrio")
    for result in results:
        root.append(_suite(result))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _suite(result: CheckpointResult) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=clean(result.checkpoint_name),
        timestamp=result.run_time.isoformat(),
        time=f"{result.duration_ms / 1000:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (("run_id", result.run_id), ("data_asset", result.data_asset), ("status", result.status)):
        ET.SubElement(properties, "property", name=name, value=clean(value))
    for check in result.report.checks:
        suite.append(_case(result, check))
    broken = result.error is not None and result.status is CheckpointStatus.ERROR
    if broken or not result.report.checks:
        case = ET.SubElement(suite, "testcase", classname=clean(result.checkpoint_name), name="run")
        ET.SubElement(case, "error", message=clean(result.error or "no check was evaluated"))
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    return suite


def _case(result: CheckpointResult, check: CheckResult) -> ET.Element:
    place = ".".join(filter(None, (result.checkpoint_name, check.column)))
    case = ET.Element("testcase", classname=clean(place), name=clean(check.id))
    tag = _TAGS.get(kind_of(result, check))
    if tag is not None:
        detail = ET.SubElement(case, tag, message=clean(explained(check)))
        detail.text = clean("\n".join(sample_lines(check))) or None
    return case
