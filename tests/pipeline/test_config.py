"""Options, their limits, and the file that holds them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentrio.errors import ConfigurationError, OptionValueError, RunningLoopError, UnknownOptionError
from sentrio.pipeline import AsyncPipelineExecutor, PipelineConfig, UniversalRunner

COMMAND = {"command": ["true"]}


def _generator(site: str) -> Iterator[int]:
    yield 1


async def _async_generator(site: str) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "command is missing: what to run for each site, as in"),
        ({"command": "fetch {site}"}, "must be a list, one item an argument"),
        ({"command": []}, "must be a list of texts"),
        ({"command": ["a", 1]}, "must be a list of texts"),
        (COMMAND | {"timeout": 0}, "timeout must be a number above 0, got 0"),
        (COMMAND | {"timeout": float("nan")}, "timeout must be"),
        (COMMAND | {"timeout": 10**400}, "timeout must be a number above 0, as a float can hold it"),
        ({"command": _generator}, "command must not be a generator function"),
        ({"command": _async_generator}, "command must not be a generator function"),
        (COMMAND | {"retry_count": 0}, "retry_count must be a whole number of at least 1, got 0"),
        (COMMAND | {"max_concurrent_sites": 0}, "max_concurrent_sites must be"),
        (COMMAND | {"retry_backoff": "quadratic"}, "retry_backoff must be one of exponential, linear, fixed"),
        (COMMAND | {"retry_delay_seconds": -1}, "retry_delay_seconds must be"),
        (COMMAND | {"retry_jitter": 1.5}, "retry_jitter must be a share"),
        (COMMAND | {"halt": "soon"}, "halt must be 'never', 'soon,fail=N' or 'now,fail=N'"),
        (COMMAND | {"halt": "never", "error_aggregation": False}, "take one of them away"),
        (COMMAND | {"env": {"A": 1}}, "env must hold texts, and 'A' is none"),
        (COMMAND | {"kill_grace_seconds": float("nan")}, "kill_grace_seconds must be"),
        (COMMAND | {"max_concurrent_sites": 3, "async_settings": {"semaphore_limit": 4}}, "they mean the same"),
        (COMMAND | {"async_settings": 4}, "async_settings must be a mapping"),
    ],
)
def test_values_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionValueError, match=message):
        AsyncPipelineExecutor(options)


def test_unknown_options() -> None:
    with pytest.raises(UnknownOptionError, match="'max_concurent_sites'; did you mean 'max_concurrent_sites'"):
        AsyncPipelineExecutor({**COMMAND, "max_concurent_sites": 3})
    with pytest.raises(UnknownOptionError, match="did you mean 'semaphore_limit'"):
        PipelineConfig.from_dict({**COMMAND, "async_settings": {"semaphor_limit": 3}})


def test_async_settings_are_options() -> None:
    settings = {
        "semaphore_limit": 7,
        "retry_backoff": "linear",
        "progress_reporting": False,
        "error_aggregation": False,
    }
    config = PipelineConfig.from_dict({"pipeline": {**COMMAND, "async_settings": settings}})
    assert config == PipelineConfig(
        command=["true"], max_concurrent_sites=7, retry_backoff="linear", progress_reporting=False,
        error_aggregation=False,
    )  # fmt: skip
    PipelineConfig.from_dict({**COMMAND, "max_concurrent_sites": 7, "async_settings": {"semaphore_limit": 7}})


@pytest.mark.parametrize(("kind", "waits"), [("exponential", [2, 4, 8]), ("linear", [2, 4, 6]), ("fixed", [2, 2, 2])])
def test_backoff(kind: str, waits: list[float]) -> None:
    config = PipelineConfig(command=["true"], retry_backoff=kind, retry_delay_seconds=2)
    assert [config.delay(attempt) for attempt in (1, 2, 3)] == waits
    jittered = PipelineConfig(command=["true"], retry_backoff="fixed", retry_delay_seconds=2, retry_jitter=0.5)
    found = [jittered.delay(1) for _ in range(100)]
    assert 1 <= min(found) < 1.8
    assert 2.2 < max(found) <= 3


def test_secrets_do_not_show() -> None:
    config = PipelineConfig(command=["fetch", "--token", "hunter2"], env={"TOKEN": "hunter3"})
    assert "hunter" not in repr(config)
    with pytest.raises(OptionValueError) as caught:
        PipelineConfig(command="fetch --token hunter2")
    assert "hunter" not in str(caught.value)


FILE = """\
checkpoints: {anything: {goes: here}}
pipeline:
  command: [sh, -c, 'test "$1" != bad', -, "{site}"]
  timeout: 3600
  retry_count: 1
  max_concurrent_sites: 5
  use_async: true
  job_log: out/jobs
  env: {FLAG: no, TOKEN: "${SECRET}", LITERAL: "$${SECRET}"}
  async_settings:
    semaphore_limit: 5
    retry_backoff: exponential
    progress_reporting: true
    error_aggregation: true
