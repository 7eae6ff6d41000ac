"""Time and memory of a validation, beside the bare streaming query of Polars that somebody would write for it.

Times are ratios: ours over the query's, both in one process on the same Polars, in turn, medians of several. Peak
memory is that of child processes, less what Python with sentrio imported takes. Peers are measured by
``nox -s peers``, each in an environment of its own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from _data import EMAIL, FOOTER_SUITE, NULLS, SUITE, suite_data

import sentrio

Task = Callable[[], object]


def scan(path: Path) -> pl.LazyFrame:
    return pl.scan_csv(path) if path.suffix == ".csv" else pl.scan_parquet(path)


def bare(path: Path) -> pl.DataFrame:
    """Return the counts of the suite by one query, as short as it can be."""
    column = pl.col
    return (
        scan(path)
        .select(
            pl.all().null_count().name.prefix("nulls_"),
            (~column("age").is_between(0, 120)).sum().alias("range"),
            (~column("category").is_in(list("abcde"))).sum().alias("set"),
            (~column("email").str.contains(EMAIL)).sum().alias("regex"),
            column("amount").mean().alias("mean"),
            pl.len(),
        )
        .collect(engine="streaming")
    )


def bare_footer(path: Path) -> pl.DataFrame:
    column = pl.col
    return (
        scan(path)
        .select(
            pl.all().null_count().name.prefix("nulls_"),
            (~column("age").is_between(0, 120)).sum().alias("age"),
            (column("id") < 0).sum().alias("below"),
            pl.len(),
        )
        .collect(engine="streaming")
    )


def in_turn(ours: Task, theirs: Task, repeats: int) -> tuple[float, float, float, float]:
    """Return the median seconds of both, the median of the ratios, and the ratio of CPU time."""
    ours(), theirs()
    figures: list[list[float]] = [[], [], [], []]
    for _ in range(repeats):
        for number, task in enumerate((ours, theirs)):
            started, cpu = time.perf_counter(), time.process_time()
            task()
            figures[number].append(time.perf_counter() - started)
            figures[number + 2].append(time.process_time() - cpu)
    mine, other, my_cpu, other_cpu = figures
    ratio = statistics.median(a / b for a, b in zip(mine, other, strict=True))
    cpu = statistics.median(my_cpu) / statistics.median(other_cpu)
    return statistics.median(mine), statistics.median(other), ratio, cpu


def line(name: str, figures: tuple[float, float, float, float], aim: str = "") -> None:
    mine, other, ratio, cpu = figures
    print(f"{name:44} {mine * 1000:9.1f} {other * 1000:9.1f} {ratio:7.2f} {cpu:7.2f}   {aim}", flush=True)


def checked(path: Any, rules: list[Any], **options: Any) -> Any:
    result = sentrio.check(path, rules, **options)
    assert result.report is not None, result.error
    assert not result.report.errors, result.report.errors
    return result


def times(rows: list[int], repeats: int) -> None:
    print(f"\n{'times':44} {'ours ms':>9} {'query ms':>9} {'ratio':>7} {'CPU':>7}   aim")
    aims = {"clean": "0.65", "one": "0.9", "all": "1.1"}
    for count in rows:
        for ending in ("parquet", "csv"):
            for nulls in NULLS:
                path = suite_data(count, nulls, ending)
                figures = in_turn(partial(checked, path, SUITE), partial(bare, path), repeats)
                line(f"suite, {ending}, {count:,} rows, nulls: {nulls}", figures, aims[nulls])
        path = suite_data(count, "clean")
        figures = in_turn(partial(checked, path, FOOTER_SUITE), partial(bare_footer, path), repeats)
        line(f"footer suite, parquet, {count:,} rows", figures, "0.08")


CHILD = """
import sys; sys.path.insert(0, {here!r})
import sentrio, polars, validation, _data
from pathlib import Path
path = Path({path!r})
{task}
status = Path("/proc/self/status")
if status.exists():  # the peak since the program began; what `resource` says begins with the parent's
    print(int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024)
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""

MEASURED = {
    "nothing": "",
    "query": "validation.bare(path)",
    "suite": "validation.checked(path, _data.SUITE)",
    "unique": "validation.checked(path, [{'unique': {'column': 'email'}}])",
}


