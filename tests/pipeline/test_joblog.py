"""The job log outlives the process that writes it."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from sentrio.errors import JobLogError, OptionValueError
from sentrio.pipeline import AsyncPipelineExecutor, SiteResult, SiteStatus, joblog
from sentrio.pipeline.joblog import JobLog, read_results


def executor(command: Any, path: Path, **options: Any) -> AsyncPipelineExecutor:
    return AsyncPipelineExecutor({"command": command, "retry_count": 1, "job_log": path / "jobs", **options})


async def test_a_killed_executor_goes_on_where_it_was(tmp_path: Path) -> None:
    """Each site notes that it has run before it ends: none may be there twice but those that ran at the kill."""
    sites = [f"site {number}" for number in range(30)]
    # The later ones wait, so that the run can not end before it is killed.
    program = 'sleep 0.05; case "$1" in *1?|*2?) until test -e go; do sleep 0.02; done;; esac; echo "$1" >> done'
    command = ["sh", "-c", program, "-", "{site}"]
    config = {"command": command, "cwd": str(tmp_path), "job_log": str(tmp_path / "jobs"), "max_concurrent_sites": 2}
    program = (
        "import anyio, sys, json\n"
        "from sentrio.pipeline import AsyncPipelineExecutor\n"
        "config, sites = json.loads(sys.argv[1])\n"
        "anyio.run(AsyncPipelineExecutor(config).run_all_async, sites)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, json.dumps([config, sites])])  # noqa: ASYNC220
    done = tmp_path / "done"
    deadline = time.monotonic() + 60
    while (not done.exists() or len(done.read_text().splitlines()) < 8) and time.monotonic() < deadline:
        time.sleep(0.01)  # noqa: ASYNC251  # nothing else runs here
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / "go").touch()  # what ran is nobody's child now, and ends by itself
    finished = set(read_results(tmp_path / "jobs"))
    assert 0 < len(finished) < len(sites)

    results = await AsyncPipelineExecutor(config).resume(sites)
    assert [result.site for result in results] == sites
    assert all(result.success for result in results)
    ran = done.read_text().splitlines()
    assert set(ran) == set(sites)
    assert all(ran.count(site) == 1 for site in finished)
    # The lines of those that had ended may not have been on the disk yet; no more than twelve had begun.
    assert len(ran) <= len(sites) + 12


async def test_resume_and_retry_failed(tmp_path: Path) -> None:
    calls: list[str] = []
    bad = {"b", "d"}

    def site(name: str) -> bool:
        calls.append(name)
        return name not in bad

    made = executor(site, tmp_path, max_concurrent_sites=1)
    await made.run_all_async(["a", "b"])
    calls.clear()
    results = await made.resume(["a", "b", "c", "d"])
    assert calls == ["c", "d"]
    assert [result.success for result in results] == [True, False, True, False]

    calls.clear()
    bad.clear()
    assert [(each.site, each.success) for each in await made.retry_failed()] == [("b", True), ("d", True)]
    assert calls == ["b", "d"]
    calls.clear()
    assert len(await made.retry_failed(["a", "e"])) == 2
    assert calls == ["e"]


async def test_a_new_run_forgets_the_one_before(tmp_path: Path) -> None:
    made = executor(lambda _: None, tmp_path)
    await made.run_all_async(["a"])
    await made.run_all_async(["b"])
    assert list(read_results(tmp_path / "jobs")) == ["b"]


async def test_who_retries_hears_of_sites_that_have_not_finished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = executor(lambda name: name != "bad", tmp_path, halt="now,fail=1", max_concurrent_sites=1)
    await made.run_all_async(["bad", "one", "two"])
    caplog.clear()
    with caplog.at_level(logging.WARNING, "sentrio.pipeline"):
        assert [each.site for each in await made.retry_failed()] == ["bad"]
        assert "2 of the last run's 3 sites have not finished" in caplog.text
        await executor(lambda _: None, tmp_path).resume(["bad", "one", "two"])
        caplog.clear()
        await made.retry_failed()
        assert "have not finished" not in caplog.text


async def test_a_torn_line_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    made = executor(lambda _: None, tmp_path)
    await made.run_all_async(["a"])
    with (tmp_path / "jobs").open("a") as file:
        file.write('{"site": "b", "status": "succ')
    assert list(read_results(tmp_path / "jobs")) == ["a"]
    await made.resume(["a", "b"])
    assert list(read_results(tmp_path / "jobs")) == ["a", "b"]


async def test_sites_that_a_halt_cancelled_run_when_it_goes_on(tmp_path: Path) -> None:
    made = executor(lambda name: name != "bad", tmp_path, halt="now,fail=1", max_concurrent_sites=1)
    await made.run_all_async(["bad", "good"])
    assert list(read_results(tmp_path / "jobs")) == ["bad"]
    assert [each.status for each in await made.resume(["bad", "good"])] == [SiteStatus.FAILED, SiteStatus.SUCCESS]


async def test_faults_have_names(tmp_path: Path) -> None:
    made = executor(lambda _: None, tmp_path)
    with JobLog.opened(tmp_path / "jobs"), pytest.raises(JobLogError, match="another run is writing"):
        await made.run_all_async(["a"])
    for line in (
        "not json",
        "[1]",
        "3",
        "{}",
        '{"site": "a", "status": "good"}',
        '{"site": "a", "status": "failed", "checkpoint": {}}',
        '"begin"',
        '{"site": ["a"], "status": "failed"}',
        '{"site": 5, "status": "failed"}',
        '{"site": "a", "status": "failed", "attempts": "2"}',
        '{"site": "a", "status": "failed", "duration_ms": null}',
        '{"site": "a", "status": "failed", "duration_ms": NaN}',
        '{"site": "a", "status": "failed", "error": 5}',
        "[" * 100_000,
    ):
        (tmp_path / "jobs").write_text(f"{line}\n")
        with pytest.raises(JobLogError, match="line 1 is no record"):
            await made.resume(["a"])
    (tmp_path / "jobs").unlink()
    (tmp_path / "jobs").mkdir()
    for func in (made.run_all_async, made.resume):
        with pytest.raises(JobLogError, match="Is a directory"):
            await func(["a"])
    with pytest.raises(OptionValueError, match="job_log is not set"):
        await AsyncPipelineExecutor({"command": ["true"]}).resume(["a"])


async def test_a_disk_that_is_full_is_an_error_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting: Callable[[str], list[str]]
) -> None:
    def full(self: JobLog, lines: bytes) -> None:
        if b"begin" not in lines:
            raise JobLogError("jobs", "it can not be written: No space left on device")

    monkeypatch.setattr(JobLog, "_append", full)
    made = executor(counting(""), tmp_path)
    with pytest.raises(JobLogError, match="No space left"):
        await made.run_detailed(["a", "b"])
    with pytest.raises(JobLogError, match="No space left"):
        await made.run_with_progress(["a", "b"])
    with pytest.raises(JobLogError, match="No space left"):
        _ = [result async for result in made.iter_results(["a", "b"])]


async def test_lines_that_went_down_together_are_all_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line is being written when two more come; these share a trip, and it fails."""
    import threading

    begun, may_fail, wrong = threading.Event(), threading.Event(), list[str]()

    def append(self: JobLog, lines: bytes) -> None:
        if b"first" in lines:
            begun.set()
            may_fail.wait(20)
        else:
            raise JobLogError("jobs", "it can not be written: No space left on device")

    async def write(log: JobLog, site: str) -> None:
        try:
            await log.write(SiteResult(site=site, status=SiteStatus.SUCCESS))
        except JobLogError:
            wrong.append(site)

    monkeypatch.setattr(JobLog, "_append", append)
    with JobLog.opened(tmp_path / "jobs") as log:
        async with anyio.create_task_group() as tg:
            tg.start_soon(write, log, "first")
            await anyio.to_thread.run_sync(begun.wait, 20)
            tg.start_soon(write, log, "second")
            tg.start_soon(write, log, "third")
            await anyio.wait_all_tasks_blocked()
            may_fail.set()
        await write(log, "fourth")
    assert sorted(wrong) == ["fourth", "second", "third"]


async def test_a_disk_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()

    def hangs(self: JobLog, lines: bytes) -> None:
        release.wait(30)

    monkeypatch.setattr(joblog, "_WRITE_SECONDS", 0.1)
    monkeypatch.setattr(JobLog, "_append", hangs)
    try:
        with (
            JobLog.opened(tmp_path / "jobs") as log,
            pytest.raises(JobLogError, match=r"not be written within 0\.1 s"),
        ):
            await log.write(SiteResult(site="a", status=SiteStatus.SUCCESS))
    finally:
        release.set()


def test_a_long_torn_line_and_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / "jobs").write_text('{"begin": "x"}\n' + "x" * 200_000)
    with JobLog.opened(tmp_path / "jobs"):
        pass
    assert (tmp_path / "jobs").read_text() == '{"begin": "x"}\n'
    (tmp_path / "jobs").write_text("x" * 200_000)
    with JobLog.opened(tmp_path / "jobs"):
        pass
    assert (tmp_path / "jobs").read_text() == ""


def test_a_full_device(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no device that is always full")
    (tmp_path / "jobs").symlink_to("/dev/full")
    with pytest.raises(JobLogError, match="it can not be written: No space left on device"):
        with JobLog.opened(tmp_path / "jobs", begin=1):
            pass
