"""Large row groups of Parquet, decoded a few pages at a time, each of them once."""

from __future__ import annotations

__all__ = ("LARGE_GROUP", "GroupRows")

from collections.abc import Callable, Collection, Iterator, Sequence

import attrs
import polars as pl
from polars.io.plugins import register_io_source

from sentrio.validation.facts import RowGroup
from sentrio.validation.sources.base import UNREADABLE
from sentrio.validation.sources.pages import UNUSUAL, ColumnPages

#: Row groups with more bytes than this in the columns that are read are too much for one morsel.
LARGE_GROUP = 32 * 2**20

# A column of so many bytes is decoded as a whole, and so many bytes of such columns in one step.
_WHOLE_COLUMN = 4 * 2**20
_WHOLE_COLUMNS = 16 * 2**20
# Pages of a column that are decoded together: enough that a query for itself does not count.
_PAGES_AT_ONCE = 4 * 2**20


@attrs.define(eq=False)
class _Window:
    """Rows of some columns that are decoded: a part of the row group that moves on."""

    columns: list[str]
    pages: ColumnPages | None = None  #: ``None``: the columns are decoded as a whole
    start: int = 0
    frame: pl.DataFrame | None = None

    @property
    def end(self) -> int:
        """The first row that is not decoded yet."""
        return self.start + self.frame.height if self.frame is not None else self.start

    def extend(self, begin: int, more: pl.DataFrame) -> None:
        """Put rows behind those from ``begin`` on, and forget what is before it."""
        if self.frame is not None:
            more = pl.concat([self.frame.slice(begin - self.start), more])
        self.start, self.frame = (begin if self.frame is not None else self.start), more


class GroupRows:
    """The rows of one row group, read from its first one to its last.

    :param frame: the rows of the file
    :param offset: number of the first row of the group within it
    :param columns: those that will be read; others are there as well, but for each look Polars reads all before it
    :param find: returns the pages of some of its columns; raises one of :data:`UNUSUAL` if they can not be found
    """

    def __init__(
        self,
        frame: pl.LazyFrame,
        offset: int,
        group: RowGroup,
        columns: Collection[str],
        find: Callable[[Collection[str]], dict[str, ColumnPages]],
    ) -> None:
        self._rows, self._offset, self._height, self._find = frame, offset, group.rows, find
        self._windows: list[_Window] = []
        self._paged: list[str] = []  # columns whose pages are not found yet
        room = 0
        for name in columns:
            size = group.chunks[name].bytes if name in group.chunks else None
            if size is None:
                continue
            if size > _WHOLE_COLUMN:
                self._paged.append(name)
                continue
            if room < size:
                self._windows.append(_Window([]))
                room = _WHOLE_COLUMNS
            self._windows[-1].columns.append(name)
            room -= size

    def lacks(self, end: int) -> bool:
        """Tell whether something must be decoded before the rows up to ``end`` can be had."""
        return bool(self._paged) or any(window.end < end for window in self._windows)

    def load(self, begin: int, end: int) -> None:
        """Do one short step towards the rows from ``begin`` to ``end``.

        What can not be read so is left to Polars, who says why if it can not read it either.
        """
        if self._paged:
            names, self._paged = self._paged, []
            try:
                found = self._find(names)
            except UNUSUAL:
                return
            self._windows += [_Window([name], pages) for name, pages in found.items()]
            return
        late = [window for window in self._windows if window.end < end]
        whole = next((window for window in late if window.pages is None), None)
        if whole is not None:
            part = self._rows.select(whole.columns).slice(self._offset, self._height)
            self._decode([whole], [part], [self._height], begin)
            return
        windows, parts, heights, room = [], [], [], _WHOLE_COLUMNS
        for window in late:
            assert window.pages is not None
            try:
                pages = window.pages.take(end, _PAGES_AT_ONCE)
            except UNUSUAL:
                self._windows.remove(window)
                continue
            windows.append(window)
            parts.append(pages.scan())
            heights.append(pages.rows)
            room -= max(pages.unpacked, _PAGES_AT_ONCE)
            if room <= 0:
                break
        self._decode(windows, parts, heights, begin)

    def _decode(
        self, windows: Sequence[_Window], parts: Sequence[pl.LazyFrame], heights: Sequence[int], begin: int
    ) -> None:
        try:
            frames = pl.collect_all(parts)
        except UNREADABLE:
            frames = []
        for number, window in enumerate(windows):
            if frames and frames[number].height == heights[number]:
                window.extend(begin, frames[number])
            else:
                self._windows.remove(window)

    def frame(self, begin: int, length: int) -> pl.LazyFrame:
        """Return some rows, of which :meth:`lacks` says that they are there."""
        schema = self._rows.collect_schema()
        parts = [each.frame.slice(begin - each.start, length) for each in self._windows if each.frame is not None]
        loaded = pl.concat(parts, how="horizontal") if parts else pl.DataFrame(height=length)
        if loaded.width == len(schema):
            return loaded.select(schema.names()).lazy()
        rest = self._rows.slice(self._offset + begin, length)

        # Put side by side in a query, Polars would always read some column of the rest.
        def rows(
            columns: list[str] | None, predicate: pl.Expr | None, most: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            names = schema.names() if columns is None else columns
            part = loaded
            if others := [name for name in names if name not in loaded.columns]:
                part = pl.concat([loaded, rest.select(others).collect()], how="horizontal")
            part = part.select(names) if most is None else part.select(names).head(most)
            yield part if predicate is None else part.filter(predicate)

        return register_io_source(rows, schema=schema, is_pure=True)
