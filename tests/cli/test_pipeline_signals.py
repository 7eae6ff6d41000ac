"""What is left of a pipeline that is ended from outside: nothing that runs, and what was done so far."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.endurance

# A site that will not end when it is asked to, with a child that will not either; `quick` is done at once.
CONFIG = """\
pipeline:
  command:
    - sh
    - -c
    - |
      test "$1" = quick && exit 0
      trap '' TERM INT HUP
      (trap '' TERM INT HUP; echo "$$" >> "up-$1"; while :; do sleep 0.2; done) &
      echo "$$" >> "up-$1"; while :; do sleep 0.2; done
    - "-"
    - "{site}"
  retry_count: 1
  max_concurrent_sites: 3
  kill_grace_seconds: 0.5
"""
SITES = ["quick", "slow", "slower", "slowest", "never"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """The processes below this test's folder; what is left is killed in the end."""
    (tmp_path / "sentrio.yaml").write_text(CONFIG)

    def found() -> list[int]:
        here = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(tmp_path) and process.status() != psutil.STATUS_ZOMBIE:
                    here.append(process.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return here

    yield found
    for pid in found():
        os.kill(pid, signal.SIGKILL)


def hear_signals() -> None:
    """Whoever started the tests may ignore them, as shells do for what runs in the background."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def start(tmp_path: Path, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sentrio", "pipeline", *SITES, *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    options.setdefault("preexec_fn", hear_signals)
    return subprocess.Popen(command, cwd=tmp_path, **options)


def wait_until_they_run(tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready = [path for path in tmp_path.glob("up-slow*") if len(path.read_text().splitlines()) == 2]
        if len(ready) == 3:
            return
        time.sleep(0.02)
    raise AssertionError("the sites did not begin")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_nothing_runs_on_and_what_was_done_is_told(
    tmp_path: Path, running: Callable[[], list[int]], backend: str, number: signal.Signals
) -> None:
    process = start(tmp_path, "--format", "json", "--backend", backend, "--job-log", "jobs")
    wait_until_they_run(tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert running() == []
    assert process.returncode == 128 + number
    document = json.loads(out)
    assert document["exit_code"] == 128 + number
    assert [(each["site"], each["status"], each["attempts"], each["error"]) for each in document["results"]] == [
        ("quick", "success", 1, None),
        *((site, "cancelled", 1, "interrupted while it ran") for site in ("slow", "slower", "slowest")),
        ("never", "cancelled", 0, "interrupted before it began"),
    ]
    *ran, never = document["results"]
    assert all(each["started_at"] and each["duration_ms"] > 0 for each in ran)
    assert (never["started_at"], never["duration_ms"]) == (None, 0)
    lines = err.decode().splitlines()
    (quick,) = (line for line in lines if line.startswith("["))  # maybe still on its way to the disk at the signal
    assert quick.startswith("[1/5] quick: success")
    assert [line for line in lines if line != quick] == [
        "interrupted: ending what runs (within 0.5 s)",
        "interrupted",
    ]
    assert (tmp_path / "jobs").read_text().count("\n") == 2  # only what has finished is there


def test_a_second_ctrl_c_changes_nothing(tmp_path: Path, running: Callable[[], list[int]]) -> None:
    process = start(tmp_path)
    wait_until_they_run(tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert running() == []
    assert process.returncode == 130
    assert b"1 of 5 sites succeeded, 4 cancelled" in out
    assert b"Traceback" not in err


def test_what_was_ignored_stays_ignored(tmp_path: Path, running: Callable[[], list[int]]) -> None:
    """As after ``nohup``."""
    process = start(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_until_they_run(tmp_path)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert running() == []


def test_a_reader_that_goes_away_ends_it(tmp_path: Path, running: Callable[[], list[int]]) -> None:
    """As ``| head -1`` does."""
    process = start(tmp_path, "--format", "ndjson")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(60)
    assert process.returncode == 141
    assert running() == []
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_nobody_has_to_watch(tmp_path: Path) -> None:
    (tmp_path / "sentrio.yaml").write_text("pipeline: {command: [sleep, '0.05']}")
    command = [sys.executable, "-m", "sentrio", "pipeline", "a", "b", "c", "--format", "json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert [each["status"] for each in json.loads(out)["results"]] == ["success"] * 3


def test_after_a_kill_resume_runs_what_had_not_finished(tmp_path: Path) -> None:
    """Sites note that they ran before they end; one that was finished is not run again, and none is left out."""
    sites = [f"site {number}" for number in range(30)]
    # The later ones wait, so that the run can not end before it is killed.
    program = 'sleep 0.05; case "$1" in *1?|*2?) until test -e go; do sleep 0.02; done;; esac; echo "$1" >> done'
    config = {"command": ["sh", "-c", program, "-", "{site}"], "job_log": "jobs", "max_concurrent_sites": 2}
    (tmp_path / "sentrio.yaml").write_text(json.dumps({"pipeline": config}))
    command = [sys.executable, "-m", "sentrio", "pipeline", *sites]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done, jobs = tmp_path / "done", tmp_path / "jobs"
    deadline = time.monotonic() + 60
    while (not jobs.exists() or jobs.read_text().count("\n") < 8) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    finished = {json.loads(line)["site"] for line in jobs.read_text().splitlines()[1:] if line.endswith("}")}
    assert 0 < len(finished) < len(sites)
    (tmp_path / "go").touch()  # what ran is nobody's child now, and ends by itself
    ended = subprocess.run(
        [*command, "--resume", "--format", "json"], cwd=tmp_path, capture_output=True, timeout=60, check=True
    )
    results = json.loads(ended.stdout)["results"]
    assert [each["site"] for each in results] == sites
    assert all(each["success"] for each in results)
    ran = done.read_text().splitlines()
    assert set(ran) == set(sites)
    assert all(ran.count(site) == 1 for site in finished)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_live_table_on_a_terminal_that_is_intact_afterwards(
    tmp_path: Path, running: Callable[[], list[int]], backend: str
) -> None:
    primary, secondary = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "LINES": "20", "TERM": "xterm"}
    process = start(
        tmp_path, "--backend", backend, "-v",
        stdin=secondary, stdout=secondary, stderr=secondary, start_new_session=True, env=environment,
    )  # fmt: skip
    os.close(secondary)
    seen = b""
    deadline = time.monotonic() + 60
    while b"1 of 5 sites done, 0 failed, 3 running" not in seen and time.monotonic() < deadline:
        if select.select([primary], [], [], 1)[0]:
            seen += os.read(primary, 65536)
    assert b"1 of 5 sites done, 0 failed, 3 running" in seen, seen
    wait_until_they_run(tmp_path)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            chunk = os.read(primary, 65536)
        except OSError:  # how Linux says that the other side has gone
            break
        if not chunk:
            break
        seen += chunk
    assert process.wait(60) == 130
    os.close(primary)
    assert running() == []
    assert seen.count(b"\x1b[?25l") == seen.count(b"\x1b[?25h") == 1  # the cursor is back
    assert b"slowest   attempt 1" in seen
    # The log goes above the table, in lines of its own.
    assert any(
        line.startswith(b"INFO sentrio.pipeline: Progress: 1/5")
        for line in seen.replace(b"\x1b[2K", b"\n").splitlines()
    )
    last = seen[seen.index(b"\x1b[?25h") :]
    assert b"quick" in last
    assert last.rstrip().endswith(b"1 of 5 sites succeeded, 4 cancelled\r\ninterrupted")
    assert b"Traceback" not in seen
