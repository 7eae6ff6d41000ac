from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tests.async_core._moments import cancelled_when, until

from sentrio.async_core import _atomic
from sentrio.async_core.file import (
    AsyncFileReader,
    AsyncFileWriter,
    async_copy_file,
    async_file_exists,
    async_mkdir,
    async_read_file,
    async_write_file,
)
from sentrio.async_core.threads import thread_statistics
from sentrio.testing import Backend, cancel_everywhere

BIG = 20_000_000  # more than two steps


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def open_files(folder: Path) -> list[str]:
    links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    targets = [str(link.readlink()) for link in links if link.is_symlink()]
    return [target for target in targets if target.startswith(str(folder))]


async def longest_stall(stop: anyio.Event, stalls: list[float]) -> None:
    """Note how long the loop did not get its turn."""
    while not stop.is_set():
        before = time.perf_counter()
        await checkpoint()
        stalls.append(time.perf_counter() - before)


class TestReading:
    async def test_reads_text_and_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes("eins\r\nzwei ä\rdrei\n".encode())
        assert await async_read_file(path) == "eins\nzwei ä\ndrei\n"
        assert await AsyncFileReader(str(path)).read() == path.read_text("utf-8")
        assert await AsyncFileReader(path).read_bytes() == path.read_bytes()

    async def test_reads_in_other_encodings(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("Größe\n€\n", "utf-16")
        assert await async_read_file(path, encoding="utf-16") == "Größe\n€\n"
        reader = AsyncFileReader(path, chunk_size=1, encoding="utf-16")
        assert [line async for line in reader.stream_lines()] == ["Größe\n", "€\n"]

    async def test_reads_more_than_one_step(self, tmp_path: Path) -> None:
        content = os.urandom(BIG)
        (tmp_path / "file").write_bytes(content)
        assert await AsyncFileReader(tmp_path / "file").read_bytes() == content
        (tmp_path / "text").write_text("0123456789" * (BIG // 10))
        assert len(await async_read_file(tmp_path / "text")) == BIG
        assert open_files(tmp_path) == []

    async def test_reads_files_whose_length_nobody_knows(self) -> None:
        assert "MemTotal" in await async_read_file("/proc/meminfo")

    async def test_streams_pieces_of_the_asked_size(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"x" * 25)
        pieces = [piece async for piece in AsyncFileReader(path, chunk_size=10).stream_bytes()]
        assert pieces == [b"x" * 10, b"x" * 10, b"x" * 5]
        path.write_text("äöü€" * 10, "utf-8")
        texts = [text async for text in AsyncFileReader(path, chunk_size=3).stream()]
        assert "".join(texts) == "äöü€" * 10
        assert all(texts)

    @pytest.mark.parametrize("text", ["", "\n", "a", "a\n", "a\n\nb", "a\u2028b\x0cc\nd", "x" * 300 + "\nyy\n"])
    @pytest.mark.parametrize("chunk_size", [1, 7, 65536])
    async def test_lines_are_those_of_python(self, tmp_path: Path, text: str, chunk_size: int) -> None:
        path = tmp_path / "file"
        for content in (text, text.replace("\n", "\r\n")):
            path.write_bytes(content.encode())
            with path.open(encoding="utf-8") as file:
                expected = list(file)
            lines = [line async for line in AsyncFileReader(path, chunk_size).stream_lines()]
            assert lines == expected

    async def test_a_very_long_line_takes_no_quadratic_time(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x" * 4_000_000)
        started = time.process_time()
        lines = [line async for line in AsyncFileReader(tmp_path / "file", 1000).stream_lines()]
        assert len(lines[0]) == 4_000_000
        assert time.process_time() - started < 15

    async def test_many_lines_take_no_long_time(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("".join(f"line {n}\n" for n in range(200_000)))
        used = time.process_time()
        count = 0
        async for _ in AsyncFileReader(tmp_path / "file").stream_lines():
            count += 1
        assert count == 200_000
        assert time.process_time() - used < 15

    async def test_many_lines_in_one_chunk_do_not_hold_the_loop(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("\n" * 300_000)
        stop, stalls = anyio.Event(), list[float]()
        async with anyio.create_task_group() as tg:
            tg.start_soon(longest_stall, stop, stalls)
            await checkpoint()
            async for _ in AsyncFileReader(tmp_path / "file", chunk_size=10_000_000).stream_lines():
                pass
            stop.set()
        assert len(stalls) > 8  # 300,000 lines take some 40 ms

    async def test_a_loop_that_is_left_closes_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("a\nb\n" * 100_000)
        reader = AsyncFileReader(tmp_path / "file")
        async for _ in reader.stream_lines():
            break
        assert open_files(tmp_path) == []
        async with reader.stream() as texts:
            async for _ in texts:
                break
            assert len(open_files(tmp_path)) == 1
        assert open_files(tmp_path) == []
        with pytest.raises(StopAsyncIteration):
            await anext(texts)

    @pytest.mark.parametrize("method", ["read", "read_bytes", "stream", "stream_bytes", "stream_lines"])
    async def test_errors_name_the_file(self, tmp_path: Path, method: str) -> None:
        async def run(path: Path, encoding: str = "utf-8") -> None:
            result = getattr(AsyncFileReader(path, encoding=encoding), method)()
            if method.startswith("stream"):
                async for _ in result:
                    pass
            else:
                await result

        with pytest.raises(FileNotFoundError) as caught:
            await run(tmp_path / "missing")
        assert caught.value.filename == str(tmp_path / "missing")
        with pytest.raises(IsADirectoryError):
            await run(tmp_path)
        if "bytes" not in method:
            (tmp_path / "bad").write_bytes(b"good \xff bad")
            with pytest.raises(UnicodeDecodeError) as bad:
                await run(tmp_path / "bad")
            assert any(str(tmp_path / "bad") in note for note in bad.value.__notes__)
        assert open_files(tmp_path) == []

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
            ({"chunk_size": -1}, "chunk_size must be at least 1, got -1"),
            ({"chunk_size": float("nan")}, "chunk_size must be at least 1, got nan"),
            ({"encoding": "klingon"}, "encoding .* got 'klingon'"),
            ({"encoding": "rot13"}, "encoding .* got 'rot13'"),
        ],
    )
    def test_refuses_values_out_of_range(self, options: dict[str, object], error: str) -> None:
        with pytest.raises(ValueError, match=error):
            AsyncFileReader("file", **options)  # type: ignore[arg-type]

    def test_nothing_is_left_when_it_is_cancelled(self, tmp_path: Path, backend: Backend) -> None:
        (tmp_path / "file").write_text("some line\n" * 30_000)
        reader = AsyncFileReader(tmp_path / "file")

        async def operation() -> None:
            await reader.read()
            async for _ in reader.stream_lines():
                pass
            async with reader.stream() as texts:
                async for _ in texts:
                    break

        report = cancel_everywhere(operation, backend=backend)
        assert report.points > 5


class TestWriting:
    async def test_writes_text_and_bytes(self, tmp_path: Path) -> None:
        async with AsyncFileWriter(tmp_path / "file") as writer:
            await writer.write("text ä\r\n")
            await writer.write_bytes(b"\x00\xff")
            await writer.writelines(["one\n", "two\n"])

            async def lines() -> AsyncIterator[str]:
                yield "three\n"

            await writer.writelines(lines())
        assert (tmp_path / "file").read_bytes() == "text ä\r\n".encode() + b"\x00\xffone\ntwo\nthree\n"
        assert names(tmp_path) == ["file"]

    async def test_works_without_a_block(self, tmp_path: Path) -> None:
        writer = AsyncFileWriter(tmp_path / "file")
        await writer.write("Hello, World!")
        assert not (tmp_path / "file").exists()
        await writer.close()
        await writer.close()
        assert (tmp_path / "file").read_text() == "Hello, World!"
        with pytest.raises(RuntimeError, match="is closed; make a new one"):
            await writer.write("more")
        with pytest.raises(RuntimeError, match="was used before"):
            async with writer:
                pass

    async def test_closing_what_never_wrote_creates_nothing(self, tmp_path: Path) -> None:
        await AsyncFileWriter(tmp_path / "file").close()
        assert names(tmp_path) == []
        async with AsyncFileWriter(tmp_path / "file"):
            pass
        assert (tmp_path / "file").read_bytes() == b""

    @pytest.mark.parametrize("atomic", [True, False])
    async def test_modes(self, tmp_path: Path, atomic: bool) -> None:
        path = tmp_path / "file"
        for mode, expected in (("x", b"x"), ("a", b"xa"), ("ab", b"xaab"), ("w", b"w"), ("wb", b"wb")):
            async with AsyncFileWriter(path, mode, atomic=atomic) as writer:
                await writer.write(mode)
            assert path.read_bytes() == expected
        with pytest.raises(FileExistsError):
            async with AsyncFileWriter(path, "x", atomic=atomic):
                pass
        async with AsyncFileWriter(tmp_path / "new", "a", atomic=atomic) as writer:
            await writer.write("a")
        assert names(tmp_path) == ["file", "new"]

    @pytest.mark.parametrize(("encoding", "text"), [("iso2022_jp", "日本"), ("idna", "shop.example")])
    async def test_what_an_encoder_keeps_back_is_written_at_the_end(
        self, tmp_path: Path, encoding: str, text: str
    ) -> None:
        async with AsyncFileWriter(tmp_path / "text", encoding=encoding) as writer:
            await writer.write(text[:1])
            await writer.write(text[1:])
        assert (tmp_path / "text").read_bytes() == text.encode(encoding)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
    async def test_an_error_while_writing_names_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"x" * 100_000)

        async def in_place() -> None:
            async with AsyncFileWriter("/dev/full", atomic=False) as writer:
                await writer.write("x")

        for write in (
            in_place,
            partial(async_write_file, "/dev/full", "x"),
            partial(async_copy_file, tmp_path / "source", "/dev/full"),
        ):
            with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
                await write()

    @pytest.mark.parametrize("atomic", [True, False])
    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "latin-1"])
    async def test_a_byte_order_mark_comes_once(self, tmp_path: Path, encoding: str, atomic: bool) -> None:
        path = tmp_path / "file"
        for mode in ("w", "a"):
            async with AsyncFileWriter(path, mode, encoding, atomic) as writer:
                await writer.write("ä")
                await writer.write("ö")
        assert path.read_bytes() == "äöäö".encode(encoding)

    async def test_the_old_content_stays_until_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        path.chmod(0o640)
        (tmp_path / "link").symlink_to("file")
        async with AsyncFileWriter(tmp_path / "link", buffer_size=1) as writer:
            await writer.write("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert (tmp_path / "link").is_symlink()

    async def test_in_place_means_in_place(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        number = path.stat().st_ino
        async with AsyncFileWriter(path, atomic=False, buffer_size=1) as writer:
            await writer.write("new")
            assert path.read_text() == "new"
        assert path.stat().st_ino == number

    async def test_an_error_in_the_block_keeps_the_old_content(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        with pytest.raises(ZeroDivisionError):
            async with AsyncFileWriter(path) as writer:
                await writer.writelines("new" if n < 100_000 else str(1 // 0) for n in range(100_001))
        with anyio.CancelScope() as scope:
            async with AsyncFileWriter(path) as writer:
                await writer.write("new" * 100_000)
                scope.cancel()
                await checkpoint()
        assert path.read_text() == "old"
        assert names(tmp_path) == ["file"]

    async def test_a_failed_write_is_never_put_in_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        writer = AsyncFileWriter(path, buffer_size=10)
        await writer.write("short")

        def fail(*args: object) -> None:
            raise OSError("broken disk")

        with monkeypatch.context() as patch:
            patch.setattr("sentrio.async_core._file_writer._write_all", fail)
            with pytest.raises(OSError, match="broken disk"):
                await writer.write("long enough")
        with pytest.raises(RuntimeError, match="unusable after a failed write"):
            await writer.write("more")
        with pytest.raises(RuntimeError, match="was not saved, because an earlier write"):
            await writer.close()
        assert path.read_text() == "old"
        assert names(tmp_path) == ["file"]

    async def test_what_can_not_be_encoded_is_not_written_at_all(self, tmp_path: Path) -> None:
        async with AsyncFileWriter(tmp_path / "file", encoding="latin-1") as writer:
            await writer.write("ä")
            with pytest.raises(UnicodeEncodeError) as caught:
                await writer.write("ö€")
            assert any("file" in note for note in caught.value.__notes__)
            await writer.write("ü")
        assert (tmp_path / "file").read_text("latin-1") == "äü"

    async def test_refuses_the_wrong_kind_of_content(self, tmp_path: Path) -> None:
        async with AsyncFileWriter(tmp_path / "file") as writer:
            with pytest.raises(TypeError, match="use write_bytes"):
                await writer.write(b"bytes")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=r"use write\(\)"):
                await writer.write_bytes("text")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="takes texts"):
                await writer.writelines([b"bytes"])  # type: ignore[list-item]

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"mode": "r"}, "mode must be 'w', 'a' or 'x', got 'r'"),
            ({"encoding": "klingon"}, "encoding .* got 'klingon'"),
            ({"buffer_size": 0}, "buffer_size must be at least 1, got 0"),
        ],
    )
    def test_refuses_values_out_of_range(self, options: dict[str, object], error: str) -> None:
        with pytest.raises(ValueError, match=error):
            AsyncFileWriter("file", **options)  # type: ignore[arg-type]

    async def test_pieces_of_many_tasks_stay_in_one_piece(self, tmp_path: Path) -> None:
        async with AsyncFileWriter(tmp_path / "file", buffer_size=100) as writer:

            async def write(letter: str) -> None:
                for _ in range(50):
                    await writer.write(letter * 30 + "\n")

            async with anyio.create_task_group() as tg:
                for letter in "abcd":
                    tg.start_soon(write, letter)
        lines = (tmp_path / "file").read_text().splitlines()
        assert sorted(lines) == [letter * 30 for letter in "abcd" for _ in range(50)]

    async def test_a_forgotten_writer_leaves_a_warning_and_nothing_else(self, tmp_path: Path) -> None:
        writer = AsyncFileWriter(tmp_path / "file")
        await writer.write("text")
        with pytest.warns(ResourceWarning, match=r"forgotten without close\(\)"):
            del writer
        assert names(tmp_path) == []

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    @pytest.mark.endurance
    def test_a_killed_process_keeps_the_old_content(
        self, tmp_path: Path, number: signal.Signals, backend: Backend
    ) -> None:
        script = f"""
import anyio
from sentrio.async_core.file import AsyncFileWriter
async def main():
    async with AsyncFileWriter({str(tmp_path / "file")!r}) as writer:
        for n in range(10_000_000):
            await writer.write("x" * 4096)
            if n == 50:
                print("writing", flush=True)
anyio.run(main, backend={"trio" if backend == "trio" else "asyncio"!r})
"""
        path = tmp_path / "file"
        path.write_bytes(b"old")
        process = subprocess.Popen([sys.executable, "-c", script], stdout=-1, stderr=-3)
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(number)
        process.communicate(timeout=20)
        assert path.read_bytes() == b"old"
        left = [name for name in names(tmp_path) if name != "file"]
        assert all(name.endswith(_atomic.TEMPORARY_SUFFIX) for name in left)
        assert number == signal.SIGKILL or not left

    @pytest.mark.parametrize("mode", ["w", "a", "x"])
    @pytest.mark.parametrize("atomic", [True, False])
    def test_nothing_is_left_when_it_is_cancelled(
        self, tmp_path: Path, mode: str, atomic: bool, backend: Backend
    ) -> None:
        path = tmp_path / "file"
        old = None if mode == "x" else b"old"
        new = (b"old" if mode == "a" else b"") + b"new" * 50_000

        def reset() -> None:
            path.unlink(missing_ok=True)
            if old is not None:
                path.write_bytes(old)

        def check() -> None:
            if atomic:
                found = path.read_bytes() if path.exists() else None
                assert found in (old, new)
            assert [name for name in names(tmp_path) if name != "file"] == []
            reset()

        async def operation() -> None:
            async with AsyncFileWriter(path, mode, atomic=atomic) as writer:
                await writer.write("new" * 25_000)
                await writer.write("new" * 25_000)

        reset()
        report = cancel_everywhere(operation, backend=backend, check=check)
        assert report.points > 4

    def test_writing_without_a_block_leaves_nothing_either(self, tmp_path: Path, backend: Backend) -> None:
        async def operation() -> None:
            writer = AsyncFileWriter(tmp_path / "file", buffer_size=10)
            try:
                await writer.write("new" * 1000)
                await writer.write("new" * 1000)
            finally:
                with suppress(RuntimeError):  # "was not saved", after a write that was cancelled
                    await writer.close()

        def check() -> None:
            assert names(tmp_path) in ([], ["file"])
            assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size in (3000, 6000)
            (tmp_path / "file").unlink(missing_ok=True)

        cancel_everywhere(operation, backend=backend, check=check)

    def test_write_file_leaves_nothing(self, tmp_path: Path, backend: Backend) -> None:
        async def operation() -> None:
            await async_write_file(tmp_path / "file", "new")
            await async_mkdir(tmp_path / "a" / "b")
            assert await async_file_exists(tmp_path / "file")

        def check() -> None:
            (tmp_path / "file").unlink(missing_ok=True)
            shutil.rmtree(tmp_path / "a", ignore_errors=True)
            assert names(tmp_path) == []

        cancel_everywhere(operation, backend=backend, check=check)


