"""Triggers and actions in a configuration, and the configurations that the pages about them show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sentrio import ScheduleTrigger, load_config
from sentrio.errors import ConfigurationError

ROOT = Path(__file__).parents[2]

HEAD = """\
checkpoints:
  orders:
    data_source: orders.csv
    validators: [not_null]
    triggers:
"""


def test_triggers_are_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZONE", "Europe/Berlin")
    path = tmp_path / "sentrio.yaml"
    path.write_text(
        f"{HEAD}      - schedule: {{interval_minutes: 15, timezone: '${{ZONE}}', start_at: 2026-01-01}}\n"
    )
    (trigger,) = load_config(path).checkpoints["orders"].triggers
    assert isinstance(trigger, ScheduleTrigger)
    assert str(trigger.config.timezone) == "Europe/Berlin"
    assert str(trigger.config.start_at) == "2025-12-31 23:00:00+00:00"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("shedule: {interval_minutes: 1}", "6:9  checkpoints.orders.triggers[0]: unknown trigger 'shedule'; did you mean 'schedule'?"),
        ("schedule: {interval_minute: 1}", "6:20  checkpoints.orders.triggers[0].schedule: unknown option 'interval_minute'; did you mean 'interval_minutes'?"),
        ("schedule: {interval_minutes: -1}", "6:20  checkpoints.orders.triggers[0].schedule: interval_minutes must be a number of at least 0, got -1"),
        ("schedule", "6:9  checkpoints.orders.triggers[0].schedule: an interval is missing; give it as in interval_minutes=15"),
        ("schedule: {interval_hours: 1, weekdays: [mo]}", "6:39  checkpoints.orders.triggers[0].schedule: weekdays must be names like"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_trigger_is_said_with_its_place(entry: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "sentrio.yaml"
    path.write_text(f"{HEAD}      - {entry}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert f"sentrio.yaml:{problem}" in str(caught.value)


def blocks() -> list[str]:
    pages = (ROOT / "docs" / f"{name}.md" for name in ("actions", "triggers"))
    return [
        text
        for page in pages
        for text in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("text", blocks())
def test_the_configurations_of_the_pages_load(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sentrio.yaml"
    path.write_text(text)
    checkpoint = load_config(path).checkpoints["orders"]
    assert checkpoint.triggers or checkpoint.actions
