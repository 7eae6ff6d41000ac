"""Runs a second through pool, runner and parallel runs, beside what they are made of; ``--soak`` for leaks.

A frame of three rows, one check, one asynchronous action. Everything is measured in one process, in turns, so that
ratios mean something on a busy machine; rates are per second of CPU as well as of the clock. ``nox -s truthound``
runs it beside truthound, with and without the files that it writes for each run.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import chdir
from functools import partial
from importlib.util import find_spec
from typing import Any

import anyio
import polars as pl
import psutil

from sentrio import AsyncCheckpointRunner, Checkpoint, CheckpointPool, CheckpointResult, run_checkpoints_parallel
from sentrio.async_core.threads import call_sync
from sentrio.validation.plan import Plan
from sentrio.validation.run import Validation
from sentrio.validation.sources.files import make_source
from sentrio.validation.validators import make_validator

GOOD = pl.DataFrame({"a": [1, 2, 3]})
BAD = pl.DataFrame({"a": [1, None, 3]})


async def act(result: CheckpointResult) -> None:
    pass


def checkpoint(frame: pl.DataFrame) -> Checkpoint:
    return Checkpoint("c", frame, ["not_null"], actions=[act])


def query() -> pl.DataFrame:
    return GOOD.select(pl.len().alias("rows"), pl.col("a").null_count())


def lazy_query() -> pl.DataFrame:
    return GOOD.lazy().select(pl.len().alias("rows"), pl.col("a").null_count()).collect()


async def with_pool(frame: pl.DataFrame, runs: int) -> None:
    async with CheckpointPool(workers=10) as pool:
        await pool.submit_many([checkpoint(frame)] * runs)


async def with_runner(frame: pl.DataFrame, runs: int) -> None:
    async with AsyncCheckpointRunner(max_concurrent_checkpoints=10) as runner:
        one = checkpoint(frame)
        for _ in range(runs):
            await runner.run_once_async(one)


async def in_parallel(frame: pl.DataFrame, runs: int) -> None:
    await run_checkpoints_parallel([checkpoint(frame)] * runs, max_concurrent=10)


async def alone(frame: pl.DataFrame, runs: int) -> None:
    one = checkpoint(frame)
    for _ in range(runs):
        await one.run_async()


async def bare_query(runs: int) -> None:
    for _ in range(runs):
        query()
        await anyio.lowlevel.checkpoint()


async def bare_hop(runs: int) -> None:
    for _ in range(runs):
        await call_sync(lazy_query)


async def without_action(frame: pl.DataFrame, runs: int) -> None:
    one = Checkpoint("c", frame, ["not_null"])
    for _ in range(runs):
        await one.run_async()


async def validation_alone(frame: pl.DataFrame, runs: int) -> None:
    validators, plans = [make_validator("not_null")], dict[Any, Plan]()
    for _ in range(runs):
        validation = Validation(make_source(frame), validators, plans=plans)
        await validation.run()
        validation.report()


async def with_truthound(runs: int, *, files: bool) -> None:
    from truthound.checkpoint.async_checkpoint import AsyncCheckpoint
    from truthound.checkpoint.async_runner import run_checkpoints_parallel as parallel

    # Its project, the folder that it runs in, says whether it writes what it found, once as JSON and once as HTML.
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        project = anyio.Path("truthound.yaml")
        await project.write_text(f"persist_runs: {files}\npersist_docs: {files}\n".lower())
        given = [AsyncCheckpoint(name=f"c{number}", data_source=GOOD, validators=["null"]) for number in range(runs)]
        await parallel(given, max_concurrent=10)


def subjects(backend: str) -> dict[str, Callable[[int], Awaitable[None]]]:
    found: dict[str, Callable[[int], Awaitable[None]]] = {
        "bare Polars select": bare_query,
        "bare thread hop, lazy collect": bare_hop,
        "validation alone, passing": lambda runs: validation_alone(GOOD, runs),
        "run_async without action, passing": lambda runs: without_action(GOOD, runs),
        "run_async, passing": lambda runs: alone(GOOD, runs),
        "pool, passing": lambda runs: with_pool(GOOD, runs),
        "runner, passing": lambda runs: with_runner(GOOD, runs),
        "run_checkpoints_parallel, passing": lambda runs: in_parallel(GOOD, runs),
        "validation alone, failing": lambda runs: validation_alone(BAD, runs),
        "run_async, failing": lambda runs: alone(BAD, runs),
        "pool, failing": lambda runs: with_pool(BAD, runs),
        "runner, failing": lambda runs: with_runner(BAD, runs),
        "run_checkpoints_parallel, failing": lambda runs: in_parallel(BAD, runs),
    }
    if backend == "asyncio" and find_spec("truthound"):
        found["truthound, parallel, with its files"] = partial(with_truthound, files=True)
        found["truthound, parallel, no files"] = partial(with_truthound, files=False)
    return found


async def rates(backend: str, runs: int, rounds: int) -> None:
    every = subjects(backend)
    wall: dict[str, list[float]] = {name: [] for name in every}
    cpu: dict[str, list[float]] = {name: [] for name in every}
    for turn in range(rounds + 1):
        for name, subject in every.items():
            count = min(runs, 300) if name.startswith("truthound") else runs
            gc.collect()
            begun, spent = time.perf_counter(), time.process_time()
            await subject(count)
            if turn:  # the first one warms up
                wall[name].append(count / (time.perf_counter() - begun))
                cpu[name].append(count / (time.process_time() - spent))
    hop = statistics.median(wall["bare thread hop, lazy collect"])
    print(f"\n{backend}: {runs} runs, median of {rounds} rounds in turns")
    print(f"{'':36} {'runs/s':>9} {'us/run':>8} {'CPU us':>8} {'of the hop':>11}")
    for name in every:
        rate, of_cpu = statistics.median(wall[name]), statistics.median(cpu[name])
        print(f"{name:36} {rate:9,.0f} {1e6 / rate:8.0f} {1e6 / of_cpu:8.0f} {rate / hop:11.2f}")
    took = {name: 1e6 / statistics.median(wall[name]) for name in every}
    steps = {
        "the select itself": took["bare Polars select"],
        "plan, states, report": took["validation alone, passing"] - took["bare Polars select"],
        "checkpoint, result": took["run_async without action, passing"] - took["validation alone, passing"],
        "one action": took["run_async, passing"] - took["run_async without action, passing"],
        "a pool's slot": took["pool, passing"] - took["run_async, passing"],
        "a failing check and its sample": took["run_async, failing"] - took["run_async, passing"],
    }
    print("what a run costs: " + "; ".join(f"{what} {cost:.0f} us" for what, cost in steps.items()))


async def soak(backend: str, runs: int) -> None:
    process = psutil.Process()

    async def watch(name: str, subject: Callable[[pl.DataFrame, int], Awaitable[Any]]) -> None:
        await subject(GOOD, 2000)
        gc.collect()
        memory, threads = process.memory_info().rss, process.num_threads()
        most = threads
        for _ in range(10):
            await subject(GOOD, runs // 10)
            most = max(most, process.num_threads())
        gc.collect()
        grown = (process.memory_info().rss - memory) / 2**20
        tasks = len(anyio.get_running_tasks())
        print(
            f"{backend} {name:8} {runs:,} runs: memory {grown:+.1f} MiB, threads {threads} -> {most}, tasks {tasks}"
        )

    await watch("pool", with_pool)
    await watch("runner", with_runner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--soak", type=int, default=0, metavar="RUNS", help="look for leaks instead")
    given = parser.parse_args()
    logging.getLogger("sentrio").setLevel(logging.ERROR)  # nobody reads the runner's results here, and it says so
    for backend in ("asyncio", "trio"):
        if given.soak:
            anyio.run(soak, backend, given.soak, backend=backend)
        else:
            anyio.run(rates, backend, given.runs, given.rounds, backend=backend)


if __name__ == "__main__":
    main()