class TestCopying:
    async def test_copies_content_and_permissions(self, tmp_path: Path) -> None:
        source, destination = tmp_path / "source", tmp_path / "destination"
        content = os.urandom(3_000_000)
        source.write_bytes(content)
        source.chmod(0o700)
        assert await async_copy_file(source, destination) == len(content)
        assert destination.read_bytes() == content
        assert stat.S_IMODE(destination.stat().st_mode) == 0o700
        destination.chmod(0o604)
        source.write_bytes(b"")
        assert await async_copy_file(str(source), str(destination), chunk_size=1) == 0
        assert destination.read_bytes() == b""
        assert stat.S_IMODE(destination.stat().st_mode) == 0o604
        assert names(tmp_path) == ["destination", "source"]

    @pytest.mark.endurance
    async def test_memory_stays_constant(self, tmp_path: Path) -> None:
        script = f"""
import anyio, resource
from sentrio.async_core.file import async_copy_file
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
anyio.run(async_copy_file, {str(tmp_path / "source")!r}, {str(tmp_path / "copy")!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
        with (tmp_path / "source").open("wb") as file:
            file.truncate(256 * 1024 * 1024)
        command = [sys.executable, "-c", script]
        done = await anyio.run_process(command)
        assert int(done.stdout) < 20 * 1024  # KiB
        assert (tmp_path / "copy").stat().st_size == 256 * 1024 * 1024

    async def test_refuses_what_can_not_be_copied(self, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"abc")
        (tmp_path / "same").hardlink_to(tmp_path / "source")
        with pytest.raises(shutil.SameFileError):
            await async_copy_file(tmp_path / "source", tmp_path / "same")
        (tmp_path / "other").write_bytes(b"old")
        with pytest.raises(FileExistsError):
            await async_copy_file(tmp_path / "source", tmp_path / "other", overwrite=False)
        assert (tmp_path / "other").read_bytes() == b"old"
        with pytest.raises(IsADirectoryError):
            await async_copy_file(tmp_path, tmp_path / "copy")
        with pytest.raises(IsADirectoryError):
            await async_copy_file(tmp_path / "source", tmp_path)
        with pytest.raises(FileNotFoundError) as caught:
            await async_copy_file(tmp_path / "missing", tmp_path / "copy")
        assert caught.value.filename == str(tmp_path / "missing")
        with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
            await async_copy_file(tmp_path / "source", tmp_path / "copy", chunk_size=0)
        assert names(tmp_path) == ["other", "same", "source"]
        assert open_files(tmp_path) == []

    def test_nothing_is_left_when_it_is_cancelled(self, tmp_path: Path, backend: Backend) -> None:
        source, destination = tmp_path / "source", tmp_path / "destination"
        source.write_bytes(b"new" * 100)

        def check() -> None:
            assert destination.read_bytes() in (b"old", b"new" * 100)
            assert names(tmp_path) == ["destination", "source"]
            destination.write_bytes(b"old")

        destination.write_bytes(b"old")
        cancel_everywhere(lambda: async_copy_file(source, destination), backend=backend, check=check)


async def test_file_exists(tmp_path: Path) -> None:
    assert await async_file_exists(tmp_path)
    assert not await async_file_exists(str(tmp_path / "missing"))


async def test_mkdir(tmp_path: Path) -> None:
    await async_mkdir(tmp_path / "a" / "b")
    await async_mkdir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(FileExistsError):
        await async_mkdir(tmp_path / "a", parents=False)
    with pytest.raises(FileNotFoundError):
        await async_mkdir(tmp_path / "c" / "d", parents=False)


async def test_a_file_system_that_hangs_does_not_hang_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Opening a pipe for reading waits for a writer, as a dead network mount waits for its server.
    for module in ("_file_reader", "_thread_steps"):
        monkeypatch.setattr(f"sentrio.async_core.{module}.GRACE_SECONDS", 0.05)
    os.mkfifo(tmp_path / "pipe")
    steps: list[Callable[[], object]] = [
        AsyncFileReader(tmp_path / "pipe").read,
        AsyncFileReader(tmp_path / "pipe").stream_lines().__anext__,
    ]
    for step in steps:
        async with cancelled_when(lambda: until(lambda: thread_statistics().running)) as scope:
            await step()  # type: ignore[misc]
        assert scope.cancelled_caught
        assert thread_statistics().abandoned == 1
        with suppress(BrokenPipeError):  # what was opened too late is closed at once
            (tmp_path / "pipe").write_bytes(b"at last")
        await until(lambda: not thread_statistics().running)
        assert open_files(tmp_path) == []
