from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sentrio
from sentrio.config import parse_entry, parse_mapping
from sentrio.errors import ConfigurationError

HEAD = "checkpoints:\n  orders:\n    data_source: d.csv\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)

    def load(text: str) -> dict[str, sentrio.Checkpoint]:
        (tmp_path / "sentrio.yaml").write_text(text, encoding="utf-8")
        return sentrio.load_config("sentrio.yaml").checkpoints

    return load


def problems(load: object, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(text)  # type: ignore[operator]
    return str(caught.value).splitlines()


def test_the_message_of_a_misspelt_option(load: object) -> None:
    text = (
        "# sentrio.yaml: paths are relative to this file\ncheckpoints:\n  orders:\n"
        "    data_source: data/orders/*.parquet\n    key_columns: [order_id]\n    redact_columns: [email]\n"
        "    timeout_seconds: 300\n    validators:\n      - row_count: {min: 1000}\n"
        "      - not_null: {columns: [order_id, customer_id]}\n      - unique: {column: order_id, severity: critical}\n"
        "      - range: {column: amount, min: 0, mostyl: 0.999, severity: medium}\n"
    )
    expected = (
        "sentrio.yaml:12:41  checkpoints.orders.validators[3].range: unknown option 'mostyl'; did you mean 'mostly'?"
    )
    assert problems(load, text) == [expected]


def test_names_and_options(load: object) -> None:
    text = f"{HEAD}    validators:\n      - null\n      - range:\n      - not_null: {{column: null}}\n      - unique: {{}}\n"
    assert problems(load, text.replace("column: null", "column: [x]"))[0].endswith("column must be text, got ['x']")
    checkpoint = load(text)["orders"]  # type: ignore[operator]
    assert [validator.validator_name for validator in checkpoint.validators] == [
        "not_null",
        "range",
        "not_null",
        "unique",
    ]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("    validators: [nul]", ":4:18  checkpoints.orders.validators[0]: unknown validator 'nul'; did you mean 'null'?"),
        ("    validators: not_null", ":4:17  checkpoints.orders.validators: must be a list, got 'not_null'"),
        ("    validators:\n      - range:\n        min: 0", ":5:9  checkpoints.orders.validators[0]: an entry is a name"),
        ("    validators: [range: 3]", ":4:25  checkpoints.orders.validators[0].range: options must be a mapping, got 3"),
        ("    validators: [range: {min: 5, max: 3}]", ":4:26  checkpoints.orders.validators[0].range: no number lies"),
        ("    validators: [in_set: {column: a}]", ":4:18  checkpoints.orders.validators[0].in_set: option 'values' is missing"),
        ("    validator: [null]", ":4:5  checkpoints.orders: unknown key 'validator'; did you mean 'validators'?"),
        ("    timeout_seconds: -1", ":4:5  checkpoints.orders.timeout_seconds: timeout_seconds must be a number above 0"),
        ("    fail_on: hihg", ":4:5  checkpoints.orders.fail_on: fail_on must be one of critical"),
        ("    fail_fast: yes", ":4:5  checkpoints.orders.fail_fast: fail_fast must be true or false, got 'yes'"),
        ("    actions: [stor]", ":4:15  checkpoints.orders.actions[0]: unknown action 'stor'; did you mean 'store'?"),
        ("    actions: [store: {pth: x}]", ":4:23  checkpoints.orders.actions[0].store: unknown option 'pth'"),
        ("    actions: [store: {path: x, partition_by: week}]", ":4:32  checkpoints.orders.actions[0].store: partition_by"),
        ("    execution_strategy: {concurrent: {max_concurency: 2}}", ":4:39  checkpoints.orders.execution_strategy: unknown option 'max_concurency'"),
        ("    execution_strategy: {pipeline: {stages: [[0, 5]]}}", ":4:37  checkpoints.orders.execution_strategy: stages must list each action"),
        ("    description: ${SENTRIO_UNSET}", ":4:18  checkpoints.orders.description: environment variable 'SENTRIO_UNSET'"),
        ("    validators: [null]\n    validator_config: {nul: {}}", ":5:24  checkpoints.orders.validator_config: no validator"),
        ("  orders: {data_source: e.csv}", ":4:3  checkpoints.orders: the key 'orders' is given twice, first in line 2"),
        ("version: 2", ":4:10  version: this sentrio reads version 1"),
        ("chekpoints: {}", ":4:1  unknown key 'chekpoints'; did you mean 'checkpoints'?"),
        ("defaults: {timeout: 3}", ":4:12  defaults: unknown key 'timeout'; did you mean 'timeout_seconds'?"),
    ],
)  # fmt: skip
def test_problems_name_line_column_and_key(load: object, tail: str, expected: str) -> None:
    (problem,) = problems(load, HEAD + tail + "\n")
    assert problem.startswith(f"sentrio.yaml{expected}"), problem


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("def (:", "SyntaxError: "),
        ("import sys; sys.exit(7)", "SystemExit: 7"),
        ("", "module 'its_actions' has no attribute 'act'"),
    ],
)
def test_a_callback_that_can_not_be_imported(
    load: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, said: str
) -> None:
    monkeypatch.setattr("sys.path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "its_actions", raising=False)
    (tmp_path / "its_actions.py").write_text(module)
    (problem,) = problems(load, HEAD + "    actions: [custom: {callback: 'its_actions:act'}]\n")
    assert problem.startswith(
        f"sentrio.yaml:4:24  checkpoints.orders.actions[0].custom: callback 'its_actions:act' can not be imported ({said}"
    )
    sys.modules.pop("its_actions", None)


def test_a_callback_is_looked_for_beside_the_file(
    load: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", sys.path.copy())
    (tmp_path / "beside_the_file.py").write_text("def act(result): return result.checkpoint_name\n")
    monkeypatch.setitem(sys.modules, "beside_the_file", sys)  # it is forgotten afterwards
    del sys.modules["beside_the_file"]
    text = HEAD + "    validators: [not_null]\n    actions: [custom: {callback: 'beside_the_file:act'}]\n"
    result = load(text)["orders"].run()  # type: ignore[operator]
    assert result.action_results[0].details == {"returned": "orders"}


@pytest.mark.parametrize(
    "entry", ["https://hooks/SECRET", "{'https://hooks/SECRET': {channel: x}}", "{'https://hooks/SECRET': 5}"]
)
def test_a_url_in_the_place_of_an_action_is_not_shown(load: object, entry: str) -> None:
    (problem,) = problems(load, f"{HEAD}    actions:\n      - {entry}\n")
    assert problem.startswith("sentrio.yaml:5:")
    assert "SECRET" not in problem


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{path: d.csv, sep: ';'}", ":3:32  checkpoints.o.data_source: unknown option 'sep'"),
        ("{path: d.csv, schema: {a: intger}}", ":3:41  checkpoints.o.data_source: unknown type 'intger'; did you mean 'integer'?"),
        ("{path: d.csv, separator: ab}", ":3:32  checkpoints.o.data_source: separator must be one ASCII character"),
        ("d.xyz", ":3:18  checkpoints.o.data_source: extension '.xyz' of 'd.xyz' names no format"),
        ("shop.db", ":3:18  checkpoints.o.data_source: extension '.db' of 'shop.db' is that of a database; give `url: sqlite:///shop.db`"),
        ("3", ":3:18  checkpoints.o.data_source: data_source must be a path"),
    ],
)  # fmt: skip
def test_problems_of_a_source(load: object, source: str, expected: str) -> None:
    (problem,) = problems(load, f"checkpoints:\n  o:\n    data_source: {source}\n    validators: [not_null]\n")
    assert problem.startswith(f"sentrio.yaml{expected}"), problem


