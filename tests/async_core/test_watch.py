from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from sentrio.async_core import _tracker
from sentrio.async_core._watch import FolderWatch
from sentrio.async_core.file import (
    AsyncDirectoryWatcher,
    FileChange,
    FileChangeKind,
    async_write_file,
)
from sentrio.testing import Backend, cancel_everywhere

POLLING = pytest.mark.parametrize("force_polling", [False, True], ids=["events", "polling"])


@asynccontextmanager
async def watching(folder: Path, **options: Any) -> AsyncIterator[FolderWatch]:
    options = {"poll_interval": 0.03, **options}
    async with AsyncDirectoryWatcher(folder, **options).watch() as changes:
        yield changes


async def told(changes: FolderWatch, count: int) -> list[tuple[str, str]]:
    """Return the next changes as names and kinds."""
    with anyio.fail_after(30):
        found = [await anext(changes) for _ in range(count)]
    return [(change.path.name, change.kind.value) for change in found]


async def nothing_told(changes: FolderWatch) -> None:
    with anyio.move_on_after(0.4) as scope:
        change = await anext(changes)
        pytest.fail(f"unexpected {change!r}")
    assert scope.cancelled_caught


def age(path: Path, seconds: float = 100) -> None:
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns - int(seconds * 1e9)))


@POLLING
async def test_tells_what_happens(tmp_path: Path, force_polling: bool) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "sub").mkdir()
    async with watching(tmp_path, force_polling=force_polling) as changes:
        (tmp_path / "sub" / "new").write_text("new")
        assert await told(changes, 1) == [("new", "created")]
        (tmp_path / "old").write_text("longer")
        assert await told(changes, 1) == [("old", "modified")]
        (tmp_path / "sub" / "new").unlink()
        assert await told(changes, 1) == [("new", "deleted")]
        (tmp_path / "old").rename(tmp_path / "renamed")
        assert await told(changes, 2) == [("old", "deleted"), ("renamed", "created")]
        await nothing_told(changes)


@POLLING
async def test_a_replaced_file_is_modified(tmp_path: Path, force_polling: bool) -> None:
    for name in ("renamed", "older", "atomic"):
        (tmp_path / name).write_text("old")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("new")
    async with watching(tmp_path, force_polling=force_polling) as changes:
        outside.rename(tmp_path / "renamed")
        assert await told(changes, 1) == [("renamed", "modified")]
        outside.write_text("new")
        age(outside)
        outside.rename(tmp_path / "older")
        assert await told(changes, 1) == [("older", "modified")]
        await async_write_file(tmp_path / "atomic", "new")
        assert await told(changes, 1) == [("atomic", "modified")]
        await nothing_told(changes)


