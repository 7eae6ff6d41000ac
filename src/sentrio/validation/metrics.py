"""Mergeable metrics: what is measured on one morsel, and how two measurements become one.

A metric is a frozen attrs class. Its fields are its identity: two checks that need an equal metric share one
measurement. Expressions are written against the namespace ``nw``, which is Polars or a library with the same
expressions, so that the same metric can be pushed down to another engine.
"""

from __future__ import annotations

__all__ = (
    "Count",
    "FromSchema",
    "Histogram",
    "Matching",
    "Max",
    "Mean",
    "Metric",
    "Min",
    "Moments",
    "MomentsValue",
    "NullCount",
    "Present",
    "ScanMetric",
    "Sum",
)

import decimal
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from sentrio.validation.facts import UNKNOWN, Known, Outside

if TYPE_CHECKING:
    import polars as pl


class Metric(ABC):
    """Something measured by expressions that give one scalar each, in the fused select of a morsel."""

    #: bytes that measuring a row takes for a moment, besides the row
    working_bytes: ClassVar[int] = 0

    @abstractmethod
    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the expressions; each aggregates the morsel to one value."""

    def state(self, values: Sequence[Any]) -> Any:
        """Make the state of one morsel from the values of the expressions; runs in the worker thread."""
        return values[0]

    def known(self, part: Known) -> Any:
        """Return the state of a part if what is known of it tells, else ``UNKNOWN``; then it is measured."""
        return UNKNOWN

    def begin(self, rows: int | None) -> Metric:
        """Return what measures in one run: itself, unless it holds something until it is closed.

        :param rows: of the source; ``None``: not known yet
        """
        return self

    @abstractmethod
    def merge(self, earlier: Any, later: Any) -> Any:
        """Combine the states of two neighbouring parts; runs in the event loop, so it must be quick."""

    def work(self, state: Any) -> Iterator[None]:
        """Do what is left to do once all morsels are merged; each step runs in a worker thread."""
        return iter(())

    def finish(self, state: Any) -> Any:
        """Return the value of the metric."""
        return state

    def close(self) -> None:
        """Give back what the metric of one run holds, such as a file; quick, and called in any case."""
        return

    @property
    def needs_free(self) -> bool:
        """Whether :meth:`free` has something to do."""
        return False

    def free(self) -> None:
        """Give back, after :meth:`close`, what takes time; runs in a worker thread."""
        return


class ScanMetric(Metric):
    """Something measured by a query of its own on each morsel, because no scalar can hold it."""

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return no expressions: :meth:`scan` measures."""
        return ()

    @abstractmethod
    def scan(self, frame: pl.LazyFrame, row_index: str) -> Any:
        """Return the state of one morsel, whose column ``row_index`` numbers the rows of the source."""


class _Total(Metric):
    """A number that adds up."""

    def merge(self, earlier: int, later: int) -> int:
        return earlier + later


@attrs.frozen
class FromSchema(Metric):
    """Something that the schema says, so that no row is asked."""

    value: Any

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return no expressions."""
        return ()

    def state(self, values: Sequence[Any]) -> Any:
        """Return the value."""
        return self.value

    def known(self, part: Known) -> Any:
        """Return the value."""
        return self.value

    def merge(self, earlier: Any, later: Any) -> Any:
        """Return the value, which is the same everywhere."""
        return earlier


@attrs.frozen
class Count(_Total):
    """The number of rows, or of the values of a column that are not null."""

    column: str | None = None

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the length of the frame or the count of the column."""
        return (nw.len() if self.column is None else nw.col(self.column).count(),)

    def known(self, part: Known) -> Any:
        """Return the rows less the nulls."""
        nulls = 0 if self.column is None else part.column(self.column).nulls
        return UNKNOWN if nulls is None else part.rows - nulls


