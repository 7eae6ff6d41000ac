"""Reading files: at once, in pieces, and line by line."""

from __future__ import annotations

__all__ = ("AsyncFileReader", "FileIterator")

import codecs
import io
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio.lowlevel

from sentrio.async_core._checks import check_count
from sentrio.async_core._thread_steps import GRACE_SECONDS, STEP_BYTES, acquire, check_encoding, clean_up
from sentrio.async_core.telemetry import metric_counter, span
from sentrio.async_core.threads import call_sync

T = TypeVar("T")

_bytes_read = metric_counter("sentrio.file.read.bytes")

# A chunk may hold many lines, and a consumer that awaits nothing would hold the loop for all of them.
_CLOCK_EVERY = 128
_YIELD_SECONDS = 0.004


class AsyncFileReader:
    """Reads a file. Each method opens it anew and closes it at its end.

    ::

        reader = AsyncFileReader("orders.csv")
        text = await reader.read()
        async for line in reader.stream_lines():
            ...

    Loops may be left at any time: the file is closed when the iterator is forgotten, or at once at the end of
    ``async with reader.stream_lines() as lines``.

    :param path: what to read
    :param chunk_size: bytes read at once by ``stream``, ``stream_bytes`` and ``stream_lines``
    :param encoding: of text; line endings become ``\\n``
    :raises ValueError: if ``chunk_size`` is less than 1 or ``encoding`` is unknown
    """

    def __init__(self, path: str | os.PathLike[str], chunk_size: int = 65536, encoding: str = "utf-8") -> None:
        check_count("chunk_size", chunk_size)
        check_encoding(encoding)
        self.path = path
        self.chunk_size = chunk_size
        self.encoding = encoding

    async def read(self) -> str:
        """Return the whole text.

        :raises UnicodeDecodeError: if it is not in this encoding
        :raises OSError: if the file can not be read
        """
        return await self._read(self._decode_all)

    async def read_bytes(self) -> bytes:
        """Return the whole content as it is.

        :raises OSError: if the file can not be read
        """
        return await self._read(b"".join)

    def stream(self) -> FileIterator[str]:
        """Iterate over the text in pieces of about ``chunk_size`` bytes."""
        decode = self._decoder()

        def step(file: io.FileIO) -> list[str]:
            while True:
                chunk = file.read(self.chunk_size)
                if text := decode(chunk):
                    return [text]
                if not chunk:
                    return []

        return FileIterator(self.path, step)

    def stream_bytes(self) -> FileIterator[bytes]:
        """Iterate over the content in pieces of ``chunk_size`` bytes; the last one may be shorter."""

        def step(file: io.FileIO) -> list[bytes]:
            chunk = file.read(self.chunk_size)
            return [chunk] if chunk else []

        return FileIterator(self.path, step)

    def stream_lines(self) -> FileIterator[str]:
        """Iterate over the lines, each with its ``\\n``, which the last one may lack."""
        decode = self._decoder()
        begun: list[str] = []  # pieces of a line whose end is still to come

        def step(file: io.FileIO) -> list[str]:
            while True:
                chunk = file.read(self.chunk_size)
                text = decode(chunk)
                if "\n" in text:
                    begun.append(text)
                    lines = list(io.StringIO("".join(begun)))
                    begun.clear()
                    if not lines[-1].endswith("\n"):
                        begun.append(lines.pop())
                    return lines
                if text:
                    begun.append(text)
                if not chunk:
                    last = "".join(begun)
                    begun.clear()
                    return [last] if last else []

        return FileIterator(self.path, step)

    def _decoder(self) -> Callable[[bytes], str]:
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(self.encoding)(), translate=True)

        def decode(chunk: bytes) -> str:
            try:
                return decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as exc:
                exc.add_note(f"in {os.fspath(self.path)}")
                raise

        return decode

    def _decode_all(self, pieces: list[bytes]) -> str:
        decode = self._decoder()
        return "".join([*map(decode, pieces), decode(b"")])

    async def _read(self, finish: Callable[[list[bytes]], T]) -> T:
        pieces: list[bytes] = []

        def begin() -> tuple[io.FileIO | None, T | None]:
            file = io.FileIO(os.fspath(self.path))
            more = False
            try:
                more = _read_step(file, pieces)
                return (file, None) if more else (None, finish(pieces))  # a small file: one trip to a thread
            finally:
                if not more:
                    file.close()

        with span("sentrio.file.read", **{"file.path": os.fspath(self.path)}) as current:
            file, result = await acquire(begin, release=_close_first)
            if file is not None:
                try:
                    while await call_sync(_read_step, file, pieces, abandon_after=GRACE_SECONDS):
                        pass
                    result = await call_sync(finish, pieces, abandon_after=GRACE_SECONDS)
                finally:
                    await clean_up(file.close)
            size = sum(map(len, pieces))
            _bytes_read(size)
            current.set_attribute("file.size", size)
        return result  # type: ignore[return-value]  # it is there when the file is not, or has been read


def _read_step(file: io.FileIO, pieces: list[bytes]) -> bool:
    """Read one piece and tell whether there may be more."""
    size = 0
    parts = []
    while size < STEP_BYTES:
        part = file.read(STEP_BYTES - size)
        if not part:
            break
        parts.append(part)
        size += len(part)
    pieces.append(b"".join(parts))
    return size == STEP_BYTES


def _close_first(answer: tuple[io.FileIO | None, object]) -> None:
    if answer[0] is not None:
        answer[0].close()


class _Counted(io.FileIO):
    """A file that knows how many bytes were read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self.count += len(chunk)
        return chunk


class FileIterator(Generic[T]):
    """What a file holds, piece by piece, for ``async for``; ``async with`` closes the file at once."""

    def __init__(self, path: str | os.PathLike[str], step: Callable[[io.FileIO], list[T]]) -> None:
        self._path = os.fspath(path)
        self._step = step
        self._file: _Counted | None = None
        self._span = span("sentrio.file.read", **{"file.path": self._path})
        self._items: list[T] = []  # in reverse order
        self._ended = False
        self._clock = _CLOCK_EVERY
        self._yielded = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._items:
            await self._fetch()
        self._clock -= 1
        if not self._clock:
            self._clock = _CLOCK_EVERY
            if time.perf_counter() - self._yielded > _YIELD_SECONDS:
                await anyio.lowlevel.checkpoint()
                self._yielded = time.perf_counter()
        return self._items.pop()

    async def aclose(self) -> None:
        """Close the file; the iteration is over."""
        self._ended = True
        self._items.clear()
        self._span.end()
        file, self._file = self._file, None
        if file is not None:
            await clean_up(file.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A bare `async for` that is left early. The file is open for reading: closing it waits for nothing.
        if getattr(self, "_file", None) is not None:
            self._span.end()
            self._file.close()  # type: ignore[union-attr]

    async def _fetch(self) -> None:
        if self._ended:
            raise StopAsyncIteration
        try:
            if self._file is None:
                self._span.start()
                self._file = await acquire(_Counted, self._path, release=_Counted.close)
            before = self._file.count
            items = await call_sync(self._step, self._file, abandon_after=GRACE_SECONDS)
        except BaseException as exc:
            self._span.end(type(exc))
            await self.aclose()
            raise
        _bytes_read(self._file.count - before)
        self._span.set_attribute("file.size", self._file.count)
        self._yielded = time.perf_counter()
        if not items:
            await self.aclose()
            raise StopAsyncIteration
        items.reverse()
        self._items = items