"""


def test_universal_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    (tmp_path / "config.yaml").write_text(FILE)
    runner = UniversalRunner(tmp_path / "config.yaml")
    assert runner.config.env == {"FLAG": "no", "TOKEN": "x", "LITERAL": "${SECRET}"}
    assert runner.config.job_log == tmp_path / "out/jobs"
    expected = {"good": True, "bad": False}
    for answer in (
        runner.run_pipeline(expected),
        runner.run_pipeline(expected, use_async=True),
        runner.run_pipeline(expected, use_async=False),
        runner.run_pipeline_sync(expected),
    ):
        assert answer == expected


async def test_universal_runner_in_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    (tmp_path / "config.yaml").write_text(FILE)
    runner = UniversalRunner(tmp_path / "config.yaml")
    assert await runner.run_pipeline_async(["good"]) == {"good": True}
    for use_async, name in ((True, "run_pipeline_async"), (False, "run_all_async")):
        with pytest.raises(RunningLoopError, match=name):
            runner.run_pipeline(["good"], use_async=use_async)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipeline: {command: [x], timeot: 3}", r"1:26  pipeline: unknown option 'timeot'; did you mean 'timeout'"),
        ("pipeline: {command: [x], timeout: 0}", r"1:26  pipeline: timeout must be"),
        ("pipeline: {command: [x], async_settings: {semaphore_limit: 0}}", r"1:\d+  pipeline: max_concurrent_sites"),
        (
            "pipeline:\n  command: [x]\n  command: [y]",
            r"3:3  pipeline.command: the key 'command' is given twice, first in line 2",
        ),
        ("pipeline: {command: [x], cls: 3}", r"1:26  pipeline: unknown option 'cls'"),
        (
            "pipeline: {command: [x], env: {A: '${NOT_SET_AT_ALL}'}}",
            r"1:35  pipeline.env: .*'NOT_SET_AT_ALL' is not set",
        ),
        ("pipeline:", r"1:1  pipeline: must be a mapping, got nothing"),
        ("pipeline: [x]", r"1:11  pipeline: must be a mapping, got a list"),
        ("checkpoints: {}", r"`pipeline` is missing"),
        ("- a", r"`pipeline` is missing"),
        ("", r"`pipeline` is missing"),
        ("pipeline: {", r"not valid YAML"),
    ],
)
def test_faults_of_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        UniversalRunner(tmp_path / "config.yaml")


def test_other_sections_may_hold_what_they_like(tmp_path: Path) -> None:
    others = "base: &b {a: 1}\nother: {<<: *b, x: !thing 1, x: 2}\n"
    (tmp_path / "config.yaml").write_text(f"{others}pipeline: {{command: [x]}}\n")
    assert UniversalRunner(tmp_path / "config.yaml").config.command == ("x",)
    (tmp_path / "config.yaml").write_text(f"{others}pipeline: {{command: [x], cwd: !thing y}}\n")
    with pytest.raises(ConfigurationError, match="3:31  pipeline.cwd: the tag '!thing' is not supported"):
        UniversalRunner(tmp_path / "config.yaml")


def test_what_a_variable_holds_is_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "config.yaml").write_text("pipeline: {command: [x], halt: '${SECRET}'}")
    with pytest.raises(ConfigurationError) as caught:
        UniversalRunner(tmp_path / "config.yaml")
    assert "hunter2" not in str(caught.value)
    assert "halt must be" in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        UniversalRunner(tmp_path / "config.yaml")
