"""What goes wrong elsewhere when many checkpoints run, tried here: a test for each that no other file has."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import polars as pl
import psutil
import pytest
from tests.async_core._moments import cancelled_when, until
from tests.checkpoint._running import FRAME, checkpoint

import sentrio
from sentrio import Checkpoint, CheckpointResult
from sentrio.async_core.threads import thread_statistics
from sentrio.checkpoint.pool import CheckpointPool, run_checkpoints_parallel
from sentrio.checkpoint.runner import AsyncCheckpointRunner, run_checkpoint_async
from sentrio.errors import SentrioError
from sentrio.testing import Backend, HandTrigger


async def by_pool(many: list[Checkpoint]) -> list[CheckpointResult]:
    async with CheckpointPool(workers=3) as pool:
        return await pool.submit_many(many)


async def by_function(many: list[Checkpoint]) -> list[CheckpointResult]:
    return await run_checkpoints_parallel(many, max_concurrent=3)


async def by_runner(many: list[Checkpoint]) -> list[CheckpointResult]:
    runner = AsyncCheckpointRunner(max_concurrent_checkpoints=3)
    for each in many:
        runner.add_checkpoint(each)
    async with runner:
        return await runner.run_all_async()


WAYS = [by_pool, by_function, by_runner]


@pytest.mark.parametrize("way", WAYS)
async def test_threads_are_as_many_as_the_limit_and_not_as_the_checkpoints(
    way: Callable[[list[Checkpoint]], Awaitable[list[CheckpointResult]]], large_counts: int
) -> None:
    most = 0

    def blocking(result: CheckpointResult) -> None:
        nonlocal most
        most = max(most, thread_statistics().running)

    before = threading.active_count()
    many = [checkpoint(f"c{number}", blocking) for number in range(100 * large_counts)]
    results = await way(many)
    assert [result.checkpoint_name for result in results] == [each.name for each in many]
    assert all(result.action_results[0].status == "success" for result in results)
    assert 1 <= most <= 3
    assert threading.active_count() - before <= 3  # those are idle, and end by themselves
    assert thread_statistics().running == 0


MEMORY = """
import sys, anyio, polars as pl, psutil
from sentrio import Checkpoint, CheckpointPool

frame = pl.DataFrame({"a": [1, 2, 3]})

async def main():
    async with CheckpointPool(10) as pool:
        async def some(count):
            return await pool.submit_many(
                [Checkpoint(f"c{n}", frame, ["not_null"], actions=[lambda result: None]) for n in range(count)]
            )
        await some(100)
        before = psutil.Process().memory_info().rss
        kept = await some(int(sys.argv[1]))
        print(len(kept), (psutil.Process().memory_info().rss - before) / 2**20)

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.endurance
@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_memory_stays_small_although_the_results_are_kept(name: str, large_counts: int) -> None:
    count = min(500 * large_counts, 3000)
    words = in_a_fresh_process(MEMORY, str(count), name).split()
    assert int(words[0]) == count
    assert float(words[1]) < 50  # MB; about 0.26 for each checkpoint would be 130 for 500


