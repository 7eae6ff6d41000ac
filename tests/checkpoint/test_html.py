"""The page for people: complete, harmless whatever the data hold, and readable by everybody."""

from __future__ import annotations

import colorsys
import datetime as dt
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sentrio
from sentrio.checkpoint.formats.html import render
from sentrio.checkpoint.result import ActionResult, CheckpointResult, CheckpointStatus
from sentrio.validation.report import CheckOutcome, CheckResult, SampleRow, Severity, ValidationReport

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """A page as a browser sees it, as far as the standard library can tell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(*results: CheckpointResult) -> Page:
    return Page(render(results, exit_code=0))


def result_with(text: str, *, name: str = "x") -> CheckpointResult:
    """A result whose every text is the one given."""
    checks = [
        CheckResult(
            id=f"{text}-{outcome}", name=text, column=text, outcome=outcome, severity=severity, failed_count=failed,
            evaluated_count=9, failed_ratio=failed / 9, observed=text, expected=text, message=text,
            description=text or None, dimension=text or None,
            sample=(SampleRow(3, {"key": text, text: text}),) if failed else (),
        )
        for outcome, failed in ((CheckOutcome.FAILED, 3), (CheckOutcome.ERROR, 0), (CheckOutcome.PASSED, 0))
        for severity in (Severity.HIGH, Severity.LOW)
    ]  # fmt: skip
    actions = tuple(
        ActionResult(action_name=text, action_type=text, status=status, message=text, error=text)
        for status in ("success", "error")
    )
    return CheckpointResult(
        run_id=text, checkpoint_name=text, run_time=dt.datetime(2026, 11, 20, tzinfo=dt.UTC), data_asset=text,
        status=CheckpointStatus.ERROR, report=ValidationReport(checks=tuple(checks), complete=True), error=text,
        action_results=actions, params={text: text, name: [text]}, metadata={"owner": text},
    )  # fmt: skip


HOSTILE = "\"'><script>alert(1)</script><img src=http://x onerror=alert(1)><!--]]>&lt;\x00\x1b[31m\u202e\ud800\n"


@given(text=st.text(st.characters(), min_size=1, max_size=12))
@example(text=HOSTILE)
@example(text="</style></title></table></details>")
@example(text="{0} {name} %s \\")
def test_no_text_ever_becomes_markup(text: str) -> None:
    plain, hostile = page(result_with("plain")), page(result_with(text))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(each) for _, each in hostile.tags] == [sorted(each) for _, each in plain.tags]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", hostile.text)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    text = render([result_with(HOSTILE), result_with("http://example.org/a.css")], exit_code=1)
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base", "svg"} & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name in {"src", "srcset", "action"}]
        assert tag != "a" or re.fullmatch(r"#run-\d+", attributes["href"] or "")
        assert not re.search(r"url|expression|import", attributes.get("style") or "")
    style = files("sentrio.checkpoint.formats").joinpath("report.css").read_text()
    assert not re.search(r"url\(|@import|//", style)
    policy = [each["content"] for _, each in found.tags if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def penguins() -> CheckpointResult:
    frame = pl.DataFrame(
        {"id": range(200), "n": [None if i % 50 == 0 else i for i in range(200)], "t": ["a", "<b>"] * 100}
    )
    return sentrio.check(
        frame,
        [
            {"range": {"column": "id", "min": 0}},
            {"range": {"column": "n", "max": 2, "severity": "low", "name": "n is small"}},
            {"not_null": {"column": "n", "description": "Every n counts."}},
            {"in_set": {"column": "t", "values": ["a"], "severity": "critical"}},
            {"mean": {"column": "n", "min": 1000}},
            {"range": {"column": "m"}},
        ],
        name="birds",
        key_columns=["id"],
        actions=[len],
    )  # fmt: skip


def test_what_did_not_pass_comes_first_and_worst_first() -> None:
    found = page(penguins())
    pairs = re.findall(r"<h4>(\w+) <code>(\w+)", render([penguins()], exit_code=0))
    assert [" ".join(pair) for pair in pairs] == ["in_set t", "not_null n", "mean n", "range m", "range n"]
    text = found.text.partition("Data quality report")[2]
    order = ["ERROR", "birds", "Did not pass (5)", "100 of 200 rows failed (50 %)", "Every n counts.", "4 of 200 rows failed (2 %)",
             "no column 'm'", "n is small", "Passed (1)", "Actions"]  # fmt: skip
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    assert "TypeError" in text  # what the action said
    bars = [each["style"] for _, each in found.tags if each.get("style")]
    assert bars == ["width:50%", "width:2%", "width:98.9796%"]


def test_samples_show_keys_and_offending_values_and_redactions() -> None:
    text = page(penguins()).text
    assert "Failing rows, counted from 0 row id n 0 0 null 50 50 null 100 100 null 150 150 null" in text
    assert 'The first 5 failing rows, counted from 0 row id t 1 1 "<b>"' in text
    frame = pl.DataFrame({"id": ["k1"], "mail": ["secret@example.org"]})
    hidden = sentrio.check(frame, [{"regex": {"column": "mail", "pattern": "^x"}}], redact_columns=["mail"])
    assert "secret" not in render([hidden], exit_code=1)
    none = sentrio.check(frame, [{"regex": {"column": "mail", "pattern": "^x"}}], sample_failures=0)
    assert "secret" not in render([none], exit_code=1)


def test_many_results_have_a_list_of_contents_and_unique_ids() -> None:
    frame = pl.DataFrame({"a": [1, None]})
    results = [
        sentrio.check(frame, [{"not_null": {"mostly": 0.1}}], name="fine"),
        sentrio.check(frame, ["not_null"], name="bad"),
        sentrio.check("nowhere.csv", ["not_null"], name="gone"),
        sentrio.check(frame, [{"not_null": {"severity": "low"}}], name="bad"),
    ]
    found = page(*results)
    targets = [each["href"] for tag, each in found.tags if tag == "a"]
    ids = [each["id"] for _, each in found.tags if "id" in each]
    assert targets == ["#run-1", "#run-2", "#run-3", "#run-0"]
    assert [f"#{each}" for each in ids] == targets
    assert "2 of 4 checkpoints passed" in found.text
    assert found.text.startswith("failure: bad, gone, bad, fine")
    assert "nowhere.csv: there is no such file" in found.text
    assert page().text.startswith("nothing ran")


def test_everybody_can_read_it() -> None:
    found = page(penguins())
    assert ("html", {"lang": "en"}) in found.tags
    viewport = next(each["content"] for _, each in found.tags if each.get("name") == "viewport")
    assert viewport == "width=device-width, initial-scale=1"
    heads = [each for tag, each in found.tags if tag == "th"]
    assert heads
    assert all(each.get("scope") in {"row", "col"} for each in heads)
    scrolling = [each for _, each in found.tags if each.get("class") == "scroll"]
    assert scrolling
    # What scrolls can be reached with a keyboard, and says what it is.
    assert all(each.get("tabindex") == "0" and each.get("role") and each.get("aria-label") for each in scrolling)
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    counted = Counter(tag for tag, _ in found.tags)
    assert (counted["main"], counted["h1"]) == (1, 1)


def luminance(colour: str) -> float:
    """Relative luminance after WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def schemes() -> Iterator[dict[str, str]]:
    style = files("sentrio.checkpoint.formats").joinpath("report.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    for block in (light, dark):
        yield dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


@pytest.mark.parametrize("colours", [*schemes()], ids=["light", "dark"])
def test_contrast(colours: dict[str, str]) -> None:
    assert len(colours) == 14
    for ink, papers in {
        "text": ["page", "card"],
        "muted": ["page", "card"],
        **{kind: ["card", f"{kind}-tint"] for kind in ("passed", "failed", "warned", "error")},
    }.items():
        for paper in papers:
            dark, light = sorted((luminance(colours[ink]), luminance(colours[paper])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)
    tints = [colours[f"{kind}-tint"] for kind in ("passed", "failed", "warned", "error")]
    for tint in tints:  # the verdict's own text stands on them
        dark, light = sorted((luminance(colours["text"]), luminance(tint)))
        assert (light + 0.05) / (dark + 0.05) >= 7
    hues = [colorsys.rgb_to_hsv(*(int(tint[i : i + 2], 16) for i in (1, 3, 5)))[0] for tint in tints]
    assert len({round(hue, 1) for hue in hues}) == 4


def test_paper_shows_what_is_folded_and_breaks_between_checks() -> None:
    style = files("sentrio.checkpoint.formats").joinpath("report.css").read_text()
    paper = style.partition("@media print {")[2]
    assert "details::details-content { content-visibility: visible" in paper
    (whole,) = re.findall(r"([^{}]*)\{ break-inside: avoid \}", paper)
    # A run is longer than a page: kept together, it would begin on the second one.
    assert {name.strip() for name in whole.split(",")} == {".check", "tr"}


def test_shares_never_round_to_nothing_or_all() -> None:
    check = CheckResult(id="a", name="a", column="a", outcome=CheckOutcome.FAILED, severity=Severity.HIGH)
    check = attrs.evolve(check, failed_count=1, evaluated_count=10**9, failed_ratio=1e-9)
    result = attrs.evolve(result_with("x"), report=ValidationReport(checks=(check,), complete=True))
    text = render([result], exit_code=1)
    assert "1 of 1,000,000,000 rows failed (0.0000001 %)" in text
    assert re.search(r"width:0(\.\d+)?%", text)


def test_store_keeps_pages_beside_documents(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, None]})
    actions: list[Any] = [{"store": {"path": str(tmp_path)}}, {"store": {"path": str(tmp_path), "format": "html"}}]
    result = sentrio.check(frame, ["not_null"], actions=actions)
    stored = {path.suffix: path for path in tmp_path.iterdir()}
    assert set(stored) == {".json", ".html"}
    assert "1 of 2 rows failed (50 %)" in Page(stored[".html"].read_text(encoding="utf-8")).text
    assert [each.run_id for each in sentrio.load_results(tmp_path)] == [result.run_id]
    again = sentrio.check(frame, [{"not_null": {"name": "\ud800"}}], actions=actions[1:])
    assert again.action_results[0].status == "success"