def peak(path: Path, task: str) -> float:
    """Return the peak memory of a child process in MB."""
    code = CHILD.format(here=str(Path(__file__).parent), path=str(path), task=MEASURED[task])
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return float(out.split()[-1])


def memory(rows: list[int], repeats: int) -> None:
    print(f"\n{'peak memory above an idle process, MB':44} {'ours':>9} {'query':>9} {'ratio':>7}   aim: 1.5, flat")
    for count in rows:
        for ending in ("parquet", "csv"):
            path = suite_data(count, "all", ending)
            idle = peak(path, "nothing")
            mine, other = (
                statistics.median(peak(path, task) for _ in range(repeats)) - idle for task in ("suite", "query")
            )
            name = f"suite, {ending}, {count:,} rows"
            print(f"{name:44} {mine:9.0f} {other:9.0f} {mine / max(other, 1):7.2f}", flush=True)


def unique(rows: list[int]) -> None:
    print(f"\n{'unique':44} {'peak MB':>9} {'B a row':>9} {'CPU s':>7}   aim: 16 bytes a row")
    for count in rows:
        for share in (0.0, 0.1, 0.6, 1.0):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "values.parquet"
                subprocess.run(
                    [sys.executable, "-c", REPEATS.format(count=count, share=share, path=str(path))], check=True
                )
                idle = peak(path, "nothing")
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                more = peak(path, "unique") - idle
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            name = f"{count:,} rows, {share:.0%} repeated"
            print(f"{name:44} {more:9.0f} {more * 2**20 / count:9.1f} {cpu:7.1f}", flush=True)


# Written in steps, and equal values lie as far from each other as they can.
REPEATS = """
import polars as pl
from polars.io.plugins import register_io_source
most = int({count} * {share})
def parts(columns, predicate, rows, size):
    for first in range(0, {count}, 250_000):
        n = pl.int_range(first, min(first + 250_000, {count}), eager=True)
        value = pl.select(pl.when(n < most).then(n % max(1, most // 2)).otherwise(n)).to_series()
        yield pl.DataFrame([value.hash(3).cast(pl.String).alias("email")])
source = register_io_source(parts, schema={{"email": pl.String}}, is_pure=True)
source.sink_parquet({path!r}, row_group_size=250_000)
"""


def fail_fast(rows: int, repeats: int) -> None:
    """Compare a run that may stop in the first row group with one that reads all."""
    path = suite_data(rows, "all")
    rules = [*SUITE[1:], {"mean": {"column": "id", "min": 0}}]
    figures = in_turn(
        lambda: checked(path, rules, fail_fast=True), lambda: checked(path, rules, fail_fast=False), repeats
    )
    line(f"\nfail_fast against all of {rows:,} rows", figures, "0.05")


def many_files(rows: int, repeats: int) -> None:
    """Compare 500 files with one that has the same rows."""
    whole = pl.read_parquet(suite_data(rows, "one"))
    each = rows // 500
    for ending in ("parquet", "csv"):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(500):
                _write(whole.slice(number * each, each), Path(folder) / f"{number:03}.{ending}")
            one = Path(folder) / "one" / f"all.{ending}"
            one.parent.mkdir()
            _write(whole.head(each * 500), one)
            task = partial(checked, str(Path(folder) / f"*.{ending}"), SUITE)
            line(
                f"500 {ending} files against one of {rows:,} rows",
                in_turn(task, partial(checked, one, SUITE), repeats),
                "1.3",
            )


def _write(frame: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path, row_group_size=250_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--large", type=int, default=40_000_000, help="rows for fail_fast and for flat memory")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["times", "memory", "unique", "fail_fast", "many_files"])
    given = parser.parse_args()
    print(f"Polars {pl.__version__}, {pl.thread_pool_size()} threads, medians of {given.repeats}")
    if "times" in given.only:
        times(given.rows, given.repeats)
    if "fail_fast" in given.only:
        fail_fast(given.large, given.repeats)
    if "many_files" in given.only:
        many_files(given.rows[-1], given.repeats)
    if "memory" in given.only:
        memory([given.rows[-1], given.large], min(3, given.repeats))
    if "unique" in given.only:
        unique([given.rows[-1], given.large])


if __name__ == "__main__":
    main()
