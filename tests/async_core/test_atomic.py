from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sentrio.async_core import _atomic
from sentrio.async_core.file import write_atomically


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_bytes_and_pieces(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new", b"abc")
    assert (tmp_path / "new").read_bytes() == b"abc"
    write_atomically(tmp_path / "new", (bytes([n]) * 100_000 for n in range(5)))
    assert (tmp_path / "new").read_bytes() == b"".join(bytes([n]) * 100_000 for n in range(5))
    write_atomically(str(tmp_path / "new"), b"")
    assert (tmp_path / "new").read_bytes() == b""
    assert names(tmp_path) == ["new"]


def test_the_name_changes_hands_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"new" * 100_000
        assert path.read_bytes() == b"old"
        (temporary,) = [name for name in names(tmp_path) if name != "file"]
        assert temporary.startswith(".file.")
        assert temporary.endswith(_atomic.TEMPORARY_SUFFIX)

    write_atomically(path, pieces())
    assert path.read_bytes() == b"new" * 100_000


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_an_error_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, error: type[BaseException], existing: bool
) -> None:
    path = tmp_path / "file"
    if existing:
        path.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise error

    with pytest.raises(error):
        write_atomically(path, pieces())
    assert names(tmp_path) == (["file"] if existing else [])
    assert not existing or path.read_bytes() == b"old"


@pytest.mark.parametrize("call", ["fsync", "fchmod", "replace"])
def test_a_failing_system_call_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "broken disk")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", fail)
        with pytest.raises(OSError, match="broken disk"):
            write_atomically(path, b"new")
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the write itself fails, and so does the flush.
    script = f"""
import os, resource, signal
from sentrio.async_core.file import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    write_atomically({str(tmp_path / "file")!r}, b"x" * 1_000_000)
except OSError as exc:
    print(exc.errno)
"""
    (tmp_path / "file").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(errno.EFBIG), done.stderr
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.endurance
def test_a_killed_process_leaves_the_old_content(tmp_path: Path) -> None:
    script = f"""
import itertools
from sentrio.async_core.file import write_atomically
print("ready", flush=True)
write_atomically({str(tmp_path / "file")!r}, itertools.repeat(b"x" * 4096, 10_000_000))
"""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=-1, stderr=-3)
        assert process.stdout is not None
        process.stdout.readline()
        limit = time.monotonic() + 10
        while not any(
            entry.suffix == _atomic.TEMPORARY_SUFFIX and entry.stat().st_size for entry in tmp_path.iterdir()
        ):
            assert time.monotonic() < limit
        process.send_signal(number)
        process.communicate(timeout=10)
        assert path.read_bytes() == b"old"
        left = [name for name in names(tmp_path) if name != "file"]
        assert all(name.endswith(_atomic.TEMPORARY_SUFFIX) for name in left)
        assert number == signal.SIGKILL or not left  # an interrupt still cleans up
        for name in left:
            (tmp_path / name).unlink()


def test_permissions_of_a_replaced_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for mode in (0o600, 0o640, 0o755, 0o4711):
        path.chmod(mode)
        seen: list[int] = []

        def pieces(seen: list[int] = seen) -> Iterator[bytes]:
            yield b"new"
            (temporary,) = [entry for entry in tmp_path.iterdir() if entry != path]
            seen.append(stat.S_IMODE(temporary.stat().st_mode))

        write_atomically(path, pieces())
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert seen == [0o600]  # nobody else reads the content while it is written


def test_a_new_file_gets_the_permissions_that_open_would_give(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "ours", b"")
        write_atomically(tmp_path / "exclusive", b"", overwrite=False)
        (tmp_path / "plain").write_bytes(b"")
    finally:
        os.umask(old)
    expected = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "exclusive").stat().st_mode == expected


def test_extended_attributes_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.origin", b"here")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    write_atomically(path, b"new")
    assert os.getxattr(path, "user.origin") == b"here"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_of_a_replaced_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    path.chmod(0o4750)
    write_atomically(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 2345, 0o4750)


