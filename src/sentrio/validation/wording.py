"""How numbers, shares and bounds are written for people."""

from __future__ import annotations

__all__ = ("at_least_share", "between", "count_of", "first_line", "listed", "number_text", "percent")

import math
from collections.abc import Sequence
from typing import Any


def number_text(value: Any) -> str:
    """Write a number with up to six significant digits; whole numbers in full."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}"


def percent(share: float) -> str:
    """Write a share as a percentage that never rounds up to 100 nor down to 0."""
    for digits in range(1, 9):
        shown = f"{share * 100:.{digits}f}"
        if (share < 1) == (float(shown) < 100) and (share > 0) == (float(shown) > 0):
            return f"{shown.rstrip('0').rstrip('.')} %"
    return "almost 100 %" if share > 0.5 else "almost 0 %"


def at_least_share(share: float) -> str:
    """Write the least share that must pass."""
    return f"at least {percent(share)}"


def between(low: Any, high: Any, inclusive: str = "both") -> str:
    """Write an interval; ``None`` is an open end."""
    above = "above" if inclusive in {"right", "neither"} else "at least"
    below = "below" if inclusive in {"left", "neither"} else "at most"
    if low is None and high is None:
        return "finite"
    if high is None:
        return f"{above} {number_text(low)}"
    if low is None:
        return f"{below} {number_text(high)}"
    if low == high:
        return f"exactly {number_text(low)}"
    if inclusive == "both":
        return f"{number_text(low)} to {number_text(high)}"
    return f"{above} {number_text(low)}, {below} {number_text(high)}"


def listed(values: Sequence[Any], *, most: int = 6) -> str:
    """Write a list of values; of a long one its beginning and its length."""
    shown = ", ".join(str(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown}, ... ({len(values)} values)"


def count_of(count: int, noun: str) -> str:
    """Write a count with its noun, and a separator for thousands."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def first_line(exc: BaseException) -> str:
    """Return what a library's error says, without its advice."""
    if type(exc).__name__ == "PanicException":
        return "damaged, or of a kind that Polars can not make sense of"
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[0] if lines else type(exc).__name__
