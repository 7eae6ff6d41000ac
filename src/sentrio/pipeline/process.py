"""One command in a session of its own, so that all that it starts can be ended with it.

Three things are not as one would like them. A child that has ended may leave children of its own, which keep its
output open; so the end of the output is never waited for without a deadline. Nobody tells us when a process
ends that is not our child; so stragglers, and only they, are looked for again and again. And where the first
process of a container reaps nobody, what was killed stays in the process table for good; so on Linux a
process group counts as gone when only the dead are left in it.
"""

from __future__ import annotations

__all__ = ("Ended", "StartError", "explained", "log_name", "run_command")

import hashlib
import logging
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import attrs
from anyio.abc import Process

from sentrio.async_core.threads import call_sync

logger = logging.getLogger("sentrio.pipeline.process")

_TAIL_BYTES = 16 * 2**10

# What can hold up output after the whole group has ended is a process that has left the group.
_DRAIN_SECONDS = 0.25

# A killed process ends at once, unless it hangs inside the kernel.
_KILLED_SECONDS = 2.0

_HAS_GROUPS = hasattr(os, "killpg")


@attrs.frozen
class Ended:
    """How a command ended."""

    exit_code: int | None  #: ``None`` if it was ended by us
    timed_out: bool
    output_tail: str


def log_name(site: str) -> str:
    """Return a file name for a site: readable, safe on every file system, and no other site's."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", site)[:60].strip("._-")
    # Always with the hash: names that differ in case or in what was replaced would meet in one file.
    digest = hashlib.sha256(site.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{readable or 'site'}-{digest}.log"


async def run_command(
    command: Sequence[str],
    *,
    timeout: float | None = None,
    kill_grace_seconds: float = 5.0,
    tail_lines: int = 20,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    append: bool = False,
) -> Ended:
    """Run a command to its end, and end what it leaves behind.

    After the timeout, and on cancellation, the whole group is asked to end, and killed after the grace. Nothing
    of it is left when this function returns, except for what has left the group (a daemon).

    :param timeout: seconds; ``None`` for no limit
    :param env: added to our own environment
    :param log: a file for the full output, of which otherwise only the tail is kept
    :param append: add to the log, instead of beginning it anew
    :raises OSError: if the command can not be started, or the log not be opened
    :raises ValueError: if an argument can not be passed on, as one with a null character
    """
    output: BinaryIO | None = None
    if log is not None:
        # A cancellation here would lose an open file.
        with anyio.CancelScope(shield=True):
            output = await call_sync(_open_log, log, append)
    try:
        tail = _FileTail(output) if output is not None else _PipeTail()
        process = await _start(command, cwd, env, output)
        timed_out = await _watched(process, tail, timeout, kill_grace_seconds)
    finally:
        if output is not None:
            output.close()
    text = "\n".join(tail.text().splitlines()[-tail_lines:]) if tail_lines else ""
    return Ended(None if timed_out else process.returncode, timed_out, text)


def _open_log(path: Path, append: bool) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered and for appending: the command writes to the same file.
    if not append:
        path.write_bytes(b"")
    return path.open("ab+", buffering=0)


async def _start(
    command: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None, output: BinaryIO | None
) -> Process:
    # A cancellation here would kill the child, and leave what it may have started.
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output is None else output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            start_new_session=_HAS_GROUPS,
        )
    return process  # noqa: RET504  # the type checker takes the scope for one that may swallow errors


class _PipeTail:
    """Takes all that comes out of a pipe, and keeps the end of it."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._scope = anyio.CancelScope(shield=True)
        self._finished = anyio.Event()

    async def drain(self, process: Process) -> None:
        assert process.stdout is not None
        # Shielded: a command that is asked to end may have much to say, and must not wait for a reader.
        with self._scope:
            async for chunk in process.stdout:
                self._kept += chunk
                if len(self._kept) > 2 * _TAIL_BYTES:
                    del self._kept[:-_TAIL_BYTES]
        self._finished.set()

    async def finish(self) -> None:
        with anyio.move_on_after(_DRAIN_SECONDS):
            await self._finished.wait()
        self._scope.cancel()

    def text(self) -> str:
        return _decoded(bytes(self._kept))


