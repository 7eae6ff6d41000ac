"""Rows C1 to C10 of what goes wrong with pipelines today, and what the configuration promises."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sentrio.async_core.threads import thread_statistics
from sentrio.errors import OptionValueError, RunningLoopError, SiteFailed
from sentrio.pipeline import (
    AsyncPipelineExecutor,
    PipelineConfig,
    PipelineExecutor,
    SiteAttempt,
    SiteResult,
    SiteStatus,
    raise_for_failures,
)
from sentrio.testing import Backend

ONCE = {"retry_count": 1}


def run(backend: Backend, func: Callable[[], Any]) -> Any:
    if backend == "trio":
        return anyio.run(func, backend="trio")
    return anyio.run(func, backend="asyncio", backend_options={"use_uvloop": backend == "uvloop"})


def executor(command: Any, **options: Any) -> AsyncPipelineExecutor:
    return AsyncPipelineExecutor({"command": command, **ONCE, **options})


async def test_c1_no_pool_and_no_thread_a_site() -> None:
    before = thread_statistics()
    results = await executor(["true"]).run_all_async(["a", "b", "c"])
    assert results == {"a": True, "b": True, "c": True}
    after = thread_statistics()
    assert (after.running, after.abandoned) == (before.running, before.abandoned)
    assert after.idle <= before.idle  # those of other tests end after a while


async def test_c3_exit_code_and_last_lines_are_in_the_result() -> None:
    program = "import sys; print('\\n'.join(map(str, range(99)))); sys.exit('ImportError: no save_schema_matrix')"
    (result,) = await executor([sys.executable, "-c", program], tail_lines=3).run_detailed(["a"])
    assert (result.status, result.exit_code, result.error) == ("failed", 1, "exit code 1")
    assert sorted(result.output_tail.splitlines()) == sorted(["97", "98", "ImportError: no save_schema_matrix"])
    assert "no save_schema_matrix" in result.explain()


async def test_c4_as_wide_as_it_says() -> None:
    """Twenty at once: each waits until all twenty run."""
    running, everyone = 0, anyio.Event()

    async def site(_: str) -> None:
        nonlocal running
        running += 1
        if running == 20:
            everyone.set()
        with anyio.fail_after(20):
            await everyone.wait()

    results = await executor(site, max_concurrent_sites=20).run_all_async(list(map(str, range(20))))
    assert all(results.values())


async def test_never_more_at_once_than_the_limit() -> None:
    running = most = 0

    async def site(_: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _i in range(3):
            await anyio.lowlevel.checkpoint()
        running -= 1

    await executor(site, max_concurrent_sites=3).run_all_async(list(map(str, range(20))))
    assert most == 3


async def test_c7_one_site_that_raises_is_one_result() -> None:
    async def site(name: str) -> object:
        match name:
            case "error":
                raise ValueError("no such matrix")
            case "cancelled":
                raise anyio.get_cancelled_exc_class()("mine") if name_of_backend() == "asyncio" else OSError("x")
            case "exit":
                sys.exit(3)
            case "false":
                return False
        return None

    sites = ["good", "error", "cancelled", "exit", "false"]
    results = await executor(site).run_detailed(sites)
    assert [result.site for result in results] == sites
    assert [result.success for result in results] == [True, False, False, False, False]
    assert results[1].error == "ValueError: no such matrix"
    assert isinstance(results[1].exception, ValueError)
    assert results[4].error == "the function returned False"
    assert await executor(site).run_with_progress(sites) == {name: name == "good" for name in sites}


async def test_a_function_whose_generator_nobody_runs_is_no_success() -> None:
    results = await executor(lambda name: (each for each in name), retry_count=3).run_detailed(["a"])
    assert (results[0].status, results[0].attempts) == (SiteStatus.FAILED, 1)
    assert "the function returned a generator, of which nothing has run" in str(results[0].error)


def name_of_backend() -> str:
    loop = anyio.lowlevel.current_token().native_token
    return "asyncio" if hasattr(loop, "call_soon_threadsafe") else "trio"


async def test_a_function_that_raises_a_cancellation_of_its_own_does_not_stop_the_others() -> None:
    if name_of_backend() == "trio":
        return  # there, nobody can make one

    def site(name: str) -> None:
        if name == "b":
            raise anyio.get_cancelled_exc_class()

    async def asynchronous(name: str) -> None:
        site(name)

    for each in (site, asynchronous):
        assert await executor(each).run_all_async(["a", "b", "c"]) == {"a": True, "b": False, "c": True}


@pytest.mark.parametrize("is_async", [False, True])
async def test_c8_progress(is_async: bool) -> None:
    told: list[tuple[int, int, str, bool]] = []

    def note(done: int, total: int, result: SiteResult) -> None:
        told.append((done, total, result.site, result.success))

    async def note_later(done: int, total: int, result: SiteResult) -> None:
        await anyio.lowlevel.checkpoint()
        note(done, total, result)

    def site(name: str) -> bool:
        return name != "b"

    found = await executor(site, max_concurrent_sites=1).run_with_progress(
        ["a", "b", "c"], note_later if is_async else note
    )
    assert found == {"a": True, "b": False, "c": True}
    assert told == [(1, 3, "a", True), (2, 3, "b", False), (3, 3, "c", True)]


async def test_what_was_told_before_a_cancellation_is_all_that_was_done() -> None:
    """Two sites end while the one before is being told of: sync callbacks know of all, async ones of none half."""
    told: list[str] = []
    ended: list[str] = []

    async def site(name: str) -> None:
        if name == "c":
            await anyio.sleep_forever()

    async def tell(_done: int, _total: int, result: SiteResult) -> None:
        told.append(result.site)
        await anyio.sleep_forever()

    def note(_done: int, _total: int, result: SiteResult) -> object:
        ended.append(result.site)
        return tell(_done, _total, result)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tg:
            tg.start_soon(executor(site).run_detailed, ["a", "b", "c"], note)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert sorted(ended) == ["a", "b"]
    assert told == ended[:1]


async def test_progress_that_raises_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "sentrio.pipeline"):
        assert await executor(["true"]).run_with_progress(["a", "b"], fails) == {"a": True, "b": True}
    assert len(caplog.records) == 2
    assert caplog.records[0].exc_info


async def test_attempts_are_told(caplog: pytest.LogCaptureFixture) -> None:
    news: list[SiteAttempt] = []

    def note(each: SiteAttempt) -> None:
        news.append(each)
        raise ZeroDivisionError

    made = executor(lambda name: name != "b", max_concurrent_sites=1, retry_count=2, retry_delay_seconds=0)
    with caplog.at_level(logging.ERROR, "sentrio.pipeline"):
        await made.run_detailed(["a", "b"], on_attempt=note)
    assert news == [
        SiteAttempt(site="a", attempt=1),
        SiteAttempt(site="b", attempt=1),
        SiteAttempt(site="b", attempt=1, error="the function returned False", wait_seconds=0),
        SiteAttempt(site="b", attempt=2),
    ]
    assert len(caplog.records) == 4


async def test_progress_is_logged_unless_it_is_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sentrio.pipeline"):
        await executor(["true"]).run_all_async(["a", "b"])
        await executor(["true"], progress_reporting=False).run_all_async(["c"])
    texts = [record.getMessage() for record in caplog.records]
    assert texts == ["Progress: 1/2 sites completed", "Progress: 2/2 sites completed"]


async def test_c9_edges(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    async def site(name: str) -> None:
        calls.append(name)

    assert await executor(site).run_all_async([]) == {}
    assert await executor(site).run_detailed([]) == []
    assert await executor(site).run_with_progress([]) == {}
    assert [result async for result in executor(site).iter_results([])] == []
    with caplog.at_level(logging.WARNING, "sentrio.pipeline"):
        assert list(await executor(site).run_all_async(["b", "a", "b"])) == ["b", "a"]
    assert calls == ["b", "a"]
    assert "listed more than once, run once: b" in caplog.text
    for wrong in ("abc", 3, [1], None):
        with pytest.raises(ValueError, match="sites must be"):
            await executor(site).run_all_async(wrong)  # type: ignore[arg-type]


async def test_c9_the_wait_before_another_attempt_holds_no_slot() -> None:
    """With one slot, the second site runs while the first one waits for another attempt."""
    order: list[str] = []
    second = anyio.Event()

    async def site(name: str) -> bool:
        order.append(name)
        if name == "b":
            second.set()
        return name == "b" or second.is_set()

    made = executor(site, max_concurrent_sites=1, retry_count=2, retry_delay_seconds=0.05)
    results = await made.run_detailed(["a", "b"])
    assert order == ["a", "b", "a"]
    assert [(each.success, each.attempts) for each in results] == [(True, 2), (True, 1)]


def test_c10_one_executor_in_many_loops(backend: Backend) -> None:
    made = executor(["true"], max_concurrent_sites=1)
    for _ in range(3):
        assert run(backend, partial(made.run_all_async, ["a", "b", "c"])) == {"a": True, "b": True, "c": True}


async def test_attempts_in_all(counting: Callable[[str], list[str]]) -> None:
    made = executor(counting("sys.exit(attempt < 3)"), retry_count=3, retry_delay_seconds=0)
    (result,) = await made.run_detailed(["a"])
    assert (result.success, result.attempts, result.exit_code, result.error) == (True, 3, 0, None)
    made = executor(counting("sys.exit(7)"), retry_count=2, retry_delay_seconds=0)
    (result,) = await made.run_detailed(["b"])
    assert (result.status, result.attempts, result.exit_code) == ("failed", 2, 7)


async def test_results_are_in_the_order_of_the_sites_and_come_as_they_finish() -> None:
    first = anyio.Event()

    async def site(name: str) -> None:
        if name == "slow":
            await first.wait()
        else:
            first.set()

    made = executor(site)
    assert [result.site for result in await made.run_detailed(["slow", "quick"])] == ["slow", "quick"]
    first = anyio.Event()
    assert [result.site async for result in made.iter_results(["slow", "quick"])] == ["quick", "slow"]


async def test_a_signal_has_a_name() -> None:
    (result,) = await executor(["sh", "-c", "kill -9 $$"]).run_detailed(["a"])
    assert (result.exit_code, result.error) == (-9, "ended by signal SIGKILL")


async def test_what_can_not_be_started(tmp_path: Path) -> None:
    (result,) = await executor(["no-such-program", "secret"]).run_detailed(["a"])
    assert result.error == "'no-such-program' can not be started: No such file or directory"
    (result,) = await executor(["true"], cwd=tmp_path / "nowhere").run_detailed(["a"])
    assert result.error == f"cwd is no folder: {tmp_path / 'nowhere'}"
    (result,) = await executor(["echo", "{site}"]).run_detailed(["a\0b"])
    assert result.status == "failed"
    assert "null" in str(result.error)


async def test_environment_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    command = ["sh", "-c", 'echo "$FROM_OUTSIDE $OURS"; pwd']
    (result,) = await executor(command, env={"OURS": "2"}, cwd=tmp_path).run_detailed(["a"])
    assert result.output_tail.splitlines() == ["1 2", str(tmp_path.resolve())]


async def test_error_aggregation_off_cancels_the_rest(marked: Callable[[], list[int]]) -> None:
    command = ["sh", "-c", 'case "$1" in bad) exit 3;; *) sleep 60;; esac', "-", "{site}"]
    made = executor(command, error_aggregation=False, max_concurrent_sites=2)
    begun = time.monotonic()
    results = await made.run_detailed(["slow", "bad", "never"])
    assert time.monotonic() - begun < 40
    assert [result.status for result in results] == ["cancelled", "failed", "cancelled"]
    assert [result.attempts for result in results] == [1, 1, 0]
    assert results[2].error == "cancelled before it began: 1 failed site halted the run"
    assert marked() == []


async def test_halt_soon_lets_what_runs_finish() -> None:
    bad = anyio.Event()

    async def site(name: str) -> bool:
        if name == "slow":
            await bad.wait()
        else:
            bad.set()
        return name != "bad"

    made = executor(site, halt="soon,fail=1", max_concurrent_sites=2)
    results = await made.run_detailed(["slow", "bad", "never", "neither"])
    assert [result.status for result in results] == ["success", "failed", "cancelled", "cancelled"]


async def test_halt_counts() -> None:
    made = executor(lambda name: name == "good", halt="now,fail=2", max_concurrent_sites=1)
    results = await made.run_detailed(["bad", "good", "worse", "never"])
    assert [result.status for result in results] == ["failed", "success", "failed", "cancelled"]
    assert all(await executor(lambda _: None, halt="never").run_all_async(["a"]))


async def test_raise_for_failures() -> None:
    results = await executor(lambda name: name == "good").run_detailed(["bad", "good", "worse"])
    with pytest.raises(ExceptionGroup, match="2 of 3 sites did not succeed") as caught:
        raise_for_failures(results)
    assert all(isinstance(each, SiteFailed) for each in caught.value.exceptions)
    assert [str(each) for each in caught.value.exceptions] == [
        "bad: the function returned False",
        "worse: the function returned False",
    ]
    raise_for_failures(results[1:2])


async def test_a_function_in_a_thread_that_can_not_be_stopped() -> None:
    import threading

    release = threading.Event()
    calls: list[str] = []

    def site(name: str) -> None:
        calls.append(name)
        release.wait(30)

    made = executor(site, timeout=0.8, retry_count=3, retry_delay_seconds=0, max_concurrent_sites=1)
    try:
        stuck, behind = await made.run_detailed(["stuck", "behind"])
    finally:
        release.set()
    assert calls == ["stuck"]
    assert (stuck.status, stuck.attempts) == ("timed_out", 1)
    assert "still runs, so it is not tried again" in str(stuck.error)
    assert behind.status == "timed_out"
    assert "all threads are taken" in str(behind.error)


async def test_an_async_function_in_time() -> None:
    made = executor(lambda _: anyio.sleep(60), timeout=0.5, retry_count=2, retry_delay_seconds=0)
    (result,) = await made.run_detailed(["a"])
    assert (result.status, result.attempts, result.error) == ("timed_out", 2, "timed out after 0.5 s")


async def test_its_own_timeout_error_is_a_failure_and_not_ours() -> None:
    def site(_: str) -> None:
        raise TimeoutError("the server")

    (result,) = await executor(site).run_detailed(["a"])
    assert (result.status, result.error) == ("failed", "TimeoutError: the server")


def test_one_after_another(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRIO_BACKEND", "trio" if backend == "trio" else "asyncio")
    order: list[str] = []

    def site(name: str) -> bool:
        order.append(name)
        return order.count(name) == 2

    made = PipelineExecutor(PipelineConfig(command=site, retry_count=2, retry_delay_seconds=0.01))
    assert made.run_all(["a", "b"]) == {"a": True, "b": True}
    assert order == ["a", "a", "b", "b"]


async def test_blocking_inside_a_loop_is_an_error_that_names_the_other() -> None:
    with pytest.raises(RunningLoopError, match="run_all_async"):
        PipelineExecutor({"command": ["true"]}).run_all(["a"])


def test_result_survives_json() -> None:
    import json

    result = SiteResult(site="a\nb", status=SiteStatus.FAILED, attempts=2, error="exit code 1", exit_code=1)
    assert SiteResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert result.explain() == "'a\\nb': exit code 1 (attempt 2)"


@pytest.mark.parametrize("name", ["on_progress", "on_attempt"])
async def test_what_is_called_must_be_a_function(name: str) -> None:
    ran: list[str] = []
    made = executor(ran.append, retry_count=1)
    with pytest.raises(OptionValueError, match=f"pipeline: {name} must be a function, got 3"):
        await made.run_detailed(["a"], **{name: 3})  # type: ignore[arg-type]
    if name == "on_progress":
        with pytest.raises(OptionValueError, match="on_progress must be a function, got 3"):
            await made.run_with_progress(["a"], 3)  # type: ignore[arg-type]
    assert ran == []
