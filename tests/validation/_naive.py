"""What each validator means, written as plainly as possible over Python values."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
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