class _FileTail:
    """Reads the end of a file that a command writes to by itself."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._start = output.seek(0, os.SEEK_END)
        self._kept = b""

    async def drain(self, process: Process) -> None:
        """Do nothing: the command needs no reader."""

    async def finish(self) -> None:
        self._kept = await call_sync(self._read, abandon_after=None)

    def _read(self) -> bytes:
        end = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(self._start, end - _TAIL_BYTES))
        return self._output.read(_TAIL_BYTES)

    def text(self) -> str:
        return _decoded(self._kept)


def _decoded(kept: bytes) -> str:
    return kept[-_TAIL_BYTES:].decode("utf-8", "replace")


async def _watched(process: Process, tail: Any, timeout: float | None, grace: float) -> bool:
    """Wait for the end of a process, and end its group; return whether the time was over."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(tail.drain, process, name="sentrio: output of a site")
        try:
            with anyio.move_on_after(timeout) as limit:
                await process.wait()
        finally:
            # Its deadlines are inside: the grace, and fixed times after it.
            with anyio.CancelScope(shield=True):
                await _end_group(process, grace)
                await tail.finish()
                if process.returncode is not None:
                    await process.aclose()
                elif process.stdout is not None:
                    await process.stdout.aclose()  # more would wait for its end, and that may never come
    return limit.cancelled_caught


async def _end_group(process: Process, grace: float) -> None:
    """Ask all that is left of a group to end; after the grace, kill it."""
    # A group's number is not given to another one as long as anybody is in it, and we are here at once after
    # its leader's end: it does not happen that a stranger's group is met.
    if not _signal(process, "SIGTERM"):
        # On asyncio a thread waits for the child: it may know of its end before the event loop does.
        with anyio.move_on_after(_KILLED_SECONDS):
            await process.wait()
        return
    _signal(process, "SIGCONT")  # what is stopped can not end
    with anyio.move_on_after(grace):
        await _gone(process)
        return
    _signal(process, "SIGKILL")
    with anyio.move_on_after(_KILLED_SECONDS):
        await _gone(process)
        return
    logger.error("process group %d was killed and has not ended; it hangs in the kernel", process.pid)


def _signal(process: Process, name: str) -> bool:
    """Send a signal to the group; return whether anybody is in it."""
    try:
        if _HAS_GROUPS:
            os.killpg(process.pid, getattr(signal, name))
        elif process.returncode is not None:
            return False
        elif name != "SIGCONT":
            process.kill() if name == "SIGKILL" else process.terminate()
    except ProcessLookupError:
        return False
    except PermissionError:
        # On macOS this means that only the dead are left; elsewhere, that it is not ours to signal.
        return process.returncode is None
    return True


async def _gone(process: Process) -> None:
    await process.wait()
    pause = 0.001
    while _HAS_GROUPS and _is_alive(process.pid):
        await anyio.sleep(pause)
        pause = min(2 * pause, 0.05)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    states = list(_states(group))
    return not states or any(state not in "ZX" for state in states)


def _states(group: int) -> Iterator[str]:
    """The states of the processes of a group, as far as there is a ``/proc`` to tell."""
    try:
        entries = os.listdir("/proc")  # noqa: PTH208  # names only: the entries vanish while one looks
    except OSError:
        return
    for entry in entries:
        if entry.isdigit():
            try:
                # The name, in parentheses, may hold anything; behind it stand state, parent, group.
                fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                yield fields[0]


class StartError(OSError):
    """A command that can not be started."""


@contextmanager
def explained(command: Sequence[str], cwd: Path | None) -> Iterator[None]:
    """Have errors of the start say what could not be started, without the arguments, which may be secret."""
    try:
        yield
    except OSError as exc:
        if cwd is not None and not cwd.is_dir():
            raise StartError(f"cwd is no folder: {cwd}") from exc
        if exc.filename is not None and os.fspath(exc.filename) != command[0]:
            raise StartError(f"{exc.filename}: {exc.strerror}") from exc  # the log
        raise StartError(f"{command[0]!r} can not be started: {exc.strerror or exc}") from exc
