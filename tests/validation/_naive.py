"""What each validator means, written as plainly as possible over Python values."""

from __future__ import annotations

import datetime as dt
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

Row = dict[str, Any]


def count_failing(passes: Callable[[Any], bool], values: Sequence[Any]) -> tuple[int, int, list[int]]:
    """Return failed, evaluated, and the numbers of the failing rows; nulls are passed over."""
    failing = [i for i, value in enumerate(values) if value is not None and not passes(value)]
    return len(failing), sum(value is not None for value in values), failing


def not_null(values: Sequence[Any]) -> tuple[int, int, list[int]]:
    failing = [i for i, value in enumerate(values) if value is None]
    return len(failing), len(values), failing


def in_range(
    values: Sequence[Any], low: float | None, high: float | None, inclusive: str
) -> tuple[int, int, list[int]]:
    def passes(value: float) -> bool:
        if math.isnan(value):
            return False
        if low is None and high is None:
            return math.isfinite(value)
        above = low is None or (value >= low if inclusive in {"both", "left"} else value > low)
        below = high is None or (value <= high if inclusive in {"both", "right"} else value < high)
        return above and below

    return count_failing(passes, values)


def in_set(values: Sequence[Any], allowed: Sequence[Any]) -> tuple[int, int, list[int]]:
    return count_failing(lambda value: value in allowed, values)


def matches(values: Sequence[Any], pattern: str) -> tuple[int, int, list[int]]:
    return count_failing(lambda value: re.search(pattern, value) is not None, values)


def unique(rows: Sequence[tuple[Any, ...]], *, nulls_equal: bool) -> tuple[int, int, list[int]]:
    def key(row: tuple[Any, ...]) -> tuple[Any, ...]:
        # All NaNs are one value, and so are the two zeros.
        return tuple("NaN" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row)

    seen = [key(row) for row in rows if nulls_equal or None not in row]
    counts = Counter(seen)
    failing = [i for i, row in enumerate(rows) if (nulls_equal or None not in row) and counts[key(row)] > 1]
    return len(failing), len(seen), failing


def mean(values: Sequence[Any]) -> float | None:
    present = [float(value) for value in values if value is not None]
    if not present:
        return None
    if any(math.isnan(value) for value in present):
        return math.nan
    if math.inf in present or -math.inf in present:
        return math.nan if {math.inf, -math.inf} <= set(present) else math.inf if math.inf in present else -math.inf
    return math.fsum(present) / len(present)


def ordered(values: Sequence[Any]) -> list[float]:
    """The values that are not null as floats, sorted; NaN is greater than every number."""
    present = [float(value) for value in values if value is not None]
    return sorted(v for v in present if not math.isnan(v)) + [v for v in present if math.isnan(v)]


def quantile(values: Sequence[Any], q: float) -> float | None:
    """Linear interpolation between the closest ranks."""
    ranked = ordered(values)
    if not ranked:
        return None
    position = q * (len(ranked) - 1)
    low, high = ranked[math.floor(position)], ranked[math.ceil(position)]
    share = position - math.floor(position)
    if low == high or share == 0:
        return low
    if math.isfinite(low) and math.isfinite(high):
        return low * (1 - share) + high * share
    return low + (high - low) * share


def outliers(values: Sequence[Any]) -> list[int] | None:
    """The rows beyond Tukey's outer fences; ``None`` if there are none."""
    first, third = quantile(values, 0.25), quantile(values, 0.75)
    if first is None or third is None or not math.isfinite(first) or not math.isfinite(third):
        return None
    low, high = first - 3 * (third - first), third + 3 * (third - first)
    return [
        i
        for i, value in enumerate(values)
        if value is not None and (value < low or value > high or math.isnan(value))
    ]


def below(left: Any, right: Any) -> bool:
    """Whether one value is below another; NaN is above every number."""
    if isinstance(left, float) and math.isnan(left):
        return False
    if isinstance(right, float) and math.isnan(right):
        return True
    return bool(left < right)


