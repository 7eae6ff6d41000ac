"""Valid and failing rows into two Parquet files: time and peak memory, beside two streaming queries of Polars.

Each runs in a process of its own, one after the other. Times are medians, given as ratios; memory is the peak of the
process, for two sizes, since it is to be flat.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from _data import eight_columns

SIZES = [int(size) for size in os.environ.get("SIZES", "2_000_000 8_000_000").split()]
REPEATS = int(os.environ.get("REPEATS", "3"))

RULES = '["not_null", {"range": {"column": "age", "min": 0, "max": 120}}]'
PROGRAMS = {
    "polars, twice": """
import sys, polars as pl
frame = pl.scan_parquet(sys.argv[1])
ok = pl.all_horizontal(pl.col(frame.collect_schema().names()).is_not_null()) & pl.col("age").is_between(0, 120)
frame.filter(ok).sink_parquet(sys.argv[2] + "/v.parquet")
frame.filter(~ok.fill_null(False)).sink_parquet(sys.argv[2] + "/f.parquet")
""",
    "check alone": f"""
import sys, sentrio
sentrio.Checkpoint("c", sys.argv[1], {RULES}).run()
""",
    "check and split": f"""
import sys, sentrio
split = sentrio.Split(valid=sys.argv[2] + "/v.parquet", failing=sys.argv[2] + "/f.parquet")
result = sentrio.Checkpoint("c", sys.argv[1], {RULES}, split=split).run()
assert result.split is not None, result
""",
}


def measured(program: str, path: str) -> tuple[float, float]:
    """Return seconds and peak memory in MB of a process."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", program, path, folder])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    # Made by a process of their own: a child's peak counts what its parent held when it was forked.
    subprocess.run([sys.executable, "-c", f"import _data; [_data.eight_columns(n) for n in {SIZES}]"], check=True)
    print(f"{'rows':>12}  {'what':<16}  {'s':>7}  {'ratio':>6}  {'peak MB':>8}")
    for rows in SIZES:
        path = str(eight_columns(rows))
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
        for _ in range(REPEATS):
            for name, program in PROGRAMS.items():
                runs[name].append(measured(program, path))
        seconds = {name: statistics.median(each for each, _ in found) for name, found in runs.items()}
        base = seconds["polars, twice"]
        for name, found in runs.items():
            peak = statistics.median(each for _, each in found)
            print(f"{rows:>12,}  {name:<16}  {seconds[name]:>7.2f}  {seconds[name] / base:>6.2f}  {peak:>8.0f}")


if __name__ == "__main__":
    main()
