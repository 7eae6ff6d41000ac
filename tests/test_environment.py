from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentrio._environment import Environment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("${A}", "1"),
        ("x${A}y${B_2}z", "x1ytwo: [2]z"),
        ("$A", "$A"),
        ("^a$", "^a$"),
        ("^a$$", "^a$$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$1"),
        ("$$$${A}", "$${A}"),
        ("$${1}", "${1}"),
        ("{A}", "{A}"),
        ("${EMPTY}", ""),
        ("${NESTED}", "${A}"),  # what a variable holds is never looked into
    ],
)
def test_what_is_filled_in(text: str, expected: str) -> None:
    environment = Environment({"A": "1", "B_2": "two: [2]", "EMPTY": "", "NESTED": "${A}"})
    assert environment.fill(text) == (expected, [])


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${A", "${A:-default}", "${a b}", "${ä}", "$$${"])
def test_what_begins_like_a_variable_is_not_passed_over(text: str) -> None:
    (problem,) = Environment({"A": "1"}).fill(text)[1]
    assert problem == "`${` begins the name of a variable, as in ${NAME}; for the text write `$${`"


def test_each_unset_variable_is_named() -> None:
    _, problems = Environment({}).fill("${ONE} ${TWO}")
    assert problems == [
        "environment variable 'ONE' is not set; for the text ${ONE} write $${ONE}",
        "environment variable 'TWO' is not set; for the text ${TWO} write $${TWO}",
    ]


@given(st.text("$ {}Aa1"))
def test_every_text_can_be_written(text: str) -> None:
    """Doubling the dollar signs before each brace, and no others, gives back the text."""
    written, dollars = "", ""
    for character in text:
        if character == "$":
            dollars += "$"
            continue
        written += (dollars * 2 if character == "{" else dollars) + character
        dollars = ""
    assert Environment({}).fill(written + dollars) == (text, [])


def test_values_of_variables_are_hidden_once_they_were_used() -> None:
    environment = Environment({"TOKEN": "s'cret\n", "OTHER": "s'cret\nagain", "X": "1"})
    assert environment.hidden("got s'cret\n") == "got s'cret\n"
    environment.fill("${TOKEN} ${OTHER} ${X}")
    message = f"got 1, {'s' + chr(39) + 'cret' + chr(10)!r}, {environment.fill('${OTHER}')[0]!r}"
    assert "cret" not in environment.hidden(message)
    assert environment.hidden("got s'cret\nagain and 1") == "got ${OTHER} and 1"
