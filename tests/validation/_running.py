"""Frames of all kinds, and how the property tests run validators over them."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import anyio
import attrs
import polars as pl
from hypothesis import strategies as st

from sentrio.validation.report import ValidationReport
from sentrio.validation.run import Validation
from sentrio.validation.samples import SampleOptions
from sentrio.validation.sources.files import make_source
from sentrio.validation.validators import make_validator

TEXTS = st.sampled_from(["a", "b", "A1", "é", "e\u0301", "", "ab\ncd", "日本", " a", "NULL", '"', "1,2", "😀", "ß"])
INTEGERS = st.integers(-5, 5) | st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1])
FLOATS = st.floats(-5, 5, width=32) | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 1e300, 5e-324])


@attrs.frozen
class Cut:
    """How the data reach the engine: what must never change an answer."""

    kind: str
    morsel_rows: int
    in_flight: int
    group: int


CUTS = st.builds(
    Cut,
    kind=st.sampled_from(["frame", "frame", "lazy", "parquet"]),
    morsel_rows=st.integers(3, 50),
    in_flight=st.integers(1, 4),
    group=st.integers(1, 20),
)


def column(draw: st.DrawFn, values: st.SearchStrategy[Any], height: int) -> list[Any]:
    return draw(st.lists(st.none() | values, min_size=height, max_size=height))


@st.composite
def columns(draw: st.DrawFn, values: st.SearchStrategy[Any], dtype: Any, most: int = 40) -> pl.Series:
    """One column named ``x``."""
    height = draw(st.integers(0, most))
    return pl.Series("x", column(draw, values, height), dtype=dtype)


def run(data: Any, entries: list[Any], cut: Cut, *, most: int = 3, **more: Any) -> ValidationReport:
    """Run validators over data that are cut in some way; frames also as lazy ones and through files."""
    with tempfile.TemporaryDirectory() as folder:
        if cut.kind == "parquet":
            path = Path(folder) / "data.parquet"
            data.write_parquet(path, row_group_size=cut.group)
            data = path
        elif cut.kind == "lazy":
            data = data.lazy()
        validation = Validation(
            make_source(data),
            [make_validator(entry) for entry in entries],
            samples=SampleOptions(most=most, **more),
            morsel_rows=cut.morsel_rows,
            in_flight=cut.in_flight,
        )
        anyio.run(validation.run)
        return validation.report()
