"""YAML as its 1.2 core schema has it, and every trap an error with a position."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentrio.config.document import MappingNode, ScalarNode, parse, to_plain
from sentrio.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("N", "N"),
        ("true", True), ("True", True), ("FALSE", False), ("tRue", "tRue"), ("'true'", "true"),
        ("null", None), ("~", None), ("Null", None), ("NULL", None), ("nULL", "nULL"), ("'null'", "null"), ('""', ""),
        ("12", 12), ("-12", -12), ("+12", 12), ("0o14", 12), ("0x1F", 31), ("014", 14), ("1_000", "1_000"),
        ("1:30", "1:30"), ("12:30:45", "12:30:45"), ("190:20:30", "190:20:30"),
        ("1.5", 1.5), ("1e3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-.inf", -math.inf), (".inf", math.inf), ("1.5.6", "1.5.6"),
        ("2026-11-20", "2026-11-20"), ("2026-11-20 10:00:00", "2026-11-20 10:00:00"), ("=", "="), ("0b11", "0b11"),
        ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_what_a_scalar_means(text: str, value: Any) -> None:
    assert to_plain(parse(f"a: {text}", "f")) == {"a": value}
    assert type(to_plain(parse(f"a: {text}", "f"))["a"]) is type(value)


def test_nan() -> None:
    assert math.isnan(to_plain(parse("a: .nan", "f"))["a"])


def test_positions_and_raw_text() -> None:
    root = parse("a:\n  - null\n  - 'x y'\n", "f")
    assert isinstance(root, MappingNode)
    first, second = root.get("a").items  # type: ignore[union-attr]
    assert isinstance(first, ScalarNode)
    assert (first.text, first.value, first.plain, first.line, first.column) == ("null", None, True, 2, 5)
    assert (second.text, second.plain, second.line, second.column) == ("x y", False, 3, 5)
    assert root.key("a") is not None
    assert root.get("b") is root.key("b") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f  the file is empty"),
        ("# only a comment", "f  the file is empty"),
        ("a: 1\na: 2", "f:2:1  a: the key 'a' is given twice, first in line 1"),
        ("a: [1,\n", "f:2:1  not valid YAML"),
        ("a:\n\t- b", "f:2:1  not valid YAML"),
        ("a: b: c", "f:1:5  not valid YAML"),
        ("a:\n  -\n  - b", "f:2:4  a[0]: the item is empty"),
        ("a: 1\n---\nb: 2", "f:3:1  a second document begins here"),
        ("? [x, y]\n: 1", "f:1:3  a key must be text"),
        ("a: &x [1, *x]", "an alias refers to what contains it"),
        ("a: *nobody", "f:1:4  not valid YAML: found undefined alias"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "f:1:4  a: tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("a: !secret x", "f:1:4  a: tag '!secret' is not supported"),
        ("base: &b {x: 1}\nc:\n  <<: *b", "f:3:3  c.<<: merge keys are not part of YAML 1.2"),
        ("a: \x00", "not valid YAML"),
        ("[" * 5000, "f  nested too deeply"),
        ("x" * (3 * 2**20), "f  the file is larger than 2 MiB"),
    ],
)
def test_traps(text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f")
    assert expected in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ConfigurationError, match="f "):
        parse(b"a: \xff\xfe", "f")


def test_alias_bomb() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    started = time.monotonic()
    with pytest.raises(ConfigurationError, match="aliases expand to more than 100,000 values"):
        parse("\n".join(lines), "f")
    assert time.monotonic() - started < 20


def test_aliases_are_fine_in_moderation() -> None:
    assert to_plain(parse("a: &x [1, 2]\nb: *x", "f")) == {"a": [1, 2], "b": [1, 2]}


def test_all_problems_in_the_order_of_the_file() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("a:\n  -\nb: !x 1\na: 2", "f")
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [(2, "a[0]"), (3, "b"), (4, "a")]


@given(st.text() | st.binary())
def test_nothing_but_configuration_errors(text: str | bytes) -> None:
    with contextlib.suppress(ConfigurationError):  # anything else fails the test
        parse(text, "f")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    lambda children: st.lists(children) | st.dictionaries(st.text("abc-"), children),
    max_leaves=10,
)


@given(plain)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert to_plain(parse(json.dumps({"root": value}, ensure_ascii=False), "f"))["root"] == value
