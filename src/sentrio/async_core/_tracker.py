"""What is known of a folder's files, compared with what is there now. Everything here blocks.

The operating system's events are taken as hints only: which paths to look at. What has happened is told by
the comparison, so that a replaced file is modified and not created, and events that come twice count once.
"""

from __future__ import annotations

__all__ = ("Tracker",)

import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import attrs
from watchfiles import Change

# What `watchfiles.watch` is made of, and documented besides: each wait has a limit of its own here.
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from sentrio.async_core._atomic import TEMPORARY_SUFFIX
from sentrio.async_core._walk import require_folder

logger = logging.getLogger("sentrio.async_core.file")

Kind = Literal["created", "modified", "deleted"]
Hints = set[tuple[int, str]]
Signature = tuple[int, int, int]

# Events come in bursts. The burst has ended when none came for the first time; nobody waits longer than the
# second.
_QUIET_MS, _BURST_MS = 40, 100

# How long one wait in the thread takes at most. Each costs a look at the folder itself; a watch that is stopped
# or cancelled ends its wait after `_QUIET_MS`.
_WAIT_MS = 2000

# The system drops events that nobody fetches in time, and those of a folder that is filled while it is made
# known. A look at everything now and then finds what they would have told, at half a percent of a processor.
_RESCAN_SECONDS, _RESCAN_SHARE = 30.0, 200

# Nobody tells about what other machines do there.
_REMOTE = {
    "9p",
    "afs",
    "ceph",
    "cifs",
    "drvfs",
    "glusterfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
}


@attrs.define
class _Pending:
    """A change that will be told when the file has come to rest."""

    kind: Kind
    signature: Signature
    since: float


