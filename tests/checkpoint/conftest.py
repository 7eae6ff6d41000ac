from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def penguins() -> dict[str, object]:
    """The data source of the quick start."""
    return {"path": ROOT / "docs/examples/quickstart/penguins_size.csv", "null_values": ["NA"]}


@pytest.fixture
def frame() -> pl.DataFrame:
    return pl.DataFrame({"id": [1, 2, 3], "name": ["a", None, "c"], "secret": ["x", "y", None]})


@pytest.fixture(scope="session")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough rows that a check of them takes many morsels."""
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    rows = 4_000_000
    numbers = pl.int_range(rows, eager=True)
    frame = pl.DataFrame({"id": numbers, "text": (numbers % 999_983).cast(pl.String) + "@example.com"})
    frame.write_parquet(path, row_group_size=250_000)
    return path
