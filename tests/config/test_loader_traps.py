"""The loader against what people and machines write by mistake: never anything but a ConfigurationError."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import sentrio
from sentrio.config import parse_entry, parse_mapping
from sentrio.errors import ConfigurationError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(path: Path | str, text: str | bytes) -> list[str]:
    Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        sentrio.load_config(path)
    return str(caught.value).splitlines()


def test_what_is_wrong_in_defaults_is_said_once_and_there(here: Path) -> None:
    text = (
        "defaults:\n  where: ${SENTRIO_UNSET}\n  fail_on: hihg\n  validators: [nul]\ncheckpoints:\n"
        "  a: {data_source: a.csv}\n  b: {data_source: b.csv}\n"
    )
    assert [line.split("  ")[0] for line in problems("s.yaml", text)] == ["s.yaml:2:10", "s.yaml:3:3", "s.yaml:4:16"]
    found = problems("s.yaml", text.replace("  where: ${SENTRIO_UNSET}\n", "").replace("[nul]", "[null]"))
    assert len(found) == 1
    assert found[0].startswith("s.yaml:2:3  defaults.fail_on: fail_on must be one of")


def test_defaults_may_be_empty(here: Path) -> None:
    Path("s.yaml").write_text("defaults:\n  # nothing yet\ncheckpoints: {a: {data_source: a.csv}}\n")
    assert list(sentrio.load_config("s.yaml").checkpoints) == ["a"]


@pytest.mark.parametrize("text", ["checkpoints:\n", "checkpoints: {}\n", "version: 1\n"])
def test_no_checkpoints_are_an_error(here: Path, text: str) -> None:
    (problem,) = problems("s.yaml", text)
    assert problem.endswith("there are no `checkpoints`")


def test_a_checkpoint_with_nothing_in_it_is_pointed_at(here: Path) -> None:
    (problem,) = problems("s.yaml", "checkpoints:\n  a:\n  b: {data_source: b.csv}\n")
    assert problem == "s.yaml:2:3  checkpoints.a: must be a mapping, got nothing"


def test_options_for_validators_that_are_not_there(here: Path) -> None:
    text = "checkpoints:\n  a:\n    data_source: a.csv\n    validator_config: {range: {min: 1}}\n"
    (problem,) = problems("s.yaml", text)
    assert problem.startswith(
        "s.yaml:4:24  checkpoints.a.validator_config: no validator is given by the name 'range'"
    )


def test_secrets_of_the_environment_stand_in_no_message(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRIO_SECRET", "hunter'2")
    text = (
        "checkpoints:\n  a:\n    data_source: a.csv\n    timeout_seconds: ${SENTRIO_SECRET}\n    validators:\n"
        "      - range: {column: x, min: '${SENTRIO_SECRET}', severity: 'x${SENTRIO_SECRET}'}\n"
    )
    found = problems("s.yaml", text)
    assert "hunter" not in "".join(found)
    assert "${SENTRIO_SECRET}" in "".join(found)
    found = problems("s.yaml", text[: text.index("    validators")])
    assert found == [
        's.yaml:4:5  checkpoints.a.timeout_seconds: timeout_seconds must be a number above 0, got "${SENTRIO_SECRET}"'
    ]


def test_an_alias_means_the_same_as_its_text(here: Path) -> None:
    text = (
        "checkpoints:\n  a: {data_source: a.csv, validators: &v [not_null, range: {min: 1}]}\n"
        "  b: {data_source: b.csv, validators: *v}\n"
    )
    Path("s.yaml").write_text(text)
    checkpoints = sentrio.load_config("s.yaml").checkpoints
    names = [[each.validator_name for each in checkpoint.validators] for checkpoint in checkpoints.values()]
    assert names == [["not_null", "range"]] * 2


def test_the_table_of_pyproject(here: Path) -> None:
    below = here / "src" / "deep"
    below.mkdir(parents=True)
    (here / "pyproject.toml").write_text(
        '[tool.sentrio.checkpoints.a]\ndata_source = "a.csv"\n'
        'validators = ["null", {range = {column = "d", min = 1}}]\nmetadata = {since = 2026-01-02, at = 10:00:00}\n'
    )
    os.chdir(below)
    config = sentrio.load_config()
    assert config.path == here / "pyproject.toml"
    assert dict(config.checkpoints["a"].metadata) == {"since": "2026-01-02", "at": "10:00:00"}
    assert [each.validator_name for each in config.checkpoints["a"].validators] == ["not_null", "range"]
    assert config.checkpoints["a"].base_dir == here

    (below / "pyproject.toml").write_text("tool = 3\n")  # not ours: the search goes on
    assert sentrio.load_config().path == here / "pyproject.toml"
    (here / "src" / "sentrio.yaml").write_text("checkpoints: {b: {data_source: b.csv}}\n")
    assert list(sentrio.load_config().checkpoints) == ["b"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a = 1\n[tool\n", "p.toml:2:6  not valid TOML"),
        (b"a = '\xff'", "p.toml  not UTF-8 text"),
        (b"a = " + b"[" * 50_000, "p.toml  nested too deeply"),
        (b"tool = 3", "p.toml  there is no table [tool.sentrio]"),
        (b"[tool]\nsentrio = 3", "p.toml  a configuration is a mapping"),
        (b"[tool.sentrio]\nchekpoints = 3", "p.toml  unknown key 'chekpoints'; did you mean 'checkpoints'?"),
    ],
)
def test_bad_toml(here: Path, data: bytes, expected: str) -> None:
    assert problems("p.toml", data)[0].startswith(expected)


def test_paths_that_name_no_file(here: Path) -> None:
    (here / "file").touch()
    for path, expected in {
        "no.yaml": "there is no such file",
        "file/x.yaml": "there is no such file",
        "a\0b.yaml": "this names no file",
        "x" * 5000: "it can not be read: File name too long",
    }.items():
        with pytest.raises(ConfigurationError, match=expected):
            sentrio.load_config(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless device")
def test_an_endless_file_is_refused(here: Path) -> None:
    with pytest.raises(ConfigurationError, match="larger than 2 MiB"):
        sentrio.load_config("/dev/zero")


@pytest.mark.endurance
def test_a_file_that_is_wrong_in_every_line_is_answered_soon(here: Path) -> None:
    started = time.process_time()
    found = problems("s.yaml", "".join(f"checkpiont{i}: {i}\n" for i in range(40_000)))
    assert time.process_time() - started < 15
    assert len(found) == 101
    assert found[-1] == "s.yaml  there may be more problems; these are the first"


KNOWN = [
    *("version", "defaults", "checkpoints", "pipeline", "data_source", "validators", "actions", "validator_config"),
    *("where", "timeout_seconds", "fail_on", "tags", "metadata", "execution_strategy", "path", "schema", "format"),
    *("null", "not_null", "range", "in_set", "regex", "unique", "row_count", "mean", "store", "custom", "column"),
    *("columns", "values", "pattern", "min", "max", "mostly", "severity", "separator", "encoding", "null_values"),
    *("callback", "name", "notify_on", "partition_by", "inclusive", "max_failed", "quote_char", "has_header"),
]
names = st.sampled_from(KNOWN) | st.text(max_size=3)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | names
    | st.sampled_from(["a.csv", "(", "${X}", "utf-16", "2026-01-01", "\0"]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(names, children, max_size=4),
    max_leaves=12,
)
entries = st.lists(names | st.dictionaries(names, st.dictionaries(names, values, max_size=3), min_size=1, max_size=1))
bodies = st.fixed_dictionaries(
    {"data_source": st.just("a.csv") | values},
    optional={"validators": entries, "actions": entries, "defaults": values, **dict.fromkeys(KNOWN[7:14], values)},
)


@given(values | st.builds(lambda body, rest: {"checkpoints": {"a": body}, "defaults": rest}, bodies, values))
def test_nothing_but_configuration_errors(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    with contextlib.suppress(ConfigurationError):  # anything else fails the test
        sentrio.load_config(path)


@given(values)
def test_nothing_but_configuration_errors_on_the_command_line(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    for parse in (parse_entry, parse_mapping):
        with contextlib.suppress(ConfigurationError):
            parse(text, "-V")
