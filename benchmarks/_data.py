"""Generated data, from a seed, kept in a folder of the system's temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polars as pl

_STEP = 1_000_000
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
    parts = [_part(first, min(_STEP, rows - first)) for first in range(0, rows, _STEP)]
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


EMAIL = r"^[^@]+@[^@]+\.[a-z]+$"

#: the suite of ``validation.py``: no nulls, an integer range, a set, a pattern, a mean
SUITE: list[Any] = [
    "not_null",
    {"range": {"column": "age", "min": 0, "max": 120}},
    {"in_set": {"column": "category", "values": ["a", "b", "c", "d", "e"]}},
    {"regex": {"column": "email", "pattern": EMAIL}},
    {"mean": {"column": "amount", "min": 90, "max": 110}},
]

#: what a Parquet footer answers
FOOTER_SUITE: list[Any] = [
    "not_null",
    {"range": {"column": "age", "min": 0, "max": 120}},
    {"range": {"column": "id", "min": 0}},
    {"row_count": {"min": 1}},
]

NULLS = ("clean", "one", "all")


def suite_data(rows: int, nulls: str, ending: str = "parquet") -> Path:
    """Return a file for the suite.

    :param nulls: ``clean``: no check fails; ``one``: 1 % nulls in ``city`` and 0.1 % of the ages out of range;
        ``all``: 1 % nulls in every column as well
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"suite-{nulls}-{rows}.{ending}"
    if path.exists():
        return path
    whole = pl.concat([_suite_part(first, min(_STEP, rows - first), nulls) for first in range(0, rows, _STEP)])
    half = path.with_suffix(".half")
    if ending == "csv":
        whole.write_csv(half)
    else:
        whole.write_parquet(half, row_group_size=250_000)
    half.rename(path)
    return path


def _suite_part(first: int, rows: int, nulls: str) -> pl.DataFrame:
    frame = _part(first, rows).with_columns(pl.col("city").fill_null("Nara"))
    if nulls == "clean":
        return frame.with_columns(pl.col("age").clip(0, 99))
    number = frame["id"]
    holes = {"one": ["city"], "all": frame.columns}[nulls]
    return frame.with_columns(
        pl.when(number.hash(20 + seed) % 100 > 0).then(pl.col(name)).alias(name) for seed, name in enumerate(holes)
    )
