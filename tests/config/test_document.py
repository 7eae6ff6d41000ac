"""YAML as its 1.2 core schema has it, and every trap an error with a position."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sentrio._yaml.document import parse
from sentrio._yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode, to_plain
from sentrio.errors import ConfigurationError, Problem


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
        ("9" * 400, int("9" * 400)), ("007", 7), ("1e5", 100000.0), ("0x", "0x"), ("0o8", "0o8"), ("-0x1", "-0x1"),
        ("#x", None), ("a#b", "a#b"), ('"\\ud83d\\ude00"', "😀"), ("!!str 12", "12"), ("! 12", "12"), ("!!int 12", 12),
        ("!!float 1", 1), ("!!bool true", True), ("!!null ~", None), ("!!map {}", {}), ("!!seq []", []),
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
        ("\ufeff", "f  the file is empty"),
        ("a: 1\na: 2", "f:2:1  a: the key 'a' is given twice, first in line 1"),
        ("a: {b: 1, 'b': 2}", "f:1:11  a.b: the key 'b' is given twice, first in line 1"),
        ("a:\n  -\n  - b", "f:2:4  a[0]: the item is empty"),
        ("a: [&x , 1]", "f:1:5  a[0]: the item is empty"),
        ("? [x, y]\n: 1", "f:1:3  a key must be text"),
        ("{x: 1}: 1", "f:1:1  a key must be text"),
        ("a:\n  ?\n  : 1", "f:2:4  a: a key is missing before the colon"),
        ("a: 1\n---\nb: 2", "f:2:1  a second document begins here"),
        ("a: 1\n---\n", "f:2:1  a second document begins here"),
        ("%YAML 1.1\n---\na: 1", "f:1:1  the file is read as YAML 1.2"),
        ("a: &x [1, *x]", "f:1:11  a[1]: the alias *x refers to what contains it"),
        ("a: &x {b: {c: *x}}", "f:1:15  a.b.c: the alias *x refers to what contains it"),
        ("x: &x 1\na: &x [*x]", "f:2:8  a[0]: the alias *x refers to what contains it"),
        ("b: &nobody 1\na: *nobdy", "f:2:4  a: no &nobdy stands above; did you mean 'nobody'?"),
        ("a: *.csv", "f:1:5  not valid YAML: while scanning an alias"),
        ("a: *.csv", "text that begins with * must stand in quotes"),
        ("a: !!python/object/apply:os.system [ls]", "f:1:4  a: the tag '!!python/object/apply:os.system' is not"),
        ("a: !secret x", "f:1:4  a: the tag '!secret' is not supported"),
        ("!k a: x", "f:1:1  the tag '!k' is not supported"),
        ("a: !!binary aGk=", "f:1:4  a: the tag '!!binary' is not supported"),
        ("a: !!int x", "f:1:4  a: the tag '!!int' does not fit 'x'"),
        ("a: !!int true", "f:1:4  a: the tag '!!int' does not fit 'true'"),
        ("a: !!int [1]", "f:1:4  a: the tag '!!int' is not supported"),
        ("base: &b {x: 1}\nc:\n  <<: *b", "f:3:3  c.<<: merge keys are not part of YAML 1.2"),
        ("a: 1e400", "f:1:4  a: the number is too large"),
        ("a: " + "9" * 401, "f:1:4  a: the number is too large"),
        ("a: {b: [1,\n", "f:1:8  not valid YAML: the bracket that opens here is not closed"),
        ("a:\n  : 1", "f:2:3  not valid YAML"),
        ("a: 'x\nb: 1\n", "f:1:4  not valid YAML: while scanning a quoted scalar"),
        ("a: 'x\nb: 1\n", "the quote is never closed"),
        ("a:\n\t- b", "f:2:1  not valid YAML: while scanning for the next token; found character '\\t'"),
        ("a:\n\t- b", "a tab can not indent or separate; use spaces"),
        ("a: @b", "f:1:4  not valid YAML"),
        ("a: @b", "text that begins with @ must stand in quotes"),
        ("a: b: c", "f:1:5  not valid YAML"),
        ("a: b: c", "text that contains ': ' must stand in quotes"),
        ("a:\n  - 1\n b: 2", "f:3:2  not valid YAML"),
        ("a:\n  - 1\n b: 2", "check the indentation"),
        ('a: "\\d+"', "f:1:6  not valid YAML: while scanning a double-quoted scalar; found unknown escape character"),
        ('a: "\\d+"', "a backslash is written twice"),
        ('a: "\\UFFFFFFFF"', "not valid YAML: there is no such character or number"),
        (f"%YAML 1.{'9' * 5000}\n---\na: 1", "not valid YAML"),
        ('a: "x\\ud83d"', "f:1:4  a: the text has half a character"),
        ("a: \x00", "f:1:4  the character U+0000 must not stand in YAML"),
        ("a: 1\r\nb: x\x1b[31m", "f:2:5  the character U+001B must not stand in YAML; in double quotes write \\x1b"),
        ("a: 1\rb: x\x85", "f:2:5  the character U+0085 must not"),
        ("a: 'x\u2028y'", "f:1:6  the character U+2028 must not"),
        ("a: 1\n\ufeffb: 2", "f:2:1  the character U+FEFF must not"),
        ("a: \ud800", "f:1:4  the character U+D800 must not"),
        ("[" * 5000, "f:1:101  nested deeper than 100 levels"),
        ("- " * 5000, "f:1:201  nested deeper than 100 levels"),
        ("x" * (3 * 2**20), "f  the file is larger than 2 MiB"),
    ],
)
def test_traps(text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: caf\xe9", "f:2:7  byte 0xe9 is not UTF-8 text"),
        (b"\xef\xbb\xbfa: \xff", "f:1:4  byte 0xff is not UTF-8 text"),
        ("a: 1".encode("utf-16"), "f:1:1  the file is UTF-16 text; save it as UTF-8"),
        (b"PAR1\x15\x00\x15", "f:1:5  the character U+0015 must not stand in YAML"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(data, "f")
    assert str(caught.value).startswith(expected)


def test_a_byte_order_mark_at_the_start_is_fine() -> None:
    assert to_plain(parse(b"\xef\xbb\xbfa: 1\r\nb: 2", "f")) == {"a": 1, "b": 2}


def test_keys_are_text_as_written() -> None:
    text = "null: a\ntrue: b\n1: c\n2026-01-01: d\n'': e\n! x: f\n? long\n: g"
    expected = {"null": "a", "true": "b", "1": "c", "2026-01-01": "d", "": "e", "x": "f", "long": "g"}
    assert to_plain(parse(text, "f")) == expected


def test_paths_can_not_disturb_a_terminal() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse('"\\e[31m": [!x y]\n? "' + "k" * 5000 + '"\n: [!x y]\n', "f")
    assert str(caught.value).isprintable() or "\x1b" not in str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) < 200


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
    return "\n".join(lines)


@pytest.mark.endurance
@pytest.mark.parametrize(
    "text",
    [
        bomb(),
        "- a\n" * 500_000,
        "&a a: " * 100,
        "? " * 100_000,
        "[[],[],[],[]," * 30 + "*a," * 30_000,
        "- &a a\n" * 30_000,
        "- *a\n" * 30_000,
        "a: 1\n" * 50_000,
        "- {a: 1, a: 1}\n" * 15_000,
        "{" * 1_000_000,
        "!" * 1_000_000,
        "&" + "a" * 1_000_000,
        "'" + "\n" * 1_000_000,
        "#" * 2_000_000,
        "a" + " " * 2_000_000,
        "x: |\n" + " a\n" * 300_000,
    ],
    ids=range(16),
)
def test_hostile_files_are_answered_soon(text: str) -> None:
    # Processor time, since other tests may run beside this one; the slowest takes about 3 s here.
    started = time.process_time()
    with contextlib.suppress(ConfigurationError):
        parse(text, "f")
    assert time.process_time() - started < 20


def test_an_alias_bomb_is_found_where_it_grows_too_big() -> None:
    with pytest.raises(ConfigurationError, match=r"^f:5:45  a4\[7\]: more than 100,000 values"):
        parse(bomb(), "f")


def test_aliases_are_fine_in_moderation() -> None:
    assert to_plain(parse("a: &x [1, 2]\nb: *x", "f")) == {"a": [1, 2], "b": [1, 2]}


def test_all_problems_in_the_order_of_the_file() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("a:\n  -\nb: !x 1\na: 2", "f")
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [(2, "a[0]"), (3, "b"), (4, "a")]


def test_what_was_found_before_a_syntax_error_is_reported_too() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("a: 1\na: 2\nb: [", "f")
    assert [problem.line for problem in caught.value.problems] == [2, 3]


PIECES = [
    *"abn01 \n\t:-,[]{}&*!|>'\"%@`#?~.$\\ü\u2028\x85\x00\ufeff😀",
    *("- ", ": ", "? ", "\n  ", "\n- ", "&a ", "*a", "!!int ", "<<: ", "---\n", "...\n", "%YAML 1.", "%TAG ! "),
    *("null", "|2-\n", "\\u"),
]


@given(st.text() | st.binary() | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_nothing_but_configuration_errors(text: str | bytes) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        to_plain(parse(text, "f"))
    except ConfigurationError as exc:
        problems = exc.problems
    assert all(problem.file == "f" for problem in problems)
    assert all((problem.line or 1) <= len(text.splitlines()) + 1 for problem in problems)


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


class Quoting(yaml.SafeDumper):
    """Quotes each text: YAML 1.1, which PyYAML writes, takes 0E0 for text, and 1.2 for a number."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'"))


