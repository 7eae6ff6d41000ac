"""Writing files piece by piece, as a whole or in place."""

from __future__ import annotations

__all__ = ("AsyncFileWriter",)

import codecs
import os
import shutil
import warnings
from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, cast

import anyio

from sentrio.async_core._atomic import Replacement, naming
from sentrio.async_core._checks import check_count
from sentrio.async_core._thread_steps import GRACE_SECONDS, STEP_BYTES, acquire, check_encoding, clean_up
from sentrio.async_core.telemetry import metric_counter, span
from sentrio.async_core.threads import call_sync

_bytes_written = metric_counter("sentrio.file.write.bytes")

_MODES = {"w": "w", "a": "a", "x": "x", "wb": "w", "ab": "a", "xb": "x", "wt": "w", "at": "a", "xt": "x"}


class _InPlace:
    """The same shape as a :class:`Replacement`, for a file that is written where it is."""

    def __init__(self, path: str, mode: str) -> None:
        self.stream: BinaryIO = cast("BinaryIO", open(path, mode + "b", buffering=0))  # noqa: PTH123, SIM115

    def commit(self) -> None:
        self.stream.close()

    discard = commit


class AsyncFileWriter:
    """Writes a file, text and bytes, as an async context manager.

    With ``atomic`` the new content takes the old one's place when the block ends without an error. Until
    then, and after an error, a cancellation or a kill, the file is as it was::

        async with AsyncFileWriter("report.txt") as writer:
            await writer.write("a line\\n")
            await writer.write_bytes(b"some bytes")

    Without ``async with`` the first write begins and :meth:`close` ends it. Permissions of a replaced file
    are kept and symbolic links are followed. Several tasks may write; each piece stays in one piece. Line
    endings are written as they are.

    :param path: where to; its folder must exist
    :param mode: ``"w"`` replaces what is there, ``"a"`` appends to it, ``"x"`` refuses it
    :param encoding: of text
    :param atomic: if false, the file is written in place; appending to a large file is cheaper so, because
        an atomic append copies it
    :param buffer_size: bytes to collect before they are handed to a thread
    :raises ValueError: if ``mode``, ``encoding`` or ``buffer_size`` is none of these
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: str = "w",
        encoding: str = "utf-8",
        atomic: bool = True,
        *,
        buffer_size: int = 65536,
    ) -> None:
        if mode not in _MODES:
            raise ValueError(f"mode must be 'w', 'a' or 'x', got {mode!r}")
        check_encoding(encoding)
        check_count("buffer_size", buffer_size)
        self.path = path
        self.mode = mode
        self.encoding = encoding
        self.atomic = atomic
        self.buffer_size = buffer_size
        self._encoder = codecs.getincrementalencoder(encoding)()
        self._has_text = False
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._lock = anyio.Lock()
        self._state: Literal["new", "open", "failed", "closed"] = "new"
        self._target: Replacement | _InPlace | None = None
        self._span = span("sentrio.file.write", **{"file.path": os.fspath(path)})
        self._size = 0  # bytes handed to the file

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError(f"the writer of {os.fspath(self.path)} was used before; make a new one")
        async with self._lock:
            await self._open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is None:
            await self.close()
        else:
            self._span.end(type(exc))
            await self._discard()

    async def write(self, content: str) -> None:
        """Write text.

        :raises TypeError: if it is no text
        :raises UnicodeEncodeError: if the encoding can not express it; nothing of it is written
        :raises OSError: if the file can not be opened or written
        :raises RuntimeError: if the writer is closed, or an earlier write failed
        """
        if not isinstance(content, str):
            raise TypeError(f"write() takes text, got {type(content).__name__}; use write_bytes()")
        async with self._lock:
            await self._open()
            await self._add(self._encode(content))

    async def write_bytes(self, content: bytes | bytearray | memoryview) -> None:
        """Write bytes as they are, in any mode.

        :raises TypeError: if they are no bytes
        :raises OSError: if the file can not be opened or written
        :raises RuntimeError: if the writer is closed, or an earlier write failed
        """
        if not isinstance(content, bytes | bytearray | memoryview):
            raise TypeError(f"write_bytes() takes bytes, got {type(content).__name__}; use write()")
        async with self._lock:
            await self._open()
            await self._add(bytes(content))

    async def writelines(self, lines: Iterable[str] | AsyncIterable[str]) -> None:
        """Write every text of ``lines``, which is any iterable, async ones included; no line ends are added.

        Raises what :meth:`write` raises.
        """
        if isinstance(lines, AsyncIterable):
            async for line in lines:
                await self.write(line)
            return
        async with self._lock:
            await self._open()
            for line in lines:
                if not isinstance(line, str):
                    raise TypeError(f"writelines() takes texts, got {type(line).__name__}")
                await self._add(self._encode(line))

    async def close(self) -> None:
        """Write what is left and, with ``atomic``, put the file in place. Closing again does nothing.

        :raises RuntimeError: if an earlier write failed or was cancelled: such a file is not put in place
        :raises OSError: if the file can not be written
        """
        if self._state == "failed":
            await self._discard()
            path = os.fspath(self.path)
            raise RuntimeError(f"{path} was not saved, because an earlier write did not get through")
        try:
            async with self._lock:
                target = self._target
                if self._state != "open" or target is None:
                    self._state = "closed"
                    return
                if self._has_text:  # some encodings end with what they have kept back
                    await self._add(self._encode("", final=True))
                await self._flush()
                # One step that is not left halfway: the content is in place, or nothing has changed.
                await call_sync(target.commit, abandon_after=GRACE_SECONDS)
                self._state, self._target = "closed", None
                self._span.end()
        except BaseException as exc:
            self._span.end(type(exc))
            await self._discard()
            raise

    def _encode(self, content: str, *, final: bool = False) -> bytes:
        before = self._encoder.getstate()
        self._has_text = True
        try:
            return self._encoder.encode(content, final)
        except UnicodeEncodeError as exc:
            self._encoder.setstate(before)
            exc.add_note(f"for {os.fspath(self.path)}")
            raise

    async def _open(self) -> None:
        if self._state == "open":
            return
        if self._state != "new":
            reason = "closed" if self._state == "closed" else "unusable after a failed write"
            raise RuntimeError(f"the writer of {os.fspath(self.path)} is {reason}; make a new one")
        self._span.start()
        try:
            target, position = await acquire(self._begin, release=_discard_first)
        except BaseException as exc:
            self._span.end(type(exc))
            raise
        self._target = target
        self._state = "open"
        if position:
            self._encoder.setstate(0)  # a byte order mark stands at the beginning only

    def _begin(self) -> tuple[Replacement | _InPlace, int]:
        path, mode = os.fspath(self.path), _MODES[self.mode]
        if not self.atomic:
            in_place = _InPlace(path, mode)
            try:
                return in_place, in_place.stream.tell() if in_place.stream.seekable() else 0
            except BaseException:
                in_place.discard()
                raise
        target = Replacement.begin(path, overwrite=mode != "x")
        try:
            if mode == "a" and target.previous is not None:
                with open(target.target, "rb") as source:  # noqa: PTH123
                    shutil.copyfileobj(source, target.stream, STEP_BYTES)
            return target, target.stream.tell() if target.temporary is not None else 0
        except BaseException:
            target.discard()
            raise

    async def _add(self, content: bytes) -> None:
        self._buffer.append(content)
        self._buffered += len(content)
        if self._buffered >= self.buffer_size:
            await self._flush()

    async def _flush(self) -> None:
        content, self._buffered = b"".join(self._buffer), 0
        self._buffer.clear()
        if self._target is None or not content:
            return
        stream: BinaryIO = self._target.stream
        try:
            view = memoryview(content)
            for start in range(0, len(view), STEP_BYTES):
                piece = view[start : start + STEP_BYTES]
                with naming(os.fspath(self.path)):
                    await call_sync(_write_all, stream, piece, abandon_after=GRACE_SECONDS)
        except BaseException:
            # How much of it got through is unknown: such a file must not be put in place.
            self._state = "failed"
            raise
        self._size += len(content)
        _bytes_written(len(content))
        self._span.set_attribute("file.size", self._size)

    async def _discard(self) -> None:
        self._state = "closed"
        self._span.end()
        self._buffer.clear()
        target, self._target = self._target, None
        if target is not None:
            await clean_up(target.discard)

    def __del__(self, _warn: Any = warnings.warn) -> None:
        target = getattr(self, "_target", None)
        if target is not None:
            self._span.end()
            target.discard()
            _warn(f"{self!r} was forgotten without close()", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<AsyncFileWriter {os.fspath(self.path)!r} {self._state}>"


def _write_all(stream: BinaryIO, content: memoryview) -> None:
    while content:
        written = stream.write(content)
        content = content[written:]


def _discard_first(answer: tuple[Replacement | _InPlace, int]) -> None:
    answer[0].discard()
