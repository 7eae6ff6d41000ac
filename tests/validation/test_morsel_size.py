"""How many rows the next morsel has, learnt from those before."""

from __future__ import annotations

import pytest

from sentrio.validation.engines.threads import MorselSize

ROW = 40e-9


def learnt(size: MorselSize, *, fixed: float = 0.0, row: float = ROW, times: int = 50) -> list[int]:
    """Return the sizes of so many morsels that take some seconds each, and some for each row."""
    found = []
    for _ in range(times):
        rows = size.wanted
        found.append(rows)
        size.learn(rows, fixed + rows * row)
    return found


def test_grows_to_the_time_aimed_at() -> None:
    sizes = learnt(MorselSize())
    assert sizes[0] == 65_536
    assert sizes == sorted(sizes)
    assert 0.02 < sizes[-1] * ROW <= 0.041


def test_slow_rows_make_it_shrink_until_it_is_bearable() -> None:
    sizes = learnt(MorselSize(), row=1e-5)
    assert sizes[-1] <= 8_192  # the least that is worth a query
    assert learnt(MorselSize(), row=2e-6)[-1] <= 0.08 / 2e-6


def test_a_busy_moment_changes_nothing_that_time_does_not_mend() -> None:
    size = MorselSize(unit=250_000)
    learnt(size, row=1e-7)
    before = size.wanted
    size.learn(before, 3.0)
    assert size.wanted < before
    learnt(size, row=1e-7)
    assert size.wanted == pytest.approx(before, rel=0.1)


def test_what_happens_once_is_not_held_against_the_rows() -> None:
    size = MorselSize(unit=250_000)
    size.learn(size.wanted, 0.4)
    assert size.wanted == 250_000
    size.learn(size.wanted, 0.4)
    assert size.wanted < 250_000


def test_pieces_that_cost_as_much_as_the_whole_are_given_up() -> None:
    size = MorselSize(unit=250_000, warming=0)
    size.learn(250_000, 0.1)  # the whole row group
    assert size.wanted < 250_000
    size.learn(size.wanted, 0.09)  # a piece of it
    assert size.wanted == 250_000


def test_a_fixed_size_stays() -> None:
    assert set(learnt(MorselSize(fixed=7), row=1.0)) == {7}


def test_bytes_bound_it() -> None:
    assert MorselSize(bytes_per_row=10_000).wanted < 4_000
    assert MorselSize(bytes_per_row=1e9).wanted == 1


def test_a_row_group_of_long_texts_is_read_in_pieces_whatever_a_piece_costs() -> None:
    size = MorselSize(unit=50_000, bytes_per_row=10_000)
    assert max(learnt(size, fixed=0.06, row=25e-6)) < 1_000
    assert min(learnt(size, fixed=0.06, row=25e-6)) >= 256