def test_many_problems_at_once(load: object) -> None:
    text = "checkpoints:\n  a: {data_source: a.csv, validators: [x, y]}\n  b: {validators: [null]}\n  c: 3\n"
    found = problems(load, text)
    assert [problem.split("  ")[0] for problem in found] == [
        f"sentrio.yaml:{place}" for place in ("2:40", "2:43", "3:6", "4:6")
    ]
    assert "`data_source` is missing" in found[2]


def test_defaults_are_replaced_whole(load: object) -> None:
    text = (
        "version: 1\ndefaults:\n  validators: [not_null]\n  tags: [a, b]\n  timeout_seconds: 5\n"
        "checkpoints:\n  one: {data_source: d.csv}\n  two: {data_source: d.csv, validators: [unique], tags: []}\n"
        "pipeline: {command: [fetch], timeout: 3}\n"
    )
    found = load(text)  # type: ignore[operator]
    assert list(found) == ["one", "two"]
    assert [found["one"].validators[0].validator_name, found["one"].tags, found["one"].timeout_seconds] == [
        "not_null",
        ("a", "b"),
        5,
    ]
    assert [found["two"].validators[0].validator_name, found["two"].tags, found["two"].timeout_seconds] == [
        "unique",
        (),
        5,
    ]


def test_documented_style_of_validator_config(load: object) -> None:
    text = f"{HEAD}    validators: [null, range]\n    validator_config:\n      range: {{column: amount, min: 0}}\n"
    checkpoint = load(text)["orders"]  # type: ignore[operator]
    assert checkpoint.validators[1].column == "amount"
    text = text.replace("min: 0", "mim: 0")
    assert problems(load, text)[0].startswith(
        "sentrio.yaml:6:31  checkpoints.orders.validators[1].range: unknown option 'mim'"
    )


