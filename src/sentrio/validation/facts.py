"""What is known of a part of the data without reading its rows, told exactly or not at all."""

from __future__ import annotations

__all__ = ("UNKNOWN", "Chunk", "Facts", "Known", "Outside", "RowGroup")

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import attrs
import polars as pl

from sentrio.validation.values import python_holds


class _Unknown(Enum):
    UNKNOWN = "unknown"


#: stands where a value would, since ``None`` is one
UNKNOWN: Final = _Unknown.UNKNOWN


@attrs.define
class Chunk:
    """One column within one row group; ``None`` stands for what is not known."""

    nulls: int | None
    low: int | None = None  #: the least value, as the integer that it is stored as
    high: int | None = None
    dictionary: bool = False  #: whether its values stand in a dictionary
    bytes: int = 0  #: size of its values, not compressed


@attrs.define
class RowGroup:
    """Rows that are stored together."""

    rows: int
    chunks: Mapping[str, Chunk]


@attrs.frozen
class Facts:
    """What is known of one column of a part."""

    nulls: int | None = None
    low: Any = None  #: no value is less
    high: Any = None  #: no value is greater
    exact: bool = False  #: whether some row has the value ``low``, and some row ``high``
    dictionary: bool = False  #: whether its texts stand in a dictionary; of numbers nothing is won by that


class Known:
    """What is known of a part that consists of row groups or of pieces of them.

    :param pieces: row groups, with the number of rows of each that belong to the part
    :param first_row: number of the first row within the source
    :param ahead: returns a frame of about so many rows that begins where the part does, and its exact height
    :param scattered: whether it lies in several files, which each query opens anew, so that one query is enough
    """

    def __init__(
        self,
        schema: Mapping[str, pl.DataType],
        pieces: Sequence[tuple[RowGroup, int]],
        first_row: int = 0,
        ahead: Callable[[int], tuple[pl.LazyFrame, int]] | None = None,
        *,
        scattered: bool = False,
    ) -> None:
        self.first_row, self.ahead, self.scattered = first_row, ahead, scattered
        self.rows = sum(rows for _, rows in pieces)
        self._schema, self._pieces = schema, [piece for piece in pieces if piece[1]]
        self._facts: dict[str, Facts] = {}

    def column(self, name: str) -> Facts:
        """Return what is known of a column."""
        if (found := self._facts.get(name)) is None:
            found = self._facts[name] = self._look(name)
        return found

    def _look(self, name: str) -> Facts:
        nulls: int | None = 0
        extremes: list[tuple[int, int]] | None = []
        exact, dictionary = True, isinstance(self._schema[name], pl.String)
        for group, rows in self._pieces:
            chunk = group.chunks.get(name)
            if chunk is None:
                return Facts()
            dictionary = dictionary and chunk.dictionary
            if chunk.nulls == group.rows:
                nulls = None if nulls is None else nulls + rows
                continue  # nothing but nulls has no extremes
            whole = rows == group.rows
            exact = exact and whole
            nulls = (
                None
                if nulls is None or not (whole or chunk.nulls == 0) or chunk.nulls is None
                else nulls + chunk.nulls
            )
            if extremes is not None:
                extremes = None if chunk.low is None or chunk.high is None else [*extremes, (chunk.low, chunk.high)]
        low = high = None
        if extremes:
            low, high = self._values(name, min(low for low, _ in extremes), max(high for _, high in extremes))
        return Facts(nulls, low, high, exact and extremes is not None, dictionary)

    def _values(self, name: str, low: int, high: int) -> tuple[Any, Any]:
        dtype = self._schema[name]
        if dtype.is_integer():
            return low, high
        if not isinstance(dtype, pl.Date | pl.Datetime):
            return None, None
        if not python_holds(low, dtype) or not python_holds(high, dtype):
            return None, None  # beyond the times of Python, or finer than they are
        physical = pl.Series([low, high], dtype=pl.Int32 if dtype == pl.Date else pl.Int64)
        least, greatest = physical.cast(dtype).to_list()
        return least, greatest


@attrs.frozen
class Outside:
    """The values of a column that lie outside of an interval; no bounds: none does."""

    column: str
    low: Any = None
    high: Any = None
    inclusive: str = "both"

    def count(self, known: Known) -> Any:
        """Return how many there are, or ``UNKNOWN``."""
        facts = known.column(self.column)
        if facts.nulls == known.rows:
            return 0
        if facts.low is None or facts.high is None:
            return UNKNOWN
        try:
            if self._holds(facts.low) and self._holds(facts.high):
                return 0
            beyond = (self.low is not None and facts.high < self.low) or (
                self.high is not None and facts.low > self.high
            )
        except TypeError:  # a date and a time of day, say
            return UNKNOWN
        return known.rows - facts.nulls if beyond and facts.nulls is not None else UNKNOWN

    def _holds(self, value: Any) -> bool:
        left, right = self.inclusive in {"both", "left"}, self.inclusive in {"both", "right"}
        above = self.low is None or (value >= self.low if left else value > self.low)
        below = self.high is None or (value <= self.high if right else value < self.high)
        return bool(above and below)