def monotonic(values: Sequence[Any], *, decreasing: bool, strict: bool) -> tuple[int, int, list[int]]:
    present = [(i, value) for i, value in enumerate(values) if value is not None]
    failing = []
    for (_, before), (i, value) in pairwise(present):
        wrong = below(before, value) if decreasing else below(value, before)
        if wrong or (strict and not below(before, value) and not below(value, before)):
            failing.append(i)
    return len(failing), len(present), failing


def compare(left: Sequence[Any], operator: str, right: Sequence[Any]) -> tuple[int, int, list[int]]:
    pairs = [None if a is None or b is None else (a, b) for a, b in zip(left, right, strict=True)]

    def passes(pair: tuple[Any, Any]) -> bool:
        less, more = below(*pair), below(*reversed(pair))
        return {
            "<": less, "<=": not more, "==": not less and not more,
            "!=": less or more, ">=": not less, ">": more,
        }[operator]  # fmt: skip

    return count_failing(passes, pairs)


def std(values: Sequence[Any]) -> float | None:
    present = [float(value) for value in values if value is not None]
    if len(present) < 2:
        return None
    if not all(map(math.isfinite, present)):
        return math.nan
    return statistics.stdev(present)


def total(values: Sequence[Any]) -> Any:
    present = [value for value in values if value is not None]
    if not present:
        return None
    if not any(isinstance(value, float) for value in present):
        return sum(present)
    if any(map(math.isnan, present)) or {math.inf, -math.inf} <= set(present):
        return math.nan
    return next((value for value in present if math.isinf(value)), None) or math.fsum(present)


def extreme(values: Sequence[Any], choose: Callable[..., Any]) -> Any:
    present = [value for value in values if value is not None]
    numbers = [value for value in present if value == value]
    return choose(numbers) if numbers else present[0] if present else None


def instant(value: dt.date) -> dt.datetime:
    """A date is its midnight, a time without a zone is UTC."""
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    return value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)


def date_range(values: Sequence[Any], low: dt.date | None, high: dt.date | None) -> tuple[int, int, list[int]]:
    def passes(value: dt.date) -> bool:
        moment = instant(value)
        if low is not None and moment < instant(low):
            return False
        if high is None:
            return True
        if not isinstance(high, dt.datetime):
            return moment.astimezone(dt.UTC).date() <= high
        return moment <= instant(high)

    return count_failing(passes, values)


def cumulative_distance(values: Sequence[Any], others: Sequence[Any]) -> float:
    """The Kolmogorov-Smirnov statistic."""
    first, second = ordered(values), ordered(others)

    def upto(ranked: Sequence[float], bound: float) -> float:
        return sum(not below(bound, value) for value in ranked) / len(ranked)

    return max(abs(upto(first, value) - upto(second, value)) for value in {*first, *second})


def binned(values: Sequence[Any], reference: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Counts of the reference and of the values in the bins of :class:`Distribution`, NaN in the last one."""
    marks = [quantile(reference, i / 10) or 0.0 for i in range(11)]
    edges = {mark for mark in marks[1:10] if math.isfinite(mark)}
    for low, high in pairwise(mark for mark in marks if math.isfinite(mark)):
        if low == high:
            edges |= {low, math.nextafter(low, math.inf)}
    ascending = sorted(edges)

    def count(cells: Sequence[Any]) -> list[int]:
        counts = [0] * (len(ascending) + 2)
        for cell in cells:
            if cell is not None:
                counts[-1 if math.isnan(cell) else sum(edge <= cell for edge in ascending)] += 1
        return counts

    return count(reference), count(values)


def psi(expected: Sequence[float], found: Sequence[float]) -> float:
    shares = [[max(count / sum(counts), 0.0001) for count in counts] for counts in (expected, found)]
    return math.fsum((f - e) * math.log(f / e) for e, f in zip(*shares, strict=True))


def js(expected: Sequence[float], found: Sequence[float]) -> float:
    def entropy(shares: Sequence[float]) -> float:
        return -sum(share * math.log2(share) for share in shares if share)

    first, second = ([count / sum(counts) for count in counts] for counts in (expected, found))
    middle = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    return math.sqrt(max(0.0, entropy(middle) - (entropy(first) + entropy(second)) / 2))