def in_a_fresh_process(program: str, *words: str) -> str:
    command = [sys.executable, "-W", "error", "-X", "utf8", "-c", textwrap.dedent(program), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


FIRST_RUNS = """
import sys, anyio, polars as pl
from sentrio import Checkpoint, CheckpointPool

frame = pl.DataFrame({"id": range(50), "amount": [1.5] * 50, "text": ["a@example.com"] * 50})
entries = [
    "not_null", {"unique": {"column": "id"}}, "range", "distribution", {"mean": {"min": 0}}, {"format": {"column": "text", "kind": "email"}},
    {"regex": {"column": "text", "pattern": "@"}},
]
path = sys.argv[2]
frame.write_csv(f"{path}/data.csv")
frame.write_parquet(f"{path}/data.parquet")
sources = [frame, f"{path}/data.csv", f"{path}/data.parquet", {"path": f"{path}/data.csv", "encoding": "latin-1"}]

def blocking(result):
    import json, html, http.client  # what people's actions do

async def main():
    many = [
        Checkpoint(f"c{n}", sources[n % 4], entries, [blocking, {"store": {"path": f"{path}/stored"}}])
        for n in range(40)
    ]
    async with CheckpointPool(20) as pool:
        for result in await pool.submit_many(many):
            assert result.status == "success", result.explain()
            assert [done.status for done in result.action_results] == ["success"] * 2, result.action_results

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.endurance
@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_twenty_first_runs_at_once_do_not_import_each_other_into_a_deadlock(
    name: str, tmp_path: Path, large_counts: int
) -> None:
    for attempt in range(large_counts):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        in_a_fresh_process(FIRST_RUNS, name, str(folder))
        assert len(sentrio.load_results(folder / "stored")) == 40


FIRST_CALLS = """
import sys, threading, polars as pl
import sentrio

frame = pl.DataFrame({"a": [1, None]})
together = threading.Barrier(20)
answers = []

def call():
    together.wait()
    answers.append(str(sentrio.check(frame, ["not_null", "unique"]).status))

threads = [threading.Thread(target=call) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert answers == ["failure"] * 20, answers
"""


@pytest.mark.endurance
def test_first_calls_from_twenty_threads_at_once() -> None:
    in_a_fresh_process(FIRST_CALLS)


WRITER = """
import sys, anyio, polars as pl
from sentrio import Checkpoint, run_checkpoints_parallel

frame = pl.DataFrame({"a": [1, 2, 3]})
many = [Checkpoint("same name", frame, ["not_null"], [{"store": {"path": sys.argv[1]}}]) for _ in range(25)]

async def main():
    for result in await run_checkpoints_parallel(many, 20):
        assert result.action_results[0].status == "success", result.action_results

anyio.run(main)
"""


@pytest.mark.endurance
def test_several_processes_write_to_one_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "stored")]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        _, problem = writer.communicate(timeout=100)
        assert writer.returncode == 0, problem
    results = sentrio.load_results(tmp_path / "stored")
    assert len({result.run_id for result in results}) == 75
    assert len(list((tmp_path / "stored").iterdir())) == 75  # nothing half-written beside them


async def test_a_result_that_can_not_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "stored").write_text("a file where the folder should be")
    result = await checkpoint("c", {"store": {"path": tmp_path / "stored"}}).run_async()
    (done,) = result.action_results
    assert (result.status, done.status) == ("success", "error")
    assert "stored" in str(done.error)


async def test_the_loop_goes_on_while_data_are_read(large_file: Path) -> None:
    ticks = 0
    rules = [{"regex": {"column": "text", "pattern": "@"}}]

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.001)
            ticks += 1

    async with anyio.create_task_group() as tg:
        tg.start_soon(tick)
        assert await Checkpoint("large", large_file, rules, morsel_rows=100_000).run_async()
        tg.cancel_scope.cancel()
    assert ticks > 5


async def test_a_job_whose_submitter_has_gone_is_dropped_and_the_pool_keeps_its_workers() -> None:
    ran: list[str] = []
    opened = anyio.Event()

    async def act(result: CheckpointResult) -> None:
        ran.append(result.checkpoint_name)
        if result.checkpoint_name == "first":
            await opened.wait()

    async with CheckpointPool(workers=1) as pool, anyio.create_task_group() as tg:
        tg.start_soon(pool.submit, checkpoint("first", act))
        await until(lambda: ran)
        for _ in range(5):
            async with cancelled_when(lambda: until(lambda: pool.statistics().waiting)) as scope:
                await pool.submit(checkpoint("queued", act))
            assert scope.cancelled_caught
        assert pool.statistics().waiting == 0
        opened.set()
        assert (await pool.submit(checkpoint("last", act))).passed
    assert ran == ["first", "last"]


async def test_a_callback_of_parallel_runs_that_raises_keeps_the_results(caplog: pytest.LogCaptureFixture) -> None:
    def raises(result: CheckpointResult) -> None:
        raise LookupError(result.checkpoint_name)

    given = [checkpoint("a", on_complete=raises), checkpoint("b")]
    results = await run_checkpoints_parallel(given, on_complete=raises)
    assert [(each.status, bool(each.run_id)) for each in results] == [("success", True)] * 2
    assert caplog.text.count("LookupError: ") == 3


LEAVES = """
import sys, time, anyio
from sentrio import Checkpoint, CheckpointPool

async def main():
    entries = ["not_null", {"unique": {"column": "text"}}, {"regex": {"column": "text", "pattern": "^([0-9]+)+@(e|x)+$"}}]
    async with CheckpointPool(3) as pool:
        with anyio.move_on_after(0.3):
            await pool.submit_many([Checkpoint(f"c{n}", sys.argv[2], entries) for n in range(3)])
    await anyio.sleep(0.5)
    used = time.process_time()
    await anyio.sleep(0.5)
    print(time.process_time() - used, pool.statistics().running)
    print(time.time())

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.endurance
@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_a_process_whose_runs_were_cancelled_is_idle_and_ends(name: str, large_file: Path) -> None:
    used, running, ended = in_a_fresh_process(LEAVES, name, str(large_file)).split()
    assert float(used) < 0.25
    assert running == "0"
    assert time.time() - float(ended) < 10


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        ("sequential", ["0", "/0", "1", "/1", "2", "/2"]),
        ({"pipeline": {"stages": [[2], [1], [0]]}}, ["2", "/2", "1", "/1", "0", "/0"]),
        ({"concurrent": {"max_concurrency": 1}}, ["0", "/0", "1", "/1", "2", "/2"]),
    ],
)
async def test_a_checkpoint_keeps_to_the_strategy_that_it_was_given(strategy: Any, order: list[str]) -> None:
    seen: list[str] = []

    def action(name: str) -> Callable[[CheckpointResult], Awaitable[None]]:
        async def act(result: CheckpointResult) -> None:
            seen.append(name)
            await anyio.wait_all_tasks_blocked()
            seen.append(f"/{name}")

        return act

    given = checkpoint("c", *map(action, "012"), execution_strategy=strategy)
    result = await given.run_async()
    assert seen == order
    assert len(result.action_results) == 3


