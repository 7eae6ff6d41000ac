"""Rows in the order of their hashes, more of them than memory should hold, given back part by part.

All rows with one hash come back together, whichever morsel brought them: that is what it takes to compare rows that
lie far from each other.
"""

from __future__ import annotations

__all__ = ("HashedRows", "Piece")

import math
import os
import queue
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import IO, Literal

import attrs
import polars as pl

from sentrio.validation.sources.scratch import Scratch

#: bytes that are kept in memory
_KEPT_BYTES = 8 * 2**20
# Size of a part that is given back, so that a step of work on it is short, and memory for it small.
_PART_BYTES = 8 * 2**20
# More parts than this make many small writes; then a part is larger.
_MOST_PARTS = 256
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
    path: Path | None = None
    end: int = 0


class HashedRows:
    """Rows of frames with one schema, in memory at first, then in a temporary file.

    What :meth:`add` returns is not part of the rows before it is given to :meth:`parts`, so that a morsel that is
    measured twice counts once. Threads may add at the same time.

    :param hash_column: the column with the hashes
    :param rows: how many rows are expected, at most; ``None``: nobody knows
    :param packed: whether rows are packed when they are written; hashes alone can not be
    :param needs_file: whether it is an error if no file can be written; else the rows stay in memory
    """

    def __init__(self, hash_column: str, rows: int | None, *, packed: bool = True, needs_file: bool = True) -> None:
        self._hash, self._rows = hash_column, rows
        # Without packing, small pieces cost little.
        self._part_bytes = _PART_BYTES if packed else _PART_BYTES // 2
        self._compression: Literal["lz4", "uncompressed"] = "lz4" if packed else "uncompressed"
        self._needs_file = needs_file
        self._scratch = Scratch()
        self._closed = False
        # Whoever takes it out may change it; the others wait until it is back.
        self._shared: queue.SimpleQueue[_Shared] = queue.SimpleQueue()
        self._shared.put(_Shared())

    def _parts(self, size: float) -> int:
        """Return in how many parts to cut so many bytes: a power of two, so that each is a range of leading bits."""
        wanted = math.ceil(max(size, 1) / self._part_bytes)
        return min(1 << (wanted - 1).bit_length(), _MOST_PARTS)

    @property
    def closed(self) -> bool:
        """Whether nobody will ask for the rows: a call that a cancelled run left behind need not go on."""
        return self._closed

    def add(self, frame: pl.DataFrame) -> Piece:
        """Take rows that are sorted by their hashes; runs in a worker thread.

        :raises OSError: if the file can not be written, but is needed
        """
        size = int(frame.estimated_size())
        shared = self._shared.get()
        try:
            if shared.full or shared.kept + size <= _KEPT_BYTES or not frame.height:
                shared.kept += size
                return Piece(frame)
            if not shared.parts:
                expected = None if self._rows is None else max(self._rows / frame.height, 1) * size
                shared.parts = _PARTS if expected is None else self._parts(expected)
            parts = shared.parts
        finally:
            self._shared.put(shared)
        written = BytesIO()
        places = array("Q", [0])
        for begin, end in pairwise(_cuts(frame[self._hash], parts)):
            if end > begin and not self._closed:
                frame[begin:end].write_ipc_stream(written, compression=self._compression)
            places.append(written.tell())
        try:
            return Piece(None, self._write(written, places))
        except OSError:
            if self._needs_file:
                raise
            shared = self._shared.get()
            shared.full = True
            self._shared.put(shared)
            return Piece(frame)

    def _write(self, data: BytesIO, places: array[int]) -> array[int]:
        shared = self._shared.get()
        try:
            if shared.file is None:
                shared.path, shared.file = self._scratch.make(".arrows")
            shared.file.seek(shared.end)
            shared.file.write(data.getbuffer())
            shared.file.flush()  # a disk that is full must say so now, while the rows are still here
            places = array("Q", [shared.end + place for place in places])
            shared.end = places[-1]
        finally:
            if self._closed:  # by a cancelled run that left this call behind
                _give_up(shared)
            self._shared.put(shared)
        return places

    @property
    def count(self) -> int:
        """How many parts there are, a power of two, once all rows were added."""
        shared = self._shared.get()
        try:
            return shared.parts or self._parts(shared.kept)
        finally:
            self._shared.put(shared)

    def parts(self, pieces: Sequence[Piece]) -> Iterator[pl.DataFrame | None]:
        """Return the rows of these pieces, sorted by their hashes, part by part; an empty frame for a part without.

        Each part holds the hashes with its own leading bits, as its number says. ``None`` stands between them where
        a step of work may end, since the rest of a part takes another one.

        :raises OSError: if the file can not be read
        """
        count = self.count
        shared = self._shared.get()
        path = shared.path
        self._shared.put(shared)
        kept = [(frame, _cuts(frame[self._hash], count)) for piece in pieces if (frame := piece.frame) is not None]
        written = [piece.places for piece in pieces if piece.frame is None]
        for part in range(count):
            frames = [frame[bounds[part] : bounds[part + 1]] for frame, bounds in kept]
            for first in range(0, len(written), _PIECES_READ):
                if first:
                    yield None
                places = written[first : first + _PIECES_READ]
                frames += _read(path, [(place[part], place[part + 1]) for place in places])
            # A thread alone takes half the time of all threads that Polars would ask.
            yield pl.concat(frames).sort(self._hash, multithreaded=False) if frames else pl.DataFrame()

    def close(self) -> None:
        """Forget the rows, and take the name of the file away; quick."""
        self._closed = True
        if os.name == "nt":  # there an open file can not be removed
            self.free()
        self._scratch.close()

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


def _read(path: Path | None, places: Sequence[tuple[int, int]]) -> list[pl.DataFrame]:
    assert path is not None, "no piece without a file"
    with path.open("rb") as file:
        frames = []
        for begin, end in places:
            if end > begin:
                file.seek(begin)
                frames.append(pl.read_ipc_stream(file.read(end - begin)))
    return frames


def _give_up(shared: _Shared) -> None:
    if shared.file is not None:
        with suppress(OSError):  # of a full disk, once more
            shared.file.close()