def test_variables(load: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRIO_SET", "value: [with] syntax")
    text = f"{HEAD}    description: 'x ${{SENTRIO_SET}} $${{SENTRIO_SET}} $5'\n    actions: [store: {{path: '${{SENTRIO_UNSET}}'}}]\n"
    checkpoint = load(text)["orders"]  # type: ignore[operator]
    assert checkpoint.description == "x value: [with] syntax ${SENTRIO_SET} $5"
    assert "option 'path': environment variable 'SENTRIO_UNSET' is not set" in checkpoint.validate()[1]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("not_null", "not_null"),
        ("null", "null"),
        ("range: {column: age, min: 0}", {"range": {"column": "age", "min": 0}}),
        ("range:", {"range": {}}),
    ],
)
def test_entries_of_the_command_line(text: str, entry: object) -> None:
    assert parse_entry(text, "-V") == entry


def test_bad_entries_of_the_command_line() -> None:
    for text in ("[a]", "range: 3", "a: {}\nb: {}", ""):
        with pytest.raises(ConfigurationError, match="-V"):
            parse_entry(text, "-V")
    with pytest.raises(ConfigurationError, match="name: value"):
        parse_mapping("x", "--source")


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        sentrio.load_config(tmp_path / "no.yaml")
    with pytest.raises(ConfigurationError, match="this is a folder"):
        sentrio.load_config(tmp_path)
    (tmp_path / "a.toml").write_text("[tool]\n")
    with pytest.raises(ConfigurationError, match=r"no table \[tool.sentrio\]"):
        sentrio.load_config(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text("[tool\n")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        sentrio.load_config(tmp_path / "a.toml")
    (tmp_path / "a.yaml").write_text("[1]")
    with pytest.raises(ConfigurationError, match="a configuration is a mapping"):
        sentrio.load_config(tmp_path / "a.yaml")


def test_everything_that_is_wrong_comes_out_at_once(load: object) -> None:
    text = """\
checkpoints:
  orders:
    data_source: {path: d.csv, sep: ';', schema: {a: intger, b: sting, c: date}, encoding: utf-9}
    timeout_seconds: -1
    fail_on: hihg
    execution_strategy: {concurrent: {max_concurency: 2}}
    validators:
      - nul
      - range: {colum: a, mostyl: 1, severity: hgh, min: x, max: 3}
      - in_set: {column: 3, mostyl: 0.5}
      - in_set: {vlaues: [3], mostly: 2}
      - not_null: {mostly: 0.5}
    actions:
      - store: {pth: x, format: jsn, partition_by: week}
    triggers:
      - schedule: {interval_minutes: -1, max_runs: -2}
      - corn: {expression: x}
    split: {valid: a.xyz, faling: b.csv}
  customers:
    fail_on: nothing
    tags: 3
    validators: [unique: {column: [a]}]
  fine: {data_source: d.csv, validators: [null]}
pipeline: {timeout: -1, async_settings: {semaphore_limit: 0, x: 3}, checkpoint: ordrs}
"""
    found = [problem.removeprefix("sentrio.yaml:") for problem in problems(load, text)]
    keys = {
        "3:32": "sep", "3:51": "intger", "3:62": "sting", "3:82": "encoding", "4:5": "timeout_seconds", "5:5": "fail_on",
        "6:39": "max_concurency", "8:9": "nul", "9:17": "colum", "9:27": "mostyl", "9:38": "severity", "9:53": "min",
        "10:9": "values", "10:18": "column", "10:29": "mostyl", "11:18": "vlaues", "11:31": "mostly",
        "14:17": "pth", "14:25": "format", "14:38": "partition_by", "16:20": "interval_minutes", "16:42": "max_runs",
        "17:9": "corn", "18:13": "valid", "18:27": "faling", "19:3": "data_source", "20:5": "fail_on", "21:5": "tags",
        "22:27": "column", "24:12": "timeout", "24:42": "max_concurrent_sites", "24:62": "x", "24:81": "ordrs",
    }  # fmt: skip
    places = [problem.partition("  ")[0] for problem in found]
    assert [place for place in places if place not in {"19:3", "20:5"}] == [
        place for place in keys if place not in {"19:3", "20:5"}
    ]
    for problem, key in zip(found, keys.values(), strict=True):
        assert key in problem


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("data_source: {path: d.xyz, sep: x}\n    fail_on: x", ["path", "sep", "fail_on"]),
        ("data_source: {pth: d.csv, sheet: []}\n    fail_on: x", ["pth", "sheet", "fail_on"]),
        ("data_source: d.csv\n    fail_fast: true\n    split: {valid: a.csv, failing: 3}", ["failing", "fail_fast"]),
        ("data_source: ${SENTRIO_UNSET}\n    fail_on: x", ["SENTRIO_UNSET", "fail_on"]),
        ("data_source: d.csv\n    validators: [{range: {min: 5, max: 3, severity: x}}]", ["severity", "no number"]),
    ],
)
def test_what_is_left_out_is_not_said_to_be_missing(load: object, options: str, expected: list[str]) -> None:
    found = problems(load, f"checkpoints:\n  o:\n    {options}\n")
    assert len(found) == len(expected), found
    text = "\n".join(found)
    assert all(each in text for each in expected), text