def test_after_a_loop_has_ended_and_in_any_thread_a_blocking_run_works() -> None:
    async def nothing() -> None:
        await asyncio.sleep(0)

    asyncio.run(nothing())
    assert checkpoint().run().passed
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(checkpoint().run().passed))
    thread.start()
    thread.join(20)
    assert answers == [True]


def test_validators_that_can_check_nothing_are_never_a_success() -> None:
    """Bounds left out mean "finite"; a column that is not there, and data that fit no check, are errors."""
    infinite = pl.DataFrame({"a": [1.0, float("inf")]})
    assert Checkpoint("c", infinite, ["between"]).run().status == "failure"
    assert Checkpoint("c", FRAME, [{"not_null": {"columns": ["nope"]}}]).run().status == "error"
    assert Checkpoint("c", FRAME, []).run().status == "error"
    assert Checkpoint("c", FRAME, ["not_null"]).validate() == []
    with pytest.raises((SentrioError, TypeError), match="42"):
        Checkpoint("c", FRAME, [42])


def test_misspelt_options_are_type_errors() -> None:
    makers: list[Callable[[], object]] = [
        lambda: Checkpoint("c", FRAME, ["not_null"], max_concurent_actions=2),  # type: ignore[call-arg]
        lambda: Checkpoint("c", FRAME, ["not_null"], fail_onn="high"),  # type: ignore[call-arg]
        lambda: AsyncCheckpointRunner(trigger_pol_interval=1),
        lambda: CheckpointPool(worker=3),  # type: ignore[call-arg]
    ]
    for make in makers:
        with pytest.raises(TypeError, match="unknown option"):
            make()


async def test_cut_short_on_any_backend() -> None:
    """Also where the way of running is not the library's own: a bare scope of the backend round everything."""

    async def endless(result: CheckpointResult) -> None:
        await anyio.sleep_forever()

    given = checkpoint("c", endless)
    runner = AsyncCheckpointRunner().add_checkpoint(given)
    ways: list[Callable[[], Awaitable[object]]] = [
        given.run_async,
        lambda: run_checkpoint_async(given),
        lambda: run_checkpoints_parallel([given] * 3),
        lambda: runner.run_once_async("c"),
        runner.run_all_async,
    ]
    for way in ways:
        with anyio.move_on_after(0.02) as scope:
            await way()
        assert scope.cancelled_caught
    assert runner.statistics().pending_tasks == 0


async def test_a_trigger_that_raises_never_takes_its_neighbour_down(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(HandTrigger):
        def watch(self, **given: Any) -> Any:
            watch = super().watch(**given)

            async def wait() -> Any:
                await anyio.lowlevel.checkpoint()
                raise ConnectionError("no broker")

            watch.wait = wait  # type: ignore[method-assign]
            return watch

    errors: list[Exception] = []
    good = HandTrigger(missed="run_all")
    runner = AsyncCheckpointRunner(error_callback=errors.append)
    runner.add_checkpoint(checkpoint("broken", triggers=[Broken()])).add_checkpoint(
        checkpoint("good", triggers=[good])
    )
    async with runner:
        await until(lambda: errors)
        for _ in range(20):
            good.fire()
        await until(lambda: runner.statistics().completed_runs == 20)
        assert runner.statistics().running
    assert isinstance(errors[0], ConnectionError)
    assert runner.statistics().trigger_errors >= 1
    assert "trigger hand of broken raised" in caplog.text


async def test_a_blocking_action_may_submit_to_its_own_pool_from_its_thread() -> None:
    token = anyio.lowlevel.current_token()

    def act(result: CheckpointResult) -> str:
        return str(anyio.from_thread.run(pool.submit, checkpoint("inner"), token=token).status)

    async with CheckpointPool(workers=1) as pool:
        with anyio.fail_after(20):
            outer = await pool.submit(checkpoint("outer", act))
    assert outer.action_results[0].details == {"returned": "success"}


def test_runs_over_many_files_leave_none_open(backend: Backend, tmp_path: Path, large_counts: int) -> None:
    FRAME.write_parquet(tmp_path / "data.parquet")
    FRAME.write_csv(tmp_path / "data.csv")
    process = psutil.Process()

    async def main() -> None:
        for suffix in ("parquet", "csv"):
            many = [Checkpoint(f"c{n}", tmp_path / f"data.{suffix}", ["not_null"]) for n in range(50 * large_counts)]
            assert all(await run_checkpoints_parallel(many, 10))
        assert not [file for file in process.open_files() if os.fspath(tmp_path) in file.path]

    name, options = ("asyncio", {"use_uvloop": True}) if backend == "uvloop" else (backend, {})
    anyio.run(main, backend=name, backend_options=options)
