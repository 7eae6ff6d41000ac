# None of the peers is installed where this is type-checked.
# mypy: disable-error-code="import-not-found,misc,untyped-decorator"
"""The suite of ``validation.py`` as peers run it, beside the bare query on the Polars that each of them brings.

``nox -s peers`` runs this in an environment of its own for each peer: ``python _peers.py PEER REPEATS ROWS...``.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from _data import EMAIL, suite_data

CATEGORIES = ["a", "b", "c", "d", "e"]
COLUMNS = ["id", "age", "amount", "category", "email", "at", "flag", "city"]


def scan(path: Path) -> pl.LazyFrame:
    return pl.scan_csv(path) if path.suffix == ".csv" else pl.scan_parquet(path)


def bare(path: Path) -> object:
    column = pl.col
    return (
        scan(path)
        .select(
            pl.all().null_count().name.prefix("nulls_"),
            (~column("age").is_between(0, 120)).sum().alias("range"),
            (~column("category").is_in(CATEGORIES)).sum().alias("set"),
            (~column("email").str.contains(EMAIL)).sum().alias("regex"),
            column("amount").mean().alias("mean"),
            pl.len(),
        )
        .collect(engine="streaming")
    )


def dataframely() -> Callable[[Path], object]:
    import dataframely as dy

    class Rows(dy.Schema):
        id = dy.Int64(nullable=False)
        age = dy.Int64(nullable=False, min=0, max=120)
        amount = dy.Float64(nullable=False)
        category = dy.String(nullable=False, check=lambda column: column.is_in(CATEGORIES))
        email = dy.String(nullable=False, regex=EMAIL)
        at = dy.Any()
        flag = dy.Bool(nullable=False)
        city = dy.String(nullable=False)

        @dy.rule()
        def at_there(cls) -> pl.Expr:  # noqa: N805
            return pl.col("at").is_not_null()

    def run(path: Path) -> object:
        _, failure = Rows.filter(scan(path).collect())
        return failure.counts(), scan(path).select(pl.col("amount").mean()).collect()

    return run


def pandera() -> Callable[[Path], object]:
    import pandera.polars as pa

    checks: dict[str, Any] = {
        "age": pa.Check.in_range(0, 120),
        "category": pa.Check.isin(CATEGORIES),
        "email": pa.Check.str_matches(EMAIL),
        "amount": pa.Check(
            lambda data: data.lazyframe.select(pl.col(data.key).mean().is_between(90, 110)), name="mean"
        ),
    }
    schema = pa.DataFrameSchema({name: pa.Column(nullable=False, checks=checks.get(name)) for name in COLUMNS})

    def run(path: Path) -> object:
        try:
            return schema.validate(scan(path).collect(), lazy=True)
        except pa.errors.SchemaErrors as exc:
            return len(exc.schema_errors)

    return run


def pointblank() -> Callable[[Path], object]:
    import pointblank as pb

    def run(path: Path) -> object:
        data = scan(path).collect()
        plan = pb.Validate(data=data).col_vals_not_null(columns=COLUMNS)
        plan = plan.col_vals_between(columns="age", left=0, right=120)
        plan = plan.col_vals_in_set(columns="category", set=CATEGORIES)
        plan = plan.col_vals_regex(columns="email", pattern=EMAIL)
        done = plan.interrogate(get_first_n=5)
        return done.n_failed(), data.select(pl.col("amount").mean())

    return run


def truthound() -> Callable[[Path], object]:
    import truthound as th
    from truthound.validators import InSetValidator, NullValidator, RangeValidator, RegexValidator

    def run(path: Path) -> object:
        validators = [
            NullValidator(),
            RangeValidator(min_value=0, max_value=120, columns=("age",)),
            InSetValidator(allowed_values=CATEGORIES, columns=("category",)),
            RegexValidator(pattern=EMAIL, columns=("email",)),
        ]
        report = th.check(scan(path), validators=validators)
        return report, scan(path).select(pl.col("amount").mean()).collect()

    return run


def soda() -> Callable[[Path], object]:
    import duckdb
    from soda.scan import Scan

    checks = "\n".join(
        [
            "checks for data:",
            *(f"  - missing_count({name}) = 0" for name in COLUMNS),
            "  - invalid_count(age) = 0:\n      valid min: 0\n      valid max: 120",
            f"  - invalid_count(category) = 0:\n      valid values: {CATEGORIES}",
            f"  - invalid_count(email) = 0:\n      valid regex: '{EMAIL}'",
            "  - avg(amount) between 90 and 110",
        ]
    )

    def run(path: Path) -> object:
        connection = duckdb.connect()
        reader = "read_csv_auto" if path.suffix == ".csv" else "read_parquet"
        connection.execute(f"create view data as select * from {reader}('{path}')")  # noqa: S608
        scanned = Scan()
        scanned.disable_telemetry()
        scanned.set_verbose(False)
        scanned.add_duckdb_connection(connection, "data")
        scanned.set_data_source_name("data")
        scanned.add_sodacl_yaml_str(checks)
        scanned.execute()
        if scanned.has_error_logs():
            raise RuntimeError(scanned.get_error_logs_text())
        return scanned.get_checks_fail()

    return run


PEERS = {peer.__name__: peer for peer in (dataframely, pandera, pointblank, truthound, soda)}


def main() -> None:
    name, repeats, *sizes = sys.argv[1:]
    run = PEERS[name]()
    for path in [suite_data(int(rows), "one", ending) for rows in sizes for ending in ("parquet", "csv")]:
        run(path), bare(path)
        ratios, seconds = [], []
        for _ in range(int(repeats)):
            begun = time.perf_counter()
            run(path)
            between = time.perf_counter()
            bare(path)
            ended = time.perf_counter()
            seconds.append(between - begun)
            ratios.append((between - begun) / (ended - between))
        print(
            f"{name:12} Polars {pl.__version__:8} {path.name:28} {statistics.median(seconds) * 1000:9.1f} ms "
            f"{statistics.median(ratios):7.2f} of the query",
            flush=True,
        )


if __name__ == "__main__":
    main()
