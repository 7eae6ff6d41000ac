"""Rows in the order of their hashes, more of them than memory should hold, given back part by part.

All rows with one hash come back together, whichever morsel brought them: that is what it takes to compare rows that
lie far from each other.
"""

from __future__ import annotations

__all__ = ("HashedRows", "Piece", "copied", "make_file")

import math
import queue
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import pairwise
from typing import IO

import attrs
import polars as pl

#: bytes that are kept in memory
_KEPT_BYTES = 8 * 2**20
# Size of a part that is given back, so that a step of work on it is short, and memory for it small.
_PART_BYTES = 4 * 2**20
# More parts than this make many small writes; then a part is larger.
_MOST_PARTS = 256
# What is written at once: larger buffers stay with the process after they are given back.
_BUFFERED_BYTES = 2**18
# Pieces of a part that are read in one step.
_PIECES_READ = 256
# Parts of who knows how many rows.
_PARTS = 128


def _cuts(hashes: pl.Series, parts: int) -> list[int]:
    """Return where sorted hashes begin that belong to each of so many parts, and the end."""
    width = 2**64 // parts
    edges = pl.Series([part * width for part in range(1, parts)], dtype=pl.UInt64)
    return [0, *hashes.search_sorted(edges).to_list(), len(hashes)] if parts > 1 else [0, len(hashes)]


@attrs.frozen(eq=False)
class Piece:
    """What one morsel brought: rows in memory, or where each part of them stands in the file."""

    frame: pl.DataFrame | None
    places: array[int] = attrs.field(factory=lambda: array("Q"))


@attrs.define(eq=False)
class _Shared:
    kept: int = 0
    parts: int = 0  #: in which the rows are cut; 0: not cut yet
    full: bool = False  #: nothing can be written, and that must do
    file: IO[bytes] | None = None
    end: int = 0


