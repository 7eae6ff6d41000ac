"""What is left of commands after timeouts and cancellations, and how sites reach them."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import pytest

from sentrio.pipeline import AsyncPipelineExecutor, process
from sentrio.pipeline.process import log_name
from sentrio.testing import Backend, cancel_everywhere

pytestmark = pytest.mark.endurance

Marked = Callable[[], list[int]]

# A child and a grandchild that do not end when they are asked to, and say when they are ready.
STUBBORN = "trap '' TERM; (trap '' TERM; while :; do sleep 0.2; done) & echo ready; while :; do sleep 0.2; done"


def executor(command: Any, **options: Any) -> AsyncPipelineExecutor:
    return AsyncPipelineExecutor({"command": command, "retry_count": 1, **options})


async def test_c5_a_timeout_ends_those_who_will_not(marked: Marked) -> None:
    made = executor(["sh", "-c", STUBBORN], timeout=3.0, kill_grace_seconds=0.5)
    with anyio.fail_after(60):  # benchmarks/pipeline.py has the figure
        results = await made.run_detailed(["a", "b"])
    assert marked() == []
    assert [(each.status, each.exit_code) for each in results] == [("timed_out", None)] * 2
    assert results[0].output_tail == "ready"


async def test_c6_a_cancellation_ends_those_who_will_not(marked: Marked) -> None:
    made = executor(["sh", "-c", STUBBORN], kill_grace_seconds=0.5)
    async with anyio.create_task_group() as tg:
        tg.start_soon(made.run_all_async, ["a", "b", "c"])
        with anyio.fail_after(60):
            while len(marked()) < 6:
                await anyio.sleep(0.05)
        tg.cancel_scope.cancel()
        begun = time.monotonic()
    assert marked() == []
    assert time.monotonic() - begun < 30


async def test_one_who_ends_when_asked_is_not_killed() -> None:
    command = ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"]
    (result,) = await executor(command, timeout=3, kill_grace_seconds=30).run_detailed(["a"])
    lines = result.output_tail.splitlines()
    assert (lines[0], lines[-1]) == ("ready", "bye")
    assert result.status == "timed_out"


async def test_a_grandchild_that_holds_the_output_ends_with_its_parent(marked: Marked) -> None:
    begun = time.monotonic()
    (result,) = await executor(["sh", "-c", "sleep 60 & echo done"]).run_detailed(["a"])
    assert (result.success, result.output_tail) == (True, "done")
    assert marked() == []
    assert time.monotonic() - begun < 50


async def test_a_daemon_that_holds_the_output_does_not_hang_us() -> None:
    begun = time.monotonic()
    (result,) = await executor(["sh", "-c", "setsid sleep 40 & echo done"]).run_detailed(["a"])
    assert (result.success, result.output_tail) == (True, "done")
    assert time.monotonic() - begun < 30


async def test_many_sites_leave_nothing_behind(large_counts: int) -> None:
    made = executor(["true"], max_concurrent_sites=50)
    await made.run_all_async(map(str, range(50)))  # what is made once is there now
    own = psutil.Process()
    files, children = own.num_fds(), len(own.children())
    results = await made.run_all_async([str(number) for number in range(100 * large_counts)])
    assert all(results.values())
    assert own.num_fds() <= files
    assert len(own.children()) <= children  # the dead that nobody buried count as well


async def test_much_output_is_drained_and_its_end_is_kept() -> None:
    program = "import sys; [print('x' * 1000) for _ in range(20_000)]; print('end', file=sys.stderr)"
    (result,) = await executor([sys.executable, "-c", program], tail_lines=2).run_detailed(["a"])
    assert result.success
    assert "end" in result.output_tail
    assert len(result.output_tail) < 20_000


SITES = [
    "with space", "'single' \"double\"", "a;touch owned", "$(touch owned)", "`touch owned`", "two\nlines", "-n", "--help",
    "ünïcödé 🙂", "../../etc/passwd", "/", ".", "", "{site}", "%s", "A", "a", "x" * 10_000,
]  # fmt: skip


async def test_any_name_is_one_argument_and_a_safe_file(tmp_path: Path) -> None:
    program = "import sys, hashlib; print(len(sys.argv), hashlib.sha256(sys.argv[1].encode()).hexdigest())"
    made = executor([sys.executable, "-c", program, "{site}"], log_dir=tmp_path / "logs", cwd=tmp_path)
    results = await made.run_detailed(SITES)
    for site, result in zip(SITES, results, strict=True):
        assert result.output_tail == f"2 {hashlib.sha256(site.encode()).hexdigest()}"
        assert result.log_file is not None
        log = anyio.Path(result.log_file)
        assert (await log.read_text()).strip() == result.output_tail
        assert log.parent == anyio.Path(tmp_path / "logs")
    assert len({str(result.log_file).lower() for result in results}) == len(SITES)
    assert [each.name async for each in anyio.Path(tmp_path).iterdir()] == ["logs"]


def test_log_names_are_plain() -> None:
    for site in SITES:
        name = log_name(site)
        assert name.isascii()
        assert len(name) < 100
        assert not set(name) & set("/\\ ;$'\"\n")
        assert name[0] not in "-."


async def test_a_log_holds_every_attempt_and_no_earlier_run(
    tmp_path: Path, counting: Callable[[str], list[str]]
) -> None:
    made = executor(
        counting("print('x' * 99_999 + str(attempt)); sys.exit(attempt % 2)"),
        log_dir=tmp_path, retry_count=2, retry_delay_seconds=0,
    )  # fmt: skip
    for first in (1, 3):
        (result,) = await made.run_detailed(["a"])
        text = await anyio.Path(str(result.log_file)).read_text()
        assert text == "".join("x" * 99_999 + f"{number}\n" for number in (first, first + 1))


def few(backend: Backend, *sites: str) -> list[str]:
    """Fewer sites on uvloop, which forks the process of the tests for each: ten times the work of elsewhere."""
    return list(sites[: 1 if backend == "uvloop" else None])


@pytest.mark.parametrize("options", [{}, {"log": True}], ids=["pipes", "files"])
def test_cancel_everywhere_leaves_no_process(
    backend: Backend, marked: Marked, tmp_path: Path, options: dict[str, Any]
) -> None:
    if options:
        options = {"log_dir": tmp_path, "job_log": tmp_path / "jobs"}
    sites = few(backend, "a", "b", "c") if options else ["a", "b", "c"]
    made = executor(
        ["sh", "-c", "sleep 0.01 & echo x; wait"], max_concurrent_sites=2, kill_grace_seconds=1, **options
    )

    def none_left() -> None:
        assert marked() == []

    cancel_everywhere(lambda: made.run_all_async(sites), backend=backend, check=none_left)


def test_cancel_everywhere_with_progress_and_job_log(backend: Backend, marked: Marked, tmp_path: Path) -> None:
    made = executor(
        ["sh", "-c", "exit 3"],
        max_concurrent_sites=2,
        retry_count=2,
        retry_delay_seconds=0,
        job_log=tmp_path / "jobs",
    )

    async def slow(*_: object) -> None:
        await anyio.lowlevel.checkpoint()

    sites = few(backend, "a", "b")

    async def main() -> None:
        await made.run_detailed(sites, slow, on_attempt=lambda _: None)
        await made.resume(sites, slow)

    def none_left() -> None:
        assert marked() == []

    cancel_everywhere(main, backend=backend, check=none_left)


def test_cancel_everywhere_while_iterating(backend: Backend, marked: Marked) -> None:
    made = executor(["true"], max_concurrent_sites=2)

    async def iterate() -> None:
        async with made.iter_results(few(backend, "a", "b", "c")) as results:
            async for _ in results:
                await anyio.lowlevel.checkpoint()

    def none_left() -> None:
        assert marked() == []

    cancel_everywhere(iterate, backend=backend, check=none_left)


async def test_leaving_the_loop_early_ends_what_runs(marked: Marked) -> None:
    command = ["sh", "-c", 'case "$1" in quick) ;; *) sleep 60;; esac', "-", "{site}"]
    async with executor(command).iter_results(["slow", "quick", "slower"]) as results:
        async for result in results:
            assert result.site == "quick"
            break
    assert marked() == []


async def test_a_system_without_process_groups(monkeypatch: pytest.MonkeyPatch, marked: Marked) -> None:
    """There, only the command itself is ended."""
    monkeypatch.setattr(process, "_HAS_GROUPS", False)
    stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]
    (result,) = await executor(stubborn, timeout=0.3, kill_grace_seconds=0.2).run_detailed(["a"])
    assert result.status == "timed_out"
    (result,) = await executor(["sleep", "60"], timeout=0.1, kill_grace_seconds=20).run_detailed(["a"])
    assert result.status == "timed_out"
    (result,) = await executor(["sh", "-c", "exit 3"]).run_detailed(["a"])
    assert result.exit_code == 3
    with anyio.fail_after(60):
        while marked():  # the shell's last `sleep`, which nobody ends here
            await anyio.sleep(0.05)


async def test_a_system_that_does_not_tell_the_states_of_processes(
    monkeypatch: pytest.MonkeyPatch, marked: Marked
) -> None:
    monkeypatch.setattr(process, "_states", lambda _: iter(()))
    (result,) = await executor(["sh", "-c", STUBBORN], timeout=0.5, kill_grace_seconds=0.2).run_detailed(["a"])
    assert result.status == "timed_out"
    with anyio.fail_after(60):
        while marked():
            await anyio.sleep(0.05)


async def test_a_log_that_can_not_be_written_fails_the_site(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (result,) = await executor(["true"], log_dir=tmp_path / "file").run_detailed(["a"])
    assert result.status == "failed"
    assert result.error in {f"{tmp_path / 'file'}: File exists", f"{tmp_path / 'file'}: Not a directory"}


async def test_results_that_nobody_asked_for(marked: Marked) -> None:
    results = executor(["sleep", "60"]).iter_results(["a", "b"])
    await results.aclose()  # before it began
    assert [each async for each in results] == []
    async with executor(["true"]).iter_results(["a"]) as results:
        assert [each.site async for each in results] == ["a"]
        assert [each.site async for each in results] == []
    assert marked() == []
