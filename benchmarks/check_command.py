"""``sentrio check`` on ten million rows: time, peak memory, exact counts, and how soon Ctrl-C ends it.

The time is given beside the bare streaming query of Polars for the same counts, each in a process of its own, one
after the other, as a ratio of medians.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from _data import EIGHT_RULES

ROWS = int(os.environ.get("ROWS", "10_000_000"))
REPEATS = 5

BARE = """
import sys, polars as pl
c = pl.col
print(pl.scan_parquet(sys.argv[1]).select(
    pl.all().null_count().name.prefix("n_"), (~c("age").is_between(0, 120)).sum().alias("r"),
    (~c("category").is_in(list("abcde"))).sum().alias("s"),
    (~c("email").str.contains(r"^[^@]+@[^@]+\\\\.[a-z]+$")).sum().alias("x"),
    pl.len(), c("amount").mean()).collect(engine="streaming").row(0))
"""


def measured(command: list[str]) -> tuple[float, float, str, int]:
    """Return seconds, peak memory in MB, output and exit code of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return time.perf_counter() - started, usage.ru_maxrss / 1024, out, process.returncode


def command(path: Path, rules: Sequence[object]) -> list[str]:
    options = [
        each
        for rule in rules
        for each in ("-V", yaml.safe_dump(rule, default_flow_style=True, width=10_000).replace("\n...\n", ""))
    ]
    return [sys.executable, "-m", "sentrio", "check", str(path), *options]


def interrupted(path: Path) -> float:
    """Return the seconds from SIGINT, half-way through, to the end of the process."""
    process = subprocess.Popen(command(path, EIGHT_RULES), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.9)
    process.send_signal(signal.SIGINT)
    started = time.perf_counter()
    code = process.wait()
    elapsed = time.perf_counter() - started
    assert code == 130, f"exit code {code}: it had ended before it was interrupted; give more ROWS"
    return elapsed


def main() -> None:
    # A child's peak memory begins with what its parent had when it forked, so the data are made elsewhere.
    make = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import _data; print(_data.eight_columns({ROWS}))"
    path = Path(
        subprocess.run([sys.executable, "-c", make], capture_output=True, text=True, check=True).stdout.strip()
    )
    table = []
    ours, bare = [], []
    for _ in range(REPEATS):
        bare.append(measured([sys.executable, "-c", BARE, str(path)])[0])
        seconds, memory, out, code = measured([*command(path, EIGHT_RULES), "--format", "json"])
        ours.append(seconds)
        table.append(memory)
    result = json.loads(out)["results"][0]
    counts = {check["id"]: check["failed_count"] for check in result["report"]["checks"] if check["failed_count"]}
    print(
        f"{ROWS:,} rows, {path.stat().st_size / 1e6:.0f} MB, 8 columns, {len(result['report']['checks'])} checks, exit code {code}"
    )
    print(f"failed rows             {counts}")
    print(f"sentrio check           {statistics.median(ours):.2f} s (start-up of the command included)")
    print(
        f"bare Polars, same counts {statistics.median(bare):.2f} s, ratio {statistics.median(ours) / statistics.median(bare):.2f}"
    )
    print(f"peak memory             {max(table):.0f} MB")
    for column in ("id", "email"):
        seconds, memory, _, code = measured(command(path, [{"unique": {"column": column}}]))
        print(f"unique {column:16s} {seconds:.2f} s, {memory:.0f} MB, exit code {code}")
    waits = sorted(interrupted(path) for _ in range(10))
    print(
        f"Ctrl-C to exit          median {statistics.median(waits) * 1000:.0f} ms, worst of 10 {waits[-1] * 1000:.0f} ms"
    )
    print(f"memory of this program  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
