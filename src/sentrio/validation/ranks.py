"""Order statistics of any number of values, exact and in bounded memory.

Numbers are mapped to 64-bit keys that sort as they do. Knowing the least and the greatest key, a pass counts the
keys in bins of equal width; the bin that holds a wanted rank is cut into bins again, until what it holds fits
into memory and is collected, or it is a single key. A key has 64 bits and a pass settles 14 of them, so that
five passes are enough for any data; well-spread ones need two.

NaN is greater than every number, as in Polars.
"""

from __future__ import annotations

__all__ = ("Bins", "Inside", "Numbers", "Span", "key_of", "quantile", "rank_metrics", "room", "wanted_metrics")

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.validation.metrics import Max, Metric, Min, ScanMetric

_BINS = 2**14
# Values that are kept to be sorted, 8 bytes each.
_COLLECTED = 500_000

_KEY = "__sentrio_key__"
_SIGN = 2**63
_ONES = 2**64 - 1


def room() -> int:
    """Return how many values are kept at once to be sorted."""
    return _COLLECTED


def key_of(value: float) -> int:
    """Return the key of a number."""
    bits: int = struct.unpack("<Q", struct.pack("<d", value + 0.0))[0]
    return _ONES - bits if bits & _SIGN else bits + _SIGN


def _value_of(key: int) -> float:
    bits = key - _SIGN if key & _SIGN else _ONES - key
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value


def _keys(column: str, low: int, high: int) -> tuple[pl.Expr, pl.Expr]:
    """Return which rows hold a number from ``low`` to ``high``, and the expression for their keys."""
    number = pl.col(column).cast(pl.Float64)
    bits = number.reinterpret(dtype=pl.UInt64)
    # NaN lies above every bound, so the interval passes it over.
    inside = number.is_between(_value_of(low), _value_of(high))
    # The two zeros are one number. (Adding 0.0 would make them so, but Polars leaves that out.)
    key = (
        pl.when(number < 0)
        .then(pl.lit(_ONES, pl.UInt64) - bits)
        .when(number > 0)
        .then(bits + pl.lit(_SIGN, pl.UInt64))
        .otherwise(pl.lit(_SIGN, pl.UInt64))
    )
    return inside, key


