from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import anyio
import pytest

from sentrio.async_core.file import walk_async
from sentrio.testing import Backend, cancel_everywhere


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.csv", "b.txt", "sub/c.csv", "sub/deep/d.csv", "sub/deep/.hidden.csv", "other/e.CSV"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "link.csv").symlink_to("a.csv")
    (tmp_path / "broken.csv").symlink_to("nowhere")
    return tmp_path


async def found(root: Path, pattern: str = "*") -> set[str]:
    return {str(path.relative_to(root)) async for path in walk_async(root, pattern)}


async def test_finds_every_file_once(tree: Path) -> None:
    expected = {str(Path(folder, name).relative_to(tree)) for folder, _, files in os.walk(tree) for name in files}
    paths = [path async for path in walk_async(str(tree))]
    assert {str(path.relative_to(tree)) for path in paths} == expected
    assert len(paths) == len(expected) == 8


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", {"b.txt"}),
        ("?.csv", {"a.csv", "sub/c.csv", "sub/deep/d.csv"}),
        ("[!a].csv", {"sub/c.csv", "sub/deep/d.csv"}),
        ("sub/*.csv", {"sub/c.csv"}),
        ("deep/*", {"sub/deep/d.csv", "sub/deep/.hidden.csv"}),
        ("sub/**/d.csv", {"sub/deep/d.csv"}),
        ("sub/**/c.csv", {"sub/c.csv"}),
        ("**/a.csv", {"a.csv"}),
        ("sub/**", {"sub/c.csv", "sub/deep/d.csv", "sub/deep/.hidden.csv"}),
        ("*.none", set()),
        ("none/*", set()),
    ],
)
async def test_patterns(tree: Path, pattern: str, expected: set[str]) -> None:
    assert await found(tree, pattern) == expected


@pytest.mark.parametrize("pattern", ["", ".", "/"])
def test_refuses_patterns_of_nothing(tree: Path, pattern: str) -> None:
    with pytest.raises(ValueError, match="a pattern must be text like"):
        walk_async(tree, pattern)


async def test_many_stars_take_no_exponential_time(tmp_path: Path) -> None:
    (tmp_path / "/".join("a" * 40)).mkdir(parents=True)
    (tmp_path / "/".join("a" * 40) / "x").write_text("")
    with anyio.fail_after(30):
        assert await found(tmp_path, "**/a/" * 15 + "y") == set()


async def test_errors_name_the_folder(tree: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        await found(tree / "missing")
    assert missing.value.filename == str(tree / "missing")
    with pytest.raises(NotADirectoryError) as wrong:
        await found(tree / "a.csv")
    assert wrong.value.filename == str(tree / "a.csv")


async def test_a_folder_that_can_not_be_read_is_named_in_the_log(
    tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("deep"):
            raise PermissionError(13, "Permission denied", folder)
        if folder.endswith("other"):
            raise FileNotFoundError(2, "No such file or directory", folder)
        return scandir(folder)

    monkeypatch.setattr("os.scandir", refuse)
    with caplog.at_level(logging.WARNING, "sentrio"):
        assert await found(tree) == {"a.csv", "b.txt", "link.csv", "broken.csv", "sub/c.csv"}
    (record,) = [record for record in caplog.records if record.name.startswith("sentrio")]
    assert str(tree / "sub" / "deep") in record.getMessage()


async def test_a_loop_that_is_left_leaves_nothing_open(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.csv").write_text("")
    async for _ in walk_async(tmp_path):
        break
    async with walk_async(tmp_path) as walk:
        async for _ in walk:
            break
    with pytest.raises(StopAsyncIteration):
        await anext(walk)


@pytest.mark.parametrize("pattern", ["*", "*.none"])
async def test_the_loop_is_never_held(tmp_path: Path, pattern: str, large_counts: int) -> None:
    count = 5000 * large_counts
    for number in range(count):
        if number % 1000 == 0:
            (tmp_path / str(number)).mkdir()
        (tmp_path / str(number // 1000 * 1000) / f"{number}.csv").touch()

    stalls: list[float] = []
    stop = anyio.Event()

    async def watch_the_clock() -> None:
        while not stop.is_set():
            # Time of this thread's processor: other processes must not count.
            before = time.thread_time()
            await anyio.sleep(0.001)
            stalls.append(time.thread_time() - before)

    async with anyio.create_task_group() as tg:
        tg.start_soon(watch_the_clock)
        assert len(await found(tmp_path, pattern)) == (count if pattern == "*" else 0)
        stop.set()
    stalls.sort()
    # Twice the promise, for a machine that does other things; a tracer makes every line cost several times as much.
    # The benchmark prints the figure.
    assert stalls[len(stalls) * 9 // 10] < (0.05 if "coverage" in sys.modules else 0.02)


def test_nothing_is_left_when_it_is_cancelled(tree: Path, backend: Backend) -> None:
    async def operation() -> None:
        async for _ in walk_async(tree):
            pass

    cancel_everywhere(operation, backend=backend)