@attrs.frozen
class NullCount(_Total):
    """The number of nulls in a column."""

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the null count of the column."""
        return (nw.col(self.column).null_count(),)

    def known(self, part: Known) -> Any:
        """Return the nulls."""
        nulls = part.column(self.column).nulls
        return UNKNOWN if nulls is None else nulls


@attrs.frozen(eq=False)  # an expression has no equality; Polars itself finds common parts
class Matching(_Total):
    """The number of rows for which a boolean expression is true.

    :param outside: what the expression says, if it finds the values outside of an interval
    :param summed: the same condition in words that are quicker to add up, where filters are better told otherwise
    """

    condition: Any
    outside: Outside | None = None
    summed: Any = None

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the sum of the condition, in which null counts as false."""
        return ((self.condition if self.summed is None else self.summed).sum(),)

    def known(self, part: Known) -> Any:
        """Return 0 if all values lie in the interval, and their number if none does."""
        return UNKNOWN if self.outside is None else self.outside.count(part)


@attrs.frozen(eq=False)
class Present(_Total):
    """The number of rows for which an expression is not null."""

    value: Any

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the count of the expression."""
        return (self.value.count(),)


@attrs.frozen
class Min(Metric):
    """The least value of a column; ``None`` if it has none. NaN is passed over."""

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the minimum of the column."""
        return (nw.col(self.column).min(),)

    def known(self, part: Known) -> Any:
        """Return the least value."""
        facts = part.column(self.column)
        if facts.nulls == part.rows:
            return None
        return facts.low if facts.low is not None and facts.exact else UNKNOWN

    def merge(self, earlier: Any, later: Any) -> Any:
        """Return the lesser one that is a value."""
        return _pick(earlier, later, min)


@attrs.frozen
class Max(Metric):
    """The greatest value of a column; ``None`` if it has none. NaN is passed over."""

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the maximum of the column."""
        return (nw.col(self.column).max(),)

    def known(self, part: Known) -> Any:
        """Return the greatest value."""
        facts = part.column(self.column)
        if facts.nulls == part.rows:
            return None
        return facts.high if facts.high is not None and facts.exact else UNKNOWN

    def merge(self, earlier: Any, later: Any) -> Any:
        """Return the greater one that is a value."""
        return _pick(earlier, later, max)


def _pick(earlier: Any, later: Any, choose: Any) -> Any:
    values = [value for value in (earlier, later) if value is not None]
    # A morsel of nothing but NaN answers NaN, which no other morsel's value may lose against.
    numbers = [value for value in values if value == value] or values
    return choose(numbers) if numbers else None


@attrs.frozen
class Mean(Metric):
    """The mean of a column as a float; ``None`` if it has no values.

    Means merge by the update formula of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
    for computing sample variances" (1979), which loses no precision when the parts differ in size.
    """

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return count and mean of the column."""
        column = nw.col(self.column)
        return (column.count(), column.cast(nw.Float64).mean())

    def state(self, values: Sequence[Any]) -> tuple[int, float]:
        """Return count and mean, 0 where there is no value."""
        count, mean = values
        return count, 0.0 if mean is None else mean

    def merge(self, earlier: tuple[int, float], later: tuple[int, float]) -> tuple[int, float]:
        """Return count and mean of both parts together."""
        (m, a), (n, b) = earlier, later
        if not m or not n:
            return later if not m else earlier
        if not math.isfinite(a) or not math.isfinite(b):
            return m + n, a + b  # infinities and NaN add up as values do
        if not math.isfinite(b - a):
            return m + n, a * (m / (m + n)) + b * (n / (m + n))
        return m + n, a + (b - a) * (n / (m + n))

    def finish(self, state: tuple[int, float]) -> float | None:
        """Return the mean, or ``None`` if there were no values."""
        count, mean = state
        return mean if count else None


@attrs.frozen(kw_only=True)
class MomentsValue:
    """What :class:`Moments` measures."""

    count: int  #: values that are not null
    mean: float | None  #: ``None`` if there are no values
    variance: float | None  #: of the sample, n-1 in the denominator; ``None`` if there are fewer than two values