@attrs.frozen
class Numbers(Metric):
    """The number of values of a column that are neither null nor NaN."""

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the count."""
        return (nw.col(self.column).cast(nw.Float64).is_not_nan().sum(),)

    def merge(self, earlier: int, later: int) -> int:
        """Add up."""
        return earlier + later


@attrs.frozen
class Bins(ScanMetric):
    """How many keys each bin holds; the bins cut the interval from ``low`` to ``high`` into equal widths."""

    column: str
    low: int
    high: int

    @property
    def width(self) -> int:
        """The keys that one bin holds."""
        return (self.high - self.low) // _BINS + 1

    def scan(self, frame: pl.LazyFrame, row_index: str) -> pl.Series:
        """Count the keys of one morsel."""
        inside, key = _keys(self.column, self.low, self.high)
        bins = ((key - pl.lit(self.low, pl.UInt64)) // pl.lit(self.width, pl.UInt64)).cast(pl.UInt32)
        found = frame.filter(inside).select(bins.alias(_KEY)).group_by(_KEY).len()
        counts = found.collect(engine="streaming")
        return pl.repeat(0, _BINS, dtype=pl.UInt64, eager=True).scatter(counts[_KEY], counts["len"].cast(pl.UInt64))

    def merge(self, earlier: pl.Series, later: pl.Series) -> pl.Series:
        """Add up."""
        return earlier + later


@attrs.frozen
class Inside(ScanMetric):
    """The numbers within an interval of keys, sorted."""

    column: str
    low: int
    high: int

    def scan(self, frame: pl.LazyFrame, row_index: str) -> list[pl.Series]:
        """Return the numbers of one morsel."""
        inside, _ = _keys(self.column, self.low, self.high)
        number = pl.col(self.column).cast(pl.Float64).alias(_KEY)
        return [frame.filter(inside).select(number).collect(engine="streaming")[_KEY]]

    def merge(self, earlier: list[pl.Series], later: list[pl.Series]) -> list[pl.Series]:
        """Keep both."""
        earlier += later
        return earlier

    def work(self, state: list[pl.Series]) -> Iterator[None]:
        """Sort them all."""
        yield
        state[:] = [pl.concat(state).sort()]

    def finish(self, state: list[pl.Series]) -> pl.Series:
        """Return them."""
        return state[0]


@attrs.frozen
class Span:
    """An interval of keys that holds a wanted rank."""

    low: int
    high: int
    below: int  #: numbers below the interval
    inside: int  #: numbers within

    @property
    def bins(self) -> str:
        """The name of the metric that counts its keys in bins."""
        return f"bins {self.low} {self.high}"

    @property
    def sorted(self) -> str:
        """The name of the metric that holds its numbers, sorted."""
        return f"sorted {self.low} {self.high}"


def rank_metrics(column: str) -> dict[str, Metric]:
    """Return the metrics that the first phase must measure."""
    return {"numbers": Numbers(column), "least": Min(column), "greatest": Max(column)}


def _narrowed(rank: int, values: Mapping[str, Any]) -> Span | float:
    """Return what is known of a rank: its number, or the interval that holds it."""
    numbers = values["numbers"]
    if rank >= numbers:
        return math.nan
    span = Span(key_of(float(values["least"])), key_of(float(values["greatest"])), 0, numbers)
    while span.low < span.high:
        if (found := values.get(span.sorted)) is not None:
            return float(found[rank - span.below]) + 0.0
        counts: pl.Series | None = values.get(span.bins)
        if counts is None:
            return span
        upto = counts.cum_sum()
        position = int(upto.search_sorted(rank - span.below, side="right"))
        width = (span.high - span.low) // _BINS + 1
        low = span.low + position * width
        inside = int(counts[position])
        below = span.below + int(upto[position]) - inside
        span = Span(low, min(low + width - 1, span.high), below, inside)
    return _value_of(span.low)


def _ranks(q: float, count: int) -> tuple[int, int, float]:
    """Return the two ranks between which a quantile lies, and how far it is from the first one."""
    position = q * (count - 1)
    low = min(int(position), count - 1)
    return low, min(math.ceil(position), count - 1), position - low


def wanted_metrics(column: str, quantiles: Sequence[float], values: Mapping[str, Any]) -> dict[str, Metric]:
    """Return what another pass must measure to know these quantiles; nothing if they are known.

    :param quantiles: from 0 to 1
    :param values: ``evaluated``, the values of :func:`rank_metrics`, and of all that was wanted before
    """
    count = values["evaluated"]
    if not count:
        return {}
    ranks = {rank for q in quantiles for rank in _ranks(q, count)[:2]}
    spans = {span for rank in ranks if isinstance(span := _narrowed(rank, values), Span)}
    wanted: dict[str, Metric] = {}
    left = room()
    for span in sorted(spans, key=lambda span: (span.inside, span.low)):
        if span.inside <= left:
            left -= span.inside
            wanted[span.sorted] = Inside(column, span.low, span.high)
        else:
            wanted[span.bins] = Bins(column, span.low, span.high)
    return wanted


def quantile(q: float, values: Mapping[str, Any]) -> float:
    """Return a quantile of at least one value, by linear interpolation between the two closest ranks.

    That is the seventh definition of Hyndman and Fan, "Sample quantiles in statistical packages" (1996), and the
    default of Polars and NumPy. Call it once :func:`wanted_metrics` wants nothing more.
    """
    first, second, share = _ranks(q, values["evaluated"])
    low, high = (_narrowed(rank, values) for rank in (first, second))
    assert not isinstance(low, Span)
    assert not isinstance(high, Span)
    if first == second or low == high:
        return low
    if math.isinf(high - low) and math.isfinite(low) and math.isfinite(high):
        return low * (1 - share) + high * share
    return low + (high - low) * share
