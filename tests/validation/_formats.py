"""The same rows in every form that can be read."""

from __future__ import annotations

import gzip
import importlib
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import sqlalchemy

zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

#: the types of the columns that :data:`FORMS` write
TYPES = {"i": "integer", "f": "float", "t": "string", "d": "date", "b": "boolean"}
SCHEMA: dict[str, Any] = {"i": pl.Int64, "f": pl.Float64, "t": pl.String, "d": pl.Date, "b": pl.Boolean}


def packed(ending: str, content: bytes) -> bytes:
    """Return content packed as the ending of a name says."""
    if ending.endswith(".gz"):
        return bytes(gzip.compress(content))
    return bytes(zstd.compress(content)) if ending.endswith(".zst") else content


def _csv(frame: pl.DataFrame, **options: Any) -> bytes:
    return str(frame.write_csv(quote_style="non_numeric", **options)).encode()


def _written(name: str, content: Callable[[pl.DataFrame], bytes], **options: Any) -> Callable[..., Any]:
    def write(frame: pl.DataFrame, folder: Path) -> Any:
        path = folder / name
        path.write_bytes(content(frame))
        return {"path": path, **options}

    return write


def _ipc(frame: pl.DataFrame, folder: Path) -> Any:
    frame.write_ipc(folder / "a.arrow", compression="zstd", record_batch_size=3)
    return folder / "a.arrow"


def _stream(frame: pl.DataFrame, folder: Path) -> Any:
    table = frame.to_arrow()
    with pa.ipc.new_stream(folder / "a.arrows", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return str(folder / "a.arrows")


def _parquet(frame: pl.DataFrame, folder: Path) -> Any:
    frame.write_parquet(folder / "a.parquet", row_group_size=4)
    return folder / "a.parquet"


def _hive(frame: pl.DataFrame, folder: Path) -> Any:
    for number, part in enumerate(frame.iter_slices(3) if frame.height else [frame]):
        path = folder / "hive" / f"p={number:04}x" / "a.parquet"
        path.parent.mkdir(parents=True)
        part.write_parquet(path)
    return folder / "hive"


def _sqlite_file(frame: pl.DataFrame, folder: Path) -> str:
    path = folder / "a.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE rows (i INTEGER, f REAL, t TEXT, d DATE, b BOOLEAN)")
        dates = frame.with_columns(pl.col("d").cast(pl.String))
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", dates.rows())
    connection.close()
    return f"sqlite:///{path}"


def _sqlite(frame: pl.DataFrame, folder: Path) -> Any:
    return {"url": _sqlite_file(frame, folder), "table": "rows", "schema": {"d": "date", "b": "boolean"}}


def _alchemy(frame: pl.DataFrame, folder: Path) -> Any:
    # A name of SQLAlchemy's that is not ours: the standard library's driver under another dialect.
    sqlalchemy.dialects.registry.register("sentriotest.lite", "sqlalchemy.dialects.sqlite.pysqlite", "dialect")
    url = _sqlite_file(frame, folder).replace("sqlite://", "sentriotest+lite://")
    return {"url": url, "query": "SELECT * FROM rows", "schema": TYPES}


def _adbc(frame: pl.DataFrame, folder: Path) -> Any:
    url = _sqlite_file(frame, folder).replace("sqlite://", "adbc+sqlite://")
    # SQLite knows neither dates nor booleans, and ADBC gives what the database has.
    return {"url": url, "table": "rows"}


def _excel(frame: pl.DataFrame, folder: Path) -> Any:
    frame.write_excel(folder / "a.xlsx")
    return {"path": folder / "a.xlsx", "schema": TYPES}


def _reader(frame: pl.DataFrame, folder: Path) -> Any:
    table = frame.to_arrow()
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=3))


#: what writes a frame into a folder and returns the data source for it
FORMS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "csv": _written("a.csv", _csv, schema=TYPES),
    "tsv": _written("a.tsv", lambda frame: _csv(frame, separator="\t"), schema=TYPES),
    "csv.gz": _written("a.csv.gz", lambda frame: gzip.compress(_csv(frame)), schema=TYPES),
    "csv.zst": _written("a.csv.zst", lambda frame: zstd.compress(_csv(frame)), schema=TYPES),
    "csv utf-16": _written(
        "b.csv", lambda frame: _csv(frame).decode().encode("utf-16"), schema=TYPES, encoding="utf-16"
    ),
    "csv.zst utf-16-le": _written(
        "b.csv.zst",
        lambda frame: zstd.compress(_csv(frame).decode().encode("utf-16-le")),
        schema=TYPES,
        encoding="utf-16-le",
    ),
    "csv.gz gb18030": _written(
        "b.csv.gz",
        lambda frame: gzip.compress(_csv(frame).decode().encode("gb18030")),
        schema=TYPES,
        encoding="gb18030",
    ),
    "ndjson": _written("a.ndjson", lambda frame: frame.write_ndjson().encode(), schema=TYPES),
    "jsonl.gz": _written("a.jsonl.gz", lambda frame: gzip.compress(frame.write_ndjson().encode()), schema=TYPES),
    "jsonl utf-16": _written(
        "b.jsonl", lambda frame: frame.write_ndjson().encode("utf-16"), schema=TYPES, encoding="utf-16"
    ),
    "ipc": _ipc,
    "ipc stream": _stream,
    "parquet": _parquet,
    "parquet hive": _hive,
    "sqlite": _sqlite,
    "sqlalchemy": _alchemy,
    "adbc": _adbc,
    "excel": _excel,
    "frame": lambda frame, folder: frame,
    "lazy": lambda frame, folder: frame.lazy(),
    "pandas": lambda frame, folder: frame.to_pandas(use_pyarrow_extension_array=True),
    "pyarrow": lambda frame, folder: frame.to_arrow(),
    "reader": _reader,
}