@given(plain, st.sampled_from([None, True, False]))
def test_yaml_is_read_as_it_was_written(value: Any, flow: bool | None) -> None:
    text = yaml.dump({"root": value}, Dumper=Quoting, default_flow_style=flow, allow_unicode=True, width=10**9)
    assert _shape(to_plain(parse(text, "f"))["root"]) == _shape(value)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"])), st.sampled_from(["'", '"', "|"]))
def test_text_comes_back_from_every_style(text: str, style: str) -> None:
    written = yaml.safe_dump({"root": [text]}, default_style=style, allow_unicode=True)
    assert to_plain(parse(written, "f")) == {"root": [text]}


def _shape(value: Any) -> Any:
    """A value that differs where only types do."""
    if isinstance(value, dict):
        return {key: _shape(child) for key, child in value.items()}
    return [_shape(child) for child in value] if isinstance(value, list) else (type(value).__name__, value)


@given(plain)
def test_positions_are_where_the_text_stands(value: Any) -> None:
    text = yaml.safe_dump({"root": value}, allow_unicode=True, width=10**9)
    lines = text.split("\n")

    def check(node: Node) -> None:
        assert node.line is not None
        assert node.column is not None
        assert len(lines[node.line - 1]) >= node.column - 1
        if isinstance(node, MappingNode):
            for key, child in node.items:
                assert key.line is not None
                assert key.column is not None
                assert lines[key.line - 1][key.column - 1 :].lstrip("? '\"").startswith(key.text[:1])
                check(child)
        elif isinstance(node, SequenceNode):
            for child in node.items:
                check(child)
        elif isinstance(node, ScalarNode) and node.plain:
            assert lines[node.line - 1][node.column - 1 :].startswith(node.text)

    check(parse(text, "f"))
