"""A checkpoint may be called anything, and its files are its own on any disk."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import sentrio
from sentrio import Checkpoint
from sentrio.checkpoint.names import own_name, readable_name

FRAME = pl.DataFrame({"a": [1, None]})

NAMES = st.text(
    st.one_of(st.sampled_from('aA_~/\\.-: "ß\u0301\u212bé\ud800'), st.characters()), min_size=1, max_size=120
)


def on_disk(name: str) -> str:
    """As disks of macOS and Windows compare names: without regard to capitals, accents and dots at the end."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold()).rstrip(". ")


@pytest.mark.parametrize(
    "name",
    ["orders", "daily_orders", "orders-2026-11-21", "v1.2", "주문", "заказы", "x" * 100, "console", "com10", "a..b"],
)
def test_an_ordinary_name_stays_itself(name: str) -> None:
    assert own_name(name) == name


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("a/b", "a_b"),
        ("a b", "a_b"),
        ("Orders", "Orders"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("..", ""),
        ("orders.", "orders."),
        ("nul", "_nul"),
        ("Con.orders", "_Con.orders"),
        ("lpt1", "_lpt1"),
        ("a~b", "a_b"),
        ("e\u0301", "e_"),
        ("x" * 101, "x" * 100),
        ("數" * 100, "數" * 55),
    ],
)
def test_any_other_one_is_readable_and_its_own(name: str, readable: str) -> None:
    head, _, tail = own_name(name).rpartition("~")
    assert head == (readable or "_")
    assert len(tail) == 12


@given(NAMES, NAMES)
@example("a/b", "a_b")
@example("Orders", "orders")
@example("e\u0301", "\u00e9")
@example("orders.", "orders")
@example("x" * 100, "x" * 101)
@example("straße", "strasse")
@example("a\ud800", "a\ud801")
def test_no_two_share_a_name_on_any_disk(one: str, other: str) -> None:
    assume(one != other)
    assert on_disk(own_name(one)) != on_disk(own_name(other))


@given(NAMES, NAMES)
def test_nobody_takes_the_name_that_another_one_was_given(one: str, other: str) -> None:
    assume(own_name(one) != one)
    assert on_disk(own_name(own_name(one))) != on_disk(own_name(one))


@given(NAMES)
@example("con")
@example("AUX.x")
@example(".con")
@example("com¹")
def test_a_name_is_one_harmless_segment(name: str) -> None:
    made = own_name(name)
    assert not set(made) & set('/\\:*?"<>|\0\n')
    assert not made.startswith((".", "-"))
    assert not made.endswith((".", " "))
    assert len(made.encode()) <= 180
    stem = made.partition(".")[0].lower()
    assert stem not in {"con", "prn", "aux", "nul"}
    assert not (stem[:3] in {"com", "lpt"} and len(stem) == 4 and stem[3] in "0123456789¹²³")
    assert readable_name(name)


def test_results_and_rows_of_names_that_look_alike_do_not_mix(tmp_path: Path) -> None:
    names = ["a/b", "a_b", "A_b", "a b"]
    for name in names:
        store = {"store": {"path": tmp_path / "store", "partition_by": "checkpoint"}}
        split = {"failing": tmp_path / "split" / "{checkpoint}.csv"}
        assert not Checkpoint(name, FRAME, ["not_null"], actions=[store], split=split).run().failed_actions
    folders = sorted(path for path in (tmp_path / "store").iterdir())
    assert [[each.checkpoint_name for each in sentrio.load_results(folder)] for folder in folders] == [
        [name] for name in sorted(names, key=own_name)
    ]
    assert (tmp_path / "store/a_b").is_dir()
    assert len(list((tmp_path / "split").iterdir())) == len(names)