def test_an_owner_that_can_not_stay_takes_its_special_bits_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError

    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o6750)
    monkeypatch.setattr("os.fchown", refuse)
    write_atomically(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    if os.access(path, os.W_OK):  # root may write everything
        monkeypatch.setattr("os.access", lambda *args, **options: False)
        monkeypatch.setattr("os.supports_effective_ids", {os.access})
    with pytest.raises(PermissionError) as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(b"old")
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to(tmp_path / "data" / "file")
    (tmp_path / "nowhere").symlink_to("data/later")
    (tmp_path / "ring").symlink_to("ring")

    write_atomically(tmp_path / "first", b"new")
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert (tmp_path / "data" / "file").read_bytes() == b"new"

    write_atomically(tmp_path / "nowhere", b"made")
    assert (tmp_path / "nowhere").is_symlink()
    assert (tmp_path / "data" / "later").read_bytes() == b"made"

    with pytest.raises(OSError, match="symbolic links") as caught:
        write_atomically(tmp_path / "ring", b"new")
    assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "ring").is_symlink()
    assert names(tmp_path / "data") == ["file", "later"]


def test_devices_and_pipes_are_written_to_and_not_replaced(tmp_path: Path) -> None:
    write_atomically("/dev/null", b"gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)

    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as executor:
        reading = executor.submit((tmp_path / "pipe").read_bytes)
        write_atomically(tmp_path / "pipe", b"through")
        assert reading.result(10) == b"through"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("overwrite", [True, False])
def test_errors_name_the_path_that_was_asked_for(tmp_path: Path, overwrite: bool) -> None:
    missing = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(missing, b"", overwrite=overwrite)
    assert caught.value.filename == str(missing)

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError) as caught_too:
        write_atomically(tmp_path / "file" / "below", b"", overwrite=overwrite)
    assert caught_too.value.filename == str(tmp_path / "file" / "below")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", b"")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "folder", b"", overwrite=False)
    assert names(tmp_path) == ["folder"]


def test_long_names_are_written_too(tmp_path: Path) -> None:
    name = "ä" * 127
    write_atomically(tmp_path / name, b"new")
    write_atomically(tmp_path / ("x" * 255), b"new", overwrite=False)
    assert names(tmp_path) == sorted([name, "x" * 255])


@pytest.mark.parametrize("data", ["", "text", ["text"], [b"bytes", 7]])
def test_only_bytes_are_written(tmp_path: Path, data: object) -> None:
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "file", data)  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_views_and_arrays_are_bytes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", memoryview(b"view"))
    assert (tmp_path / "file").read_bytes() == b"view"
    write_atomically(tmp_path / "file", bytearray(b"array"))
    assert (tmp_path / "file").read_bytes() == b"array"


class TestWithoutOverwriting:
    def test_writes_what_is_not_there(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "file", b"new", overwrite=False)
        assert (tmp_path / "file").read_bytes() == b"new"
        assert names(tmp_path) == ["file"]

    def test_refuses_what_is_there_before_it_takes_the_data(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        (tmp_path / "nowhere").symlink_to("missing")
        pieces = iter([b"new"])
        for name in ("file", "nowhere"):
            with pytest.raises(FileExistsError) as caught:
                write_atomically(tmp_path / name, pieces, overwrite=False)
            assert caught.value.filename == str(tmp_path / name)
        assert next(pieces) == b"new"
        assert (tmp_path / "file").read_bytes() == b"old"
        assert names(tmp_path) == ["file", "nowhere"]

    def test_refuses_what_comes_in_between(self, tmp_path: Path) -> None:
        path = tmp_path / "file"

        def pieces() -> Iterator[bytes]:
            yield b"late"
            path.write_bytes(b"faster")

        with pytest.raises(FileExistsError) as caught:
            write_atomically(path, pieces(), overwrite=False)
        assert caught.value.filename == str(path)
        assert path.read_bytes() == b"faster"
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("links", [True, False])
    def test_of_many_exactly_one_wins_with_all_its_bytes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        def refuse(*args: object) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        if not links:
            monkeypatch.setattr("os.link", refuse)

        def attempt(number: int) -> bool:
            try:
                write_atomically(tmp_path / "file", bytes([number]) * 300_000, overwrite=False)
            except FileExistsError:
                return False
            return True

        with ThreadPoolExecutor(8) as executor:
            won = list(executor.map(attempt, range(32)))
        assert sum(won) == 1
        assert (tmp_path / "file").read_bytes() == bytes([won.index(True)]) * 300_000
        assert names(tmp_path) == ["file"]