@attrs.frozen
class Moments(Metric):
    """Count, mean and variance of a column.

    Parts merge by the same formula as :class:`Mean`, with the sums of squared deviations from the mean.
    NaN and infinities make the variance NaN.
    """

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return count, mean and the variance of the part."""
        value = nw.col(self.column).cast(nw.Float64)
        return (nw.col(self.column).count(), value.mean(), value.var(ddof=0))

    def state(self, values: Sequence[Any]) -> tuple[int, float, float]:
        """Return count, mean, and the sum of squared deviations."""
        count, mean, variance = values
        return count, 0.0 if mean is None else mean, 0.0 if variance is None else variance * count

    def merge(self, earlier: tuple[int, float, float], later: tuple[int, float, float]) -> tuple[int, float, float]:
        """Return the same of both parts together."""
        (m, a, s), (n, b, t) = earlier, later
        if not m or not n:
            return later if not m else earlier
        count, mean = Mean(self.column).merge((m, a), (n, b))
        apart = b - a
        return count, mean, s + t + apart * apart * (m / count) * n

    def finish(self, state: tuple[int, float, float]) -> MomentsValue:
        """Return what was measured."""
        count, mean, squares = state
        return MomentsValue(
            count=count, mean=mean if count else None, variance=squares / (count - 1) if count > 1 else None
        )


_EXACT = decimal.Context(prec=200)
_HALF = 2**64


@attrs.frozen
class Sum(Metric):
    """The sum of a column; ``None`` if it has no values. Whole numbers are added without limit, as Python's are.

    A column of decimals gives a :class:`decimal.Decimal`, one of floats a float, in which NaN and infinities count
    as usual.
    """

    column: str
    huge: bool = False  #: whether its numbers have 128 bits, so that a few of them can be too many for 128 bits

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the count and the sum, which for whole numbers is too wide to wrap."""
        value = nw.col(self.column)
        if self.huge:
            half = nw.lit(_HALF, dtype=nw.Int128)
            high = value.cast(nw.Int128, strict=True) // half
            return (value.count(), (value - high * half).sum(), high.sum())
        # With such a zero, integers of every width become the widest; floats and decimals stay what they are.
        return (value.count(), value.fill_null(nw.lit(0, dtype=nw.Int128)).sum())

    def state(self, values: Sequence[Any]) -> tuple[int, Any]:
        """Return the count and the sum."""
        return values[0], values[1] + values[2] * _HALF if self.huge else values[1]

    def merge(self, earlier: tuple[int, Any], later: tuple[int, Any]) -> tuple[int, Any]:
        """Add up."""
        (m, a), (n, b) = earlier, later
        return m + n, _EXACT.add(a, b) if isinstance(a, decimal.Decimal) else a + b

    def finish(self, state: tuple[int, Any]) -> Any:
        """Return the sum, or ``None`` if there were no values."""
        return state[1] if state[0] else None


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


@attrs.frozen
class Histogram(Metric):
    """How many values of a column lie between each two neighbouring edges, as a tuple of counts.

    Each interval holds its lower edge and not its upper one, but for the last, which holds both. NaN lies nowhere.

    :param edges: at least two numbers in ascending order; infinite ones leave no value out but NaN
    """

    column: str
    edges: tuple[float, ...] = attrs.field(converter=_floats)

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return one count for each interval."""
        value = nw.col(self.column).cast(nw.Float64)  # lest the edges lose digits to a narrower type
        last = len(self.edges) - 2
        return [
            value.is_between(low, high, closed="both" if i == last else "left").sum()
            for i, (low, high) in enumerate(pairwise(self.edges))
        ]

    def state(self, values: Sequence[Any]) -> tuple[int, ...]:
        """Return the counts."""
        return tuple(values)

    def merge(self, earlier: tuple[int, ...], later: tuple[int, ...]) -> tuple[int, ...]:
        """Add up."""
        return tuple(map(operator.add, earlier, later))