@POLLING
async def test_a_changed_size_is_enough(tmp_path: Path, force_polling: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    state = path.stat()
    async with watching(tmp_path, force_polling=force_polling) as changes:
        with path.open("w") as file:
            file.write("same time, other size")
            file.flush()
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert (await told(changes, 1))[0] == ("file", "modified")
        assert path.stat().st_mtime_ns == state.st_mtime_ns


async def test_a_file_that_comes_and_goes_is_told(tmp_path: Path) -> None:
    async with watching(tmp_path, force_polling=False) as changes:
        (tmp_path / "short").write_text("")
        (tmp_path / "short").unlink()
        assert await told(changes, 2) == [("short", "created"), ("short", "deleted")]


@POLLING
async def test_folders_bring_and_take_their_files(tmp_path: Path, force_polling: bool) -> None:
    folder, outside = tmp_path / "watched", tmp_path / "outside"
    folder.mkdir()
    (outside / "deep").mkdir(parents=True)
    (outside / "a").write_text("")
    (outside / "deep" / "b").write_text("")
    async with watching(folder, force_polling=force_polling) as changes:
        outside.rename(folder / "inside")
        assert sorted(await told(changes, 2)) == [("a", "created"), ("b", "created")]
        (folder / "inside" / "deep" / "c").write_text("")
        assert await told(changes, 1) == [("c", "created")]
        shutil.rmtree(folder / "inside")
        assert sorted(await told(changes, 3)) == [("a", "deleted"), ("b", "deleted"), ("c", "deleted")]


@POLLING
async def test_a_folder_that_is_removed_with_its_files_is_told_once(tmp_path: Path, force_polling: bool) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("1")
    async with watching(tmp_path, force_polling=force_polling) as changes:
        shutil.rmtree(tmp_path / "sub")
        assert await told(changes, 1) == [("file", "deleted")]
        await nothing_told(changes)


@POLLING
@pytest.mark.parametrize("now", ["folder", "file"])
async def test_a_folder_that_another_thing_replaces_takes_its_files(
    tmp_path: Path, force_polling: bool, now: str
) -> None:
    watched, other = tmp_path / "watched", tmp_path / "other"
    (watched / "sub").mkdir(parents=True)
    (watched / "sub" / "before").write_text("1")
    other.mkdir()
    (other / "file").write_text("1")
    async with watching(watched, force_polling=force_polling) as changes:
        (watched / "sub").rename(tmp_path / "away")
        (other if now == "folder" else other / "file").rename(watched / "sub")
        name = "file" if now == "folder" else "sub"
        assert await told(changes, 2) == [("before", "deleted"), (name, "created")]


@POLLING
async def test_a_file_that_becomes_a_folder_is_deleted(tmp_path: Path, force_polling: bool) -> None:
    (tmp_path / "file").write_text("1")
    async with watching(tmp_path, force_polling=force_polling) as changes:
        (tmp_path / "file").unlink()
        (tmp_path / "file").mkdir()
        (tmp_path / "file" / "inside").write_text("1")
        assert await told(changes, 2) == [("file", "deleted"), ("inside", "created")]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes here")
@POLLING
async def test_a_name_that_is_no_text_does_not_end_the_watch(tmp_path: Path, force_polling: bool) -> None:
    async with watching(tmp_path, force_polling=force_polling) as changes:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).write_text("1")
        assert await told(changes, 1) == [("\udcff.csv", "created")]
        (tmp_path / "after").write_text("1")
        assert await told(changes, 1) == [("after", "created")]


@POLLING
async def test_patterns_and_depth(tmp_path: Path, force_polling: bool) -> None:
    (tmp_path / "sub").mkdir()
    async with watching(tmp_path, patterns=["*.csv"], recursive=False, force_polling=force_polling) as changes:
        (tmp_path / "sub" / "deep.csv").write_text("")
        (tmp_path / "other.txt").write_text("")
        (tmp_path / "a.csv").write_text("")
        assert await told(changes, 1) == [("a.csv", "created")]
        await nothing_told(changes)


@POLLING
async def test_existing_files_are_told_on_request_only(tmp_path: Path, force_polling: bool) -> None:
    (tmp_path / "old").write_text("")
    async with watching(tmp_path, force_polling=force_polling) as changes:
        await nothing_told(changes)
    async with watching(tmp_path, force_polling=force_polling, include_existing=True) as changes:
        assert await told(changes, 1) == [("old", "created")]
        await nothing_told(changes)


