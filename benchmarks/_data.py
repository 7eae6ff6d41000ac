"""Generated data, from a seed, kept in a folder of the system's temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

FOLDER = Path(tempfile.gettempdir()) / "sentrio-benchmarks"

EIGHT_RULES = [
    "not_null",
    {"range": {"column": "age", "min": 0, "max": 120}},
    {"in_set": {"column": "category", "values": ["a", "b", "c", "d", "e"]}},
    {"regex": {"column": "email", "pattern": r"^[^@]+@[^@]+\.[a-z]+$"}},
    {"row_count": {"min": 1}},
    {"mean": {"column": "amount", "min": 90, "max": 110}},
]


def eight_columns(rows: int) -> Path:
    """Return a Parquet file of eight columns: 1 % nulls in ``city``, 0.1 % of the ages out of range."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"eight-{rows}.parquet"
    if path.exists():
        return path
    step = 1_000_000
    parts = [_part(first, min(step, rows - first)) for first in range(0, rows, step)]
    half = path.with_suffix(".half")
    pl.concat(parts).write_parquet(half, row_group_size=250_000)
    half.rename(path)
    return path


def _part(first: int, rows: int) -> pl.DataFrame:
    pl.set_random_seed(first)
    number = pl.int_range(first, first + rows, eager=True).alias("id")
    dice = number.hash(7)
    letters = pl.Series(["a", "b", "c", "d", "e"])
    return pl.DataFrame(
        {
            "id": number,
            "age": pl.select(pl.when(dice % 1000 == 0).then(130).otherwise(dice % 100)).to_series().cast(pl.Int64),
            "amount": (number.hash(8) % 2_000_000).cast(pl.Float64) / 10_000,
            "category": letters.gather(number.hash(9) % 5),
            "email": (number.hash(10) % 10_000_000).cast(pl.String) + "@example.com",
            "at": (number * 1000).cast(pl.Datetime("ms")),
            "flag": number.hash(11) % 2 == 0,
            "city": pl.select(pl.when(number.hash(12) % 100 > 0).then(pl.lit("Kyoto"))).to_series(),
        }
    )
