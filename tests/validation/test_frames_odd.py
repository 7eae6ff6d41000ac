"""Frames that can not be had are an error that says why, whoever raises it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

import sentrio
from sentrio.errors import OptionValueError


def _boom(*_: Any) -> Any:
    raise KeyError("kaputt")


NUMBERS = pl.LazyFrame({"a": [1, 2, 3]})


@pytest.mark.parametrize(
    "frame",
    [
        NUMBERS.map_batches(_boom, schema={"a": pl.Int64}),
        NUMBERS.select(pl.col("a").map_batches(_boom, return_dtype=pl.Int64)),
        NUMBERS.select(pl.col("a").map_elements(_boom, return_dtype=pl.Int64)),
    ],
)
def test_what_code_upstream_of_a_lazy_frame_raises_is_an_error_of_the_run(frame: pl.LazyFrame) -> None:
    result = sentrio.check(frame, ["not_null"])
    assert result.status == "error"
    assert result.error is not None
    assert "kaputt" in result.error


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"d": pa.array([Decimal("1.5")], pa.decimal256(50, 2))}), "Int256"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "more than once"),
    ],
)
def test_an_arrow_table_that_polars_can_not_take_over(table: Any, said: str) -> None:
    with pytest.raises(OptionValueError, match=f"Polars can not take this Table over: .*{said}"):
        sentrio.check(table, ["not_null"])