@POLLING
async def test_a_file_is_told_once_it_has_come_to_rest(tmp_path: Path, force_polling: bool) -> None:
    path = tmp_path / "slow"
    async with watching(tmp_path, force_polling=force_polling, stable_seconds=0.4) as changes:
        longest = 0.0

        async def write_slowly() -> None:
            nonlocal longest
            latest = anyio.current_time()
            with path.open("w") as file:
                for _ in range(8):
                    file.write("x" * 10)
                    file.flush()
                    before, latest = latest, anyio.current_time()
                    longest = max(longest, latest - before)
                    await anyio.sleep(0.1)

        async with anyio.create_task_group() as tg:
            tg.start_soon(write_slowly)
            seen = await told(changes, 1)
            size = path.stat().st_size
        assert seen == [("slow", "created")]
        if longest < 0.35:  # the machine has paused nowhere
            assert size == 80
        while size < 80:  # what came after a pause is told, too
            assert await told(changes, 1) == [("slow", "modified")]
            size = path.stat().st_size
        path.write_text("again")
        assert await told(changes, 1) == [("slow", "modified")]
        began = anyio.current_time()
        (tmp_path / "short").write_text("")
        await anyio.sleep(0.2)
        (tmp_path / "short").unlink()
        path.write_text("once more")
        await anyio.sleep(0.2)
        path.unlink()
        paused = anyio.current_time() - began > 0.5
        seen = await told(changes, 1)
        while seen[-1] != ("slow", "deleted"):
            seen += await told(changes, 1)
        assert paused or seen == [("slow", "deleted")]
        await nothing_told(changes)


async def test_changes_are_seen_at_once(tmp_path: Path) -> None:
    async with watching(tmp_path, force_polling=False) as changes:
        latencies = []
        for number in range(5):
            started = time.perf_counter()
            (tmp_path / str(number)).write_text("")
            await told(changes, 1)
            latencies.append(time.perf_counter() - started)
    assert min(latencies) < 0.9  # a pause of the machine is not the watcher's; the benchmark has the figure


async def test_a_long_wait_in_the_thread_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_tracker, "_WAIT_MS", 60_000)
    with anyio.fail_after(30):
        # A cancellation ends it ...
        async with watching(tmp_path, force_polling=False) as changes:
            with anyio.move_on_after(0.05):
                await anext(changes)
        # ... and so does a file that has come to rest, and a look that is due.
        monkeypatch.setattr(_tracker, "_RESCAN_SECONDS", 0.1)
        async with watching(tmp_path, force_polling=False, stable_seconds=0.2) as changes:
            (tmp_path / "file").write_text("content")
            assert await told(changes, 1) == [("file", "created")]
    assert "abandoned" not in caplog.text


async def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        async for _ in AsyncDirectoryWatcher(tmp_path / "missing").watch():
            pass
    assert missing.value.filename == str(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as wrong:
        async with AsyncDirectoryWatcher(tmp_path / "file").watch():
            pass
    assert wrong.value.filename == str(tmp_path / "file")


@POLLING
async def test_a_folder_that_is_removed_ends_the_watch(tmp_path: Path, force_polling: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("")
    async with watching(folder, force_polling=force_polling) as changes:
        shutil.rmtree(folder)
        assert await told(changes, 1) == [("file", "deleted")]
        with pytest.raises(FileNotFoundError, match="removed") as caught, anyio.fail_after(30):
            await anext(changes)
        assert caught.value.filename == str(folder)


@POLLING
async def test_a_folder_that_is_replaced_is_watched_on(tmp_path: Path, force_polling: bool) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (folder / "a").write_text("")
    (other / "b").write_text("")
    async with watching(folder, force_polling=force_polling) as changes:
        folder.rename(tmp_path / "away")
        other.rename(folder)
        assert sorted(await told(changes, 2)) == [("a", "deleted"), ("b", "created")]
        (folder / "c").write_text("")
        assert await told(changes, 1) == [("c", "created")]


async def test_what_the_system_does_not_tell_is_found_by_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tracker, "_RESCAN_SECONDS", 0.2)

    def deaf(self: object) -> set[object]:
        time.sleep(0.01)
        return set()

    monkeypatch.setattr(_tracker.Tracker, "_hints", deaf)
    async with watching(tmp_path, force_polling=False) as changes:
        (tmp_path / "file").write_text("")
        assert await told(changes, 1) == [("file", "created")]


async def test_a_system_that_can_watch_no_more_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **options: object) -> object:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr(_tracker, "RustNotify", fail)
    with caplog.at_level(logging.WARNING, "sentrio"):
        async with watching(tmp_path) as changes:
            (tmp_path / "file").write_text("")
            assert await told(changes, 1) == [("file", "created")]
    assert "is polled, because" in caplog.text
    assert str(tmp_path) in caplog.text


