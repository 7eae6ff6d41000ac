"""How far two distributions are from each other.

They compare counts of the same bins or categories.
"""

from __future__ import annotations

__all__ = ("chi_squared_p", "decile_edges", "jensen_shannon", "population_stability", "upper_gamma")

import math
from collections.abc import Sequence
from itertools import pairwise

# A share of nothing has no logarithm; this is what it counts as.
_LEAST_SHARE = 1e-4


def _shares(counts: Sequence[float]) -> list[float]:
    total = math.fsum(counts)
    return [count / total for count in counts]


def population_stability(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return the population stability index: the sum of (f - e) ln(f / e) over all shares.

    Siddiqi, "Credit Risk Scorecards" (2006); below 0.1 nothing has changed, above 0.25 much. A share below 0.0001
    counts as 0.0001.
    """
    pairs = zip(_shares(expected), _shares(found), strict=True)
    terms = [(max(e, _LEAST_SHARE), max(f, _LEAST_SHARE)) for e, f in pairs]
    return math.fsum((f - e) * math.log(f / e) for e, f in terms)


def jensen_shannon(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return the Jensen-Shannon distance, from 0 for equal distributions to 1 for such without a common value.

    The root of the divergence to base 2 (Lin, "Divergence measures based on the Shannon entropy", 1991; Endres and
    Schindelin, "A new metric for probability distributions", 2003).
    """
    terms = []
    for e, f in zip(_shares(expected), _shares(found), strict=True):
        middle = (e + f) / 2
        terms += [share / 2 * math.log2(share / middle) for share in (e, f) if share]
    return math.sqrt(min(max(math.fsum(terms), 0.0), 1.0))


def chi_squared_p(expected: Sequence[float], found: Sequence[int], *, sampled: bool) -> float:
    """Return the p-value of Pearson's chi-squared test: how likely a difference like this is by chance.

    :param expected: shares that are known, or the counts of another sample
    :param sampled: whether ``expected`` are counts; then the test is that of homogeneity of two samples, with their
        common shares estimated from both, else that of the goodness of fit
    """
    kept = [(e, f) for e, f in zip(expected, found, strict=True) if e or f]
    if len(kept) < 2:
        return 1.0
    n = math.fsum(f for _, f in kept)
    m = math.fsum(e for e, _ in kept)
    terms = []
    for e, f in kept:
        if sampled:
            common = (e + f) / (n + m)
            terms += [(f - n * common) ** 2 / (n * common), (e - m * common) ** 2 / (m * common)]
        elif not e:
            return 0.0  # it can not occur, and does
        else:
            wanted = n * e / m
            terms.append((f - wanted) ** 2 / wanted)
    return upper_gamma((len(kept) - 1) / 2, math.fsum(terms) / 2)


def upper_gamma(a: float, x: float) -> float:
    """Return the regularised upper incomplete gamma function Q(a, x).

    By its series (Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 6.5.29) where ``x`` is small,
    else by the continued fraction of Legendre (6.5.31), evaluated from its front as Lentz does.
    """
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        step = a
        while abs(term) > abs(total) * 1e-16:
            step += 1
            term *= x / step
            total += term
        return max(0.0, 1 - total * scale)
    tiny = 1e-300
    b = x + 1 - a
    c = 1 / tiny
    d = 1 / b
    fraction = d
    for i in range(1, 10_000):
        weight = -i * (i - a)
        b += 2
        d = 1 / (weight * d + b or tiny)
        c = b + weight / c or tiny
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return min(1.0, fraction * scale)


def decile_edges(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Return the edges of bins that hold a tenth of the reference each.

    A value on which two of the eleven quantiles fall, since at least a tenth of the reference is that value, gets a
    bin of its own: otherwise a column of nearly equal values could go anywhere unseen.

    :param quantiles: from 0 to 1 in steps of 0.1
    """
    finite = [value for value in quantiles if math.isfinite(value)]
    edges = {value + 0.0 for value in quantiles[1:-1] if math.isfinite(value)}
    for low, high in pairwise(finite):
        if low == high:
            edges |= {low + 0.0, math.nextafter(low, math.inf)}
    return (-math.inf, *sorted(edges), math.inf)