class HashedRows:
    """Rows of frames with one schema, in memory at first, then in a temporary file without a name.

    What :meth:`add` returns is not part of the rows before it is given to :meth:`parts`, so that a morsel that is
    measured twice counts once. Threads may add at the same time.

    :param hash_column: the column with the hashes
    :param rows: how many rows are expected, at most; ``None``: nobody knows
    :param needs_file: whether it is an error if no file can be written; else the rows stay in memory
    """

    def __init__(self, hash_column: str, rows: int | None, *, needs_file: bool = True) -> None:
        self._hash, self._rows = hash_column, rows
        self._needs_file = needs_file
        self._closed = False
        # Whoever takes it out may change it; the others wait until it is back.
        self._shared: queue.SimpleQueue[_Shared] = queue.SimpleQueue()
        self._shared.put(_Shared())

    @contextmanager
    def _sharing(self) -> Iterator[_Shared]:
        shared = self._shared.get()
        try:
            yield shared
        finally:
            self._shared.put(shared)
            if self._closed:  # by a cancelled run that left this call behind, maybe just now
                self.free()

    @property
    def closed(self) -> bool:
        """Whether nobody will ask for the rows: a call that a cancelled run left behind need not go on."""
        return self._closed

    def add(self, frame: pl.DataFrame) -> Piece:
        """Take rows that are sorted by their hashes; runs in a worker thread.

        :raises OSError: if the file can not be written, but is needed
        """
        if not frame.height:
            return Piece(frame.clear())
        with self._sharing() as shared:
            if shared.full:
                return Piece(frame)
            parts = shared.parts
        if not parts:
            # What it takes is told by nothing but a copy: it may hold on to all texts of the rows it was among.
            copy, size = copied(frame)
            with self._sharing() as shared:
                fits = not shared.parts and shared.kept + size <= _KEPT_BYTES
                if fits:
                    shared.kept += size
                elif not shared.parts:
                    shared.parts = _parts(size, None if self._rows is None else self._rows / frame.height)
                parts = shared.parts
            if fits:
                return Piece(copy)
            del copy
        try:
            return Piece(None, self._written(frame, _cuts(frame[self._hash], parts)))
        except OSError:
            if self._needs_file:
                raise
            with self._sharing() as shared:
                shared.full = True
            return Piece(frame)

    def _written(self, frame: pl.DataFrame, cuts: Sequence[int]) -> array[int]:
        """Write rows; return where each part begins and ends."""
        places, data = array("Q"), BytesIO()
        waiting = [0]  # where the parts that are not in the file yet begin
        for begin, end in pairwise(cuts):
            if end > begin and not self._closed:
                _write(frame[begin:end], data)
            waiting.append(data.tell())
            if data.tell() >= _BUFFERED_BYTES or len(places) + 2 * len(waiting) == 2 * len(cuts):
                first = self._append(data)
                for place in pairwise(waiting):
                    places.extend(first + at for at in place)
                waiting = [0]
        return places

    def _append(self, data: BytesIO) -> int:
        """Write what waits; return where it begins in the file."""
        with self._sharing() as shared:
            if self._closed:
                return 0
            if shared.file is None:
                shared.file = make_file()
            begin = shared.file.seek(shared.end)
            shared.file.write(data.getbuffer())
            shared.file.flush()  # a disk that is full must say so now, while the rows are still here
            shared.end = shared.file.tell()
        data.seek(0)
        data.truncate()
        return begin

    @property
    def count(self) -> int:
        """How many parts there are, a power of two, once all rows were added."""
        with self._sharing() as shared:
            return shared.parts or _parts(shared.kept)

    def parts(self, pieces: Sequence[Piece]) -> Iterator[pl.DataFrame | None]:
        """Return the rows of these pieces, sorted by their hashes, part by part; an empty frame for a part without.

        Each part holds the hashes with its own leading bits, as its number says. ``None`` stands between them where
        a step of work may end, since the rest of a part takes another one.

        :raises OSError: if the file can not be read
        """
        count = self.count
        kept = [(frame, _cuts(frame[self._hash], count)) for piece in pieces if (frame := piece.frame) is not None]
        written = [piece.places for piece in pieces if piece.frame is None]
        for part in range(count):
            frames = [frame[bounds[part] : bounds[part + 1]] for frame, bounds in kept]
            for first in range(0, len(written), _PIECES_READ):
                if first:
                    yield None
                places = written[first : first + _PIECES_READ]
                frames += self._load([(place[2 * part], place[2 * part + 1]) for place in places])
            yield self._sorted(frames)

    def _load(self, places: Sequence[tuple[int, int]]) -> list[pl.DataFrame]:
        with self._sharing() as shared:
            file = shared.file
            frames = []
            for begin, end in places:
                if end > begin and file is not None and not self._closed:
                    file.seek(begin)
                    frames.append(_read(file.read(end - begin)))
        return frames

    def _sorted(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        """Return all rows of some frames, which are then no longer held there."""
        if not frames:
            return pl.DataFrame()
        rows = pl.concat(frames)
        frames.clear()
        # A thread alone takes half the time of all threads that Polars would ask.
        return rows.sort(self._hash, multithreaded=False)

    def close(self) -> None:
        """Forget the rows; quick."""
        self._closed = True

    def free(self) -> None:
        """Give the room on the disk back, once closed; blocks for as long as that takes."""
        try:
            shared = self._shared.get_nowait()
        except queue.Empty:  # a call that was left behind has it, and will close the file
            return
        _give_up(shared)
        self._shared.put(shared)

    @property
    def needs_free(self) -> bool:
        """Whether there is a file to be closed, unless a call that was left behind has it."""
        try:
            shared = self._shared.get_nowait()
        except queue.Empty:
            return False
        needs = shared.file is not None and not shared.file.closed
        self._shared.put(shared)
        return needs


def make_file() -> IO[bytes]:
    """Make a temporary file that is gone once it is closed, or whatever ends this process."""
    return tempfile.TemporaryFile(prefix="sentrio-")


def _parts(size: float, times: float | None = 1) -> int:
    """Return in how many parts to cut so many bytes, so many times.

    A power of two, so that each part is a range of leading bits.
    """
    if times is None:
        return _PARTS
    wanted = math.ceil(max(size * max(times, 1), 1) / _PART_BYTES)
    return min(1 << (wanted - 1).bit_length(), _MOST_PARTS)


def _write(frame: pl.DataFrame, target: BytesIO) -> None:
    # Texts with the places where they begin, as Arrow first had them, are smaller than views of them; to pack the
    # rows would take three times as long as to write what that saves.
    frame.write_ipc_stream(target, compression="uncompressed", compat_level=pl.CompatLevel.oldest())


def copied(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return a copy of a frame that holds on to nothing but its own rows, and its size when it is written."""
    data = BytesIO()
    _write(frame, data)
    return _read(data.getvalue()), data.tell()


def _read(data: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(data)


def _give_up(shared: _Shared) -> None:
    if shared.file is not None:
        with suppress(OSError):  # of a full disk, once more
            shared.file.close()