@attrs.define(eq=False, kw_only=True)
class Tracker:
    """The files of a folder. Used by one thread at a time, except :meth:`stop`."""

    directory: str = attrs.field(kw_only=False)
    matches: Callable[[str], bool] | None
    recursive: bool
    include_existing: bool
    stable_seconds: float
    force_polling: bool | None
    poll_interval: float
    polling: bool = attrs.field(init=False, default=False)
    _root: str = attrs.field(init=False, default="")
    _identity: tuple[int, int] = attrs.field(init=False, default=(0, 0))
    _known: dict[str, Signature] = attrs.field(init=False, factory=dict)
    _pending: dict[str, _Pending] = attrs.field(init=False, factory=dict)
    _notices: RustNotify | None = attrs.field(init=False, default=None)
    _next_scan: float = attrs.field(init=False, default=0.0)
    _gone: bool = attrs.field(init=False, default=False)
    _stopped: bool = attrs.field(init=False, default=False)
    _out: list[tuple[str, Kind]] = attrs.field(init=False, factory=list)

    def begin(self) -> None:
        """Start to listen and take stock of what is there."""
        require_folder(self.directory)
        self._root = os.path.realpath(self.directory)
        self._listen()
        self._known = dict(self._scan(""))
        self._schedule_scan(0.0)
        if self.include_existing:
            for path, signature in self._known.items():
                self._note(path, "created", signature)

    def stop(self) -> None:
        """Have a wait in a thread end soon."""
        self._stopped = True

    def is_set(self) -> bool:
        """Tell whether watching has been stopped; watchfiles asks this."""
        return self._stopped

    def close(self) -> None:
        """Stop listening."""
        self._stopped = True
        notices, self._notices = self._notices, None
        if notices is not None:
            # RuntimeError: a thread that was left behind is in it, and it ends by itself.
            with suppress(RuntimeError):
                notices.close()

    def until_due(self) -> float:
        """Return the seconds until the next look is worth while, whatever the system tells."""
        due = [pending.since + self.stable_seconds for pending in self._pending.values()]
        return 0.0 if self._out else max(0.0, min([self._next_scan, *due]) - time.monotonic())

    def step(self) -> list[tuple[str, Kind]]:
        """Wait a moment for hints, or look at everything where there are none, and return what has changed.

        :raises FileNotFoundError: if the folder has been removed and everything about it has been told
        """
        hints = self._hints()
        if self._check_root():
            self._look_at(hints)
            if time.monotonic() >= self._next_scan:
                self._look_at_everything()
            self._tell_stable()
        elif not self._out:
            raise FileNotFoundError(errno.ENOENT, "the watched folder was removed", self.directory)
        out, self._out = self._out, []
        return out

    def _listen(self) -> None:
        """Start the system's events, or decide to poll."""
        found = os.stat(self._root)  # noqa: PTH116
        self._identity = (found.st_dev, found.st_ino)
        self.polling = _polling_wanted(self._root) if self.force_polling is None else self.force_polling
        if self.polling:
            return
        try:
            self._notices = RustNotify(
                [self._root],
                debug=False,
                force_polling=False,
                poll_delay_ms=0,
                recursive=self.recursive,
                ignore_permission_denied=True,
            )
        except (OSError, RuntimeError) as exc:  # watchfiles has an error of its own, a RuntimeError
            require_folder(self.directory)
            logger.warning("%s is polled, because the system can not watch it: %s", self.directory, exc)
            self.polling = True

    def _hints(self) -> Hints:
        """Wait for hints, but not beyond the next thing that is due."""
        if self._notices is None or self._out:
            return set()
        due = max(1, min(_WAIT_MS, int(self.until_due() * 1000) + 1))
        try:
            told = self._notices.watch(_BURST_MS, _QUIET_MS, due, self)
        except WatchfilesRustInternalError:
            # For good: it fails at a file whose name is no UTF-8, and does not get over it.
            logger.warning("%s is polled from now on, because an event of it can not be read", self.directory)
            self._notices.close()
            self._notices, self.polling, self._next_scan = None, True, 0.0
            return set()
        return set() if isinstance(told, str) else told

    def _check_root(self) -> bool:
        """Tell whether the folder is there; if it is another one than before, listen to that."""
        try:
            found = os.stat(self._root)  # noqa: PTH116
        except FileNotFoundError:
            if not self._gone:
                self._gone = True
                self._pending_or_told_deleted(list(self._known))
            return False
        if (found.st_dev, found.st_ino) != self._identity:
            stopped = self._stopped
            self.close()
            self._stopped = stopped
            self._listen()
            self._look_at_everything()
        return True

    def _schedule_scan(self, duration: float) -> None:
        pause = self.poll_interval if self.polling else max(_RESCAN_SECONDS, duration * _RESCAN_SHARE)
        self._next_scan = time.monotonic() + pause

    def _scan(self, below: str) -> Iterator[tuple[str, Signature]]:
        """Return the files below a folder, by their paths relative to the root."""
        waiting = [below]
        while waiting:
            folder = waiting.pop()
            try:
                entries = os.scandir(os.path.join(self._root, folder))  # noqa: PTH118
            except OSError as exc:
                if not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
                    logger.debug("%s can not be read: %s", folder, exc.strerror)
                continue
            with entries:
                for entry in entries:
                    path = os.path.join(folder, entry.name)  # noqa: PTH118
                    # A file may vanish between its name and its state.
                    with suppress(OSError):
                        if not entry.is_dir():
                            if self._wanted(path):
                                yield path, _signature(entry.stat())
                        elif self.recursive and not entry.is_symlink():
                            waiting.append(path)

    def _wanted(self, path: str) -> bool:
        return not path.endswith(TEMPORARY_SUFFIX) and (self.matches is None or self.matches(path))

    def _look_at_everything(self) -> None:
        started = time.monotonic()
        found = dict(self._scan(""))
        self._pending_or_told_deleted([path for path in self._known if path not in found])
        self._compare(found.items())
        self._schedule_scan(time.monotonic() - started)

    def _look_at(self, hints: Hints) -> None:
        """Look at the paths that were hinted at."""
        kinds: dict[str, set[int]] = {}
        prefix = self._root.rstrip(os.sep) + os.sep
        for change, absolute in hints:
            if absolute.startswith(prefix) and absolute != prefix:
                kinds.setdefault(absolute[len(prefix) :], set()).add(change)

        found: dict[str, Signature] = {}
        missing: list[str] = []
        replaced: set[str] = set()  # what may have been a folder with other files, or a file
        for path in kinds:
            try:
                state = os.stat(os.path.join(self._root, path))  # noqa: PTH116, PTH118
            except OSError:
                missing.append(path)
                continue
            if kinds[path] != {Change.modified}:
                replaced.add(path)
            if not stat.S_ISDIR(state.st_mode):
                if self._wanted(path):
                    found[path] = _signature(state)
                if Change.deleted not in kinds[path]:
                    replaced.discard(path)
            elif self.recursive and not os.path.islink(os.path.join(self._root, path)):  # noqa: PTH114, PTH118
                found.update(self._scan(path))

        folders = {path for path in missing if path not in self._known}
        deleted = [path for path in missing if path in self._known]
        if places := folders | replaced:
            below = [path for path in self._known if path in places or not places.isdisjoint(_parents(path))]
            deleted += [path for path in below if path not in found]
        self._pending_or_told_deleted(deleted)
        self._compare(found.items())
        for path in folders:
            come_and_gone = {Change.added, Change.deleted} <= kinds[path]
            if come_and_gone and not self.stable_seconds and self._wanted(path):
                self._out += [(path, "created"), (path, "deleted")]

    def _compare(self, found: Iterable[tuple[str, Signature]]) -> None:
        changed = [(path, now) for path, now in found if self._known.get(path) != now]
        changed.sort(key=lambda item: item[1][2])  # the order in which they were written
        for path, now in changed:
            self._note(path, "modified" if path in self._known else "created", now)
            self._known[path] = now

    def _note(self, path: str, kind: Kind, signature: Signature) -> None:
        if not self.stable_seconds:
            self._out.append((path, kind))
            return
        before = self._pending.get(path)
        if before is not None and before.kind == "created":
            kind = "created"  # nobody has heard of the file yet
        self._pending[path] = _Pending(kind, signature, time.monotonic())

    def _pending_or_told_deleted(self, paths: Iterable[str]) -> None:
        for path in paths:
            known = self._known.pop(path, None)
            pending = self._pending.pop(path, None)
            if known is None and pending is None:
                continue  # told already, as when its folder was deleted with it
            if pending is None or pending.kind != "created":
                self._out.append((path, "deleted"))

    def _tell_stable(self) -> None:
        now = time.monotonic()
        for path, pending in list(self._pending.items()):
            if now - pending.since < self.stable_seconds:
                continue
            try:
                signature = _signature(os.stat(os.path.join(self._root, path)))  # noqa: PTH116, PTH118
            except OSError:
                self._pending_or_told_deleted([path])
                continue
            self._known[path] = signature
            if signature == pending.signature:
                del self._pending[path]
                self._out.append((path, pending.kind))
            else:
                pending.signature, pending.since = signature, now


def _signature(state: os.stat_result) -> Signature:
    return state.st_ino, state.st_size, state.st_mtime_ns


def _parents(path: str) -> Iterator[str]:
    while path := os.path.dirname(path):  # noqa: PTH120
        yield path


def _polling_wanted(root: str) -> bool:
    wish: Any = os.environ.get("WATCHFILES_FORCE_POLLING")
    if wish:
        return wish.lower() not in {"false", "disable", "disabled"}
    kind = _file_system(root)
    return kind in _REMOTE or kind.startswith("fuse")


def _file_system(path: str) -> str:
    """Return the kind of file system that holds ``path``; empty where the system does not tell."""
    best, kind = "", ""
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
            left, _, right = line.partition(" - ")
            mount = left.split()[4].replace("\\040", " ")
            below = path == mount or path.startswith(mount.rstrip("/") + "/")
            if below and len(mount) >= len(best):
                best, kind = mount, right.split()[0]
    return kind