def test_network_file_systems_are_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = (
        "1 0 8:1 / / rw - ext4 /dev/x rw\n"
        "2 1 0:1 / /mnt/share rw shared:1 - nfs4 server:/ rw\n"
        "3 1 0:2 / /mnt/ssh\\040box rw - fuse.sshfs x rw\n"
        "4 2 8:2 / /mnt/share/local rw - xfs /dev/y rw\n"
    )
    monkeypatch.delenv("WATCHFILES_FORCE_POLLING", raising=False)
    monkeypatch.setattr(Path, "read_text", lambda self, **options: mounts)
    expected = {
        "/data": False,
        "/mnt/shared": False,
        "/mnt/share": True,
        "/mnt/share/a/b": True,
        "/mnt/ssh box/a": True,
        "/mnt/share/local/a": False,
    }
    assert {path: _tracker._polling_wanted(path) for path in expected} == expected
    for value, polling in (("1", True), ("false", False), ("disable", False)):
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", value)
        assert _tracker._polling_wanted("/mnt/share") is polling


@POLLING
async def test_stop_ends_every_loop(tmp_path: Path, force_polling: bool) -> None:
    watcher = AsyncDirectoryWatcher(tmp_path, poll_interval=60, force_polling=force_polling)

    async def loop(task_status: anyio.abc.TaskStatus[None]) -> None:
        async with watcher.watch() as changes:
            task_status.started()
            async for _ in changes:
                pass

    async with anyio.create_task_group() as tg:
        await tg.start(loop)
        await tg.start(loop)
        started = time.perf_counter()
        watcher.stop()
    assert time.perf_counter() - started < 20
    (tmp_path / "file").write_text("")
    async with AsyncDirectoryWatcher(tmp_path).watch() as changes:
        changes.stop()
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


async def test_a_loop_that_is_left_stops_watching(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    watcher = AsyncDirectoryWatcher(tmp_path, include_existing=True)
    async for change in watcher.watch():
        assert isinstance(change, FileChange)
        break
    assert not watcher._watches


async def test_changes_are_paths_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    async with watching(Path("link"), force_polling=False) as changes:
        (tmp_path / "real" / "file").write_text("content")
        change = await anext(changes)
    assert change.path == Path("link/file")
    assert change.kind is FileChangeKind.CREATED
    assert str(change) == os.fspath(change) == "link/file"
    with open(change) as file:  # noqa: ASYNC230, PTH123
        assert file.read() == "content"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"poll_interval": 0}, "poll_interval must be at least 0.001 seconds and finite, got 0"),
        ({"poll_interval": float("nan")}, "poll_interval .* got nan"),
        ({"stable_seconds": -1}, "stable_seconds must be at least 0 seconds and finite, got -1"),
        ({"patterns": [""]}, "a pattern must be text like"),
    ],
)
def test_refuses_values_out_of_range(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        AsyncDirectoryWatcher(".", **options)


def test_refuses_one_text_as_patterns() -> None:
    with pytest.raises(TypeError, match=r"write \['\*.csv'\]"):
        AsyncDirectoryWatcher(".", patterns="*.csv")


@POLLING
def test_nothing_is_left_when_it_is_cancelled(tmp_path: Path, backend: Backend, force_polling: bool) -> None:
    (tmp_path / "file").write_text("")

    async def operation() -> None:
        async with watching(tmp_path, force_polling=force_polling) as changes:
            (tmp_path / "file").write_text(str(time.perf_counter()))
            await anext(changes)
        async for _ in AsyncDirectoryWatcher(tmp_path, include_existing=True).watch():
            break

    cancel_everywhere(operation, backend=backend)
