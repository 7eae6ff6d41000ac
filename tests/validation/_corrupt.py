"""Damages files of every format, checks each in this process, and prints what came of it, one JSON text a line.

Run as a program, so that a crash, a hang or a word on standard error is seen by the test that started it::

    python _corrupt.py FOLDER FIRST_SEED COUNT
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

import sentrio

zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

ROWS = 20_000
#: what one check may take; the files hold some megabytes
MEMORY = 2**30

N = pl.col("n")
FRAME = pl.select(n=pl.int_range(ROWS)).with_columns(
    name=pl.format("name {}", N % 97),
    text=pl.format("some longer text for {}", N),
    x=N * 0.37,
    day=pl.lit("2026-11-20").str.to_date(),
    flag=N % 2 == 0,
    list=pl.concat_list(N, N + 1),
    kind=(N % 7).cast(pl.String).cast(pl.Categorical),
)
FLAT = FRAME.select("n", "name", "text", "x")


def _bytes(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


CSV = FLAT.write_csv().encode()
NDJSON = FRAME.select("n", "name", "text", "x").write_ndjson().encode()
WHOLE: dict[str, bytes] = {
    "csv": CSV,
    "csv.gz": gzip.compress(CSV, 3),
    "csv.zst": zstd.compress(CSV, 3),
    "ndjson": NDJSON,
    "jsonl.gz": gzip.compress(NDJSON, 3),
    "parquet": _bytes(lambda file: FRAME.write_parquet(file, row_group_size=4000)),
    "arrow": _bytes(lambda file: FRAME.write_ipc(file, record_batch_size=4000)),
    "feather": _bytes(lambda file: FRAME.write_ipc(file, record_batch_size=4000, compression="zstd")),
    "ipc": _bytes(lambda file: FRAME.write_ipc(file, record_batch_size=4000, compression="lz4")),
    "arrows": _bytes(lambda file: FRAME.write_ipc_stream(file, compression="zstd")),
}


def truncated(data: bytearray, chance: random.Random) -> bytearray:
    return data[: chance.randrange(len(data))]


def flipped(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice([1, 1, 3, 20])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def flipped_ends(data: bytearray, chance: random.Random) -> bytearray:
    """Where the formats keep what everything else hangs on."""
    for _ in range(chance.choice([1, 1, 3])):
        at = chance.randrange(min(3000, len(data)))
        data[at if chance.random() < 0.3 else -1 - at] ^= 1 << chance.randrange(8)
    return data


def zeroed(data: bytearray, chance: random.Random) -> bytearray:
    at = chance.randrange(len(data))
    end = min(len(data), at + chance.choice([1, 8, 500]))
    data[at:end] = bytes(end - at)
    return data


def joined(data: bytearray, chance: random.Random) -> bytearray:
    """A piece from somewhere else, or one that is missing."""
    at, other, size = chance.randrange(len(data)), chance.randrange(len(data)), chance.choice([1, 100, 5000])
    return data[:at] + data[other : other + size] + data[at + chance.choice([0, size]) :]


def mixed(data: bytearray, chance: random.Random) -> bytearray:
    """A word in another encoding, in the middle of the file."""
    at = data.index(b"name", chance.randrange(len(data) // 2))
    return data[:at] + "größe".encode(chance.choice(["cp1252", "utf-16", "cp850"])) + data[at:]


def long_line(data: bytearray, chance: random.Random) -> bytearray:
    """Ten megabytes without a line break, here and there with a quote that does not end."""
    at = data.index(b"\n", chance.randrange(len(data) // 2)) + 1
    return (
        data[:at]
        + chance.choice([b"", b'"', b"1,", b'{"n": "'])
        + b"x" * 10_000_000
        + chance.choice([b"", b"\n"])
        + data[at:]
    )


ANY = (truncated, flipped, flipped_ends, zeroed, joined)
TEXT = (*ANY, mixed, long_line)


def damaged(seed: int) -> tuple[str, str, bytes]:
    chance = random.Random(seed)
    ending = chance.choice(sorted(WHOLE))
    damage = chance.choice(TEXT if ending in {"csv", "ndjson"} else ANY)
    return ending, damage.__name__, bytes(damage(bytearray(WHOLE[ending]), chance))


def outcome(path: Path) -> dict[str, Any]:
    checks = ["not_null", {"regex": {"column": "text", "pattern": "^some"}}, {"mean": {"column": "n", "min": 0}}]
    started = time.monotonic()
    result = sentrio.check(path, checks)
    return {
        "status": result.status,
        "rows": result.report.row_count,
        "message": result.error or "; ".join(check.message for check in result.report.errors),
        "seconds": round(time.monotonic() - started, 2),
    }


def main(folder: Path, first: int, count: int) -> None:
    sentrio.check(FRAME, ["not_null"])
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for seed in range(first, first + count):
        ending, damage, data = damaged(seed)
        path = folder / f"damaged.{ending}"
        path.write_bytes(data)
        print(f"seed {seed}: {ending}, {damage}", file=sys.stdout, flush=True)
        found = outcome(path)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - here
        print(json.dumps({**found, "seed": seed, "what": f"{ending}, {damage}", "memory": used}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
