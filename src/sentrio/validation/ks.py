"""The Kolmogorov-Smirnov statistic of two columns, in bounded memory.

It is the greatest distance of the two cumulative distributions (Kolmogorov 1933, Smirnov 1948). Counts in bins bound
it from both sides: at the edges of bins the distance is known, and within a bin it exceeds that by no more than what
lies in the bin. So only bins that may hold the greatest distance are looked into, and only until it is certain on
which side of a threshold it lies. While all values fit into memory it is exact, else too small by no more than what
the remaining bins hold.
"""

from __future__ import annotations

__all__ = ("Distance", "distance", "wanted_of_both")

from collections.abc import Mapping
from typing import Any

import attrs
import polars as pl

from sentrio.validation.metrics import Metric
from sentrio.validation.ranks import Bins, Inside, Span, key_of, room

# Bins that are looked into in one pass.
_AT_ONCE = 16

Values = Mapping[str, Any]


@attrs.frozen
class _Gap:
    """An interval of keys in which the distance is not known yet."""

    span: Span
    below: tuple[int, int]  #: numbers below it, of both columns
    inside: tuple[int, int]
    bound: int  #: the distance is nowhere greater


@attrs.define
class Distance:
    """What is known of the greatest distance: it is at least ``least``, and more only within ``gaps``.

    Distances are counted in parts of the product of both numbers of values, so that nothing is rounded.
    """

    sides: tuple[Values, Values]
    known: int = 0
    gaps: list[_Gap] = attrs.field(factory=list)

    @property
    def whole(self) -> int:
        """The number that a distance of 1 is."""
        return int(self.sides[0]["evaluated"] * self.sides[1]["evaluated"])

    @property
    def least(self) -> float:
        """What it is at least."""
        return self.known / self.whole

    @property
    def most(self) -> float:
        """The greatest that it can be."""
        return max((gap.bound for gap in self.gaps), default=self.known) / self.whole

    def search(self, gap: _Gap) -> None:
        """Look into an interval as far as its counts are known."""
        first, second = self.sides
        if gap.bound <= self.known or gap.span.low == gap.span.high:
            return
        if gap.span.sorted in first and gap.span.sorted in second:
            self._compare(gap)
        elif gap.span.bins in first and gap.span.bins in second:
            self._descend(gap)
        else:
            self.gaps.append(gap)

    def _compare(self, gap: _Gap) -> None:
        """Find the greatest distance among the numbers themselves."""
        parts = [
            pl.DataFrame({"number": side[gap.span.sorted]}).with_columns(
                pl.lit(int(i == 0)).alias("a"), pl.lit(int(i == 1)).alias("b")
            )
            for i, side in enumerate(self.sides)
        ]
        steps = pl.concat(parts).group_by("number").sum().sort("number")
        self._see(self._shares(steps["a"].cum_sum(), 0, gap) - self._shares(steps["b"].cum_sum(), 1, gap))

    def _descend(self, gap: _Gap) -> None:
        """Look at the edges of bins, and into those bins that may hold more."""
        counts = [side[gap.span.bins].cast(pl.Int64) for side in self.sides]
        ends = [self._shares(count.cum_sum(), i, gap) for i, count in enumerate(counts)]
        starts = [self._shares(count.cum_sum() - count, i, gap) for i, count in enumerate(counts)]
        self._see(ends[0] - ends[1])
        crossed = pl.DataFrame({"x": (ends[0] - starts[1]).abs(), "y": (ends[1] - starts[0]).abs()})
        bounds = crossed.max_horizontal()
        width = Bins("", gap.span.low, gap.span.high).width
        if width == 1:
            return  # each bin is one number, and its end was looked at
        below = [count.cum_sum() - count for count in counts]
        order = bounds.arg_sort(descending=True)
        for position in order.filter(bounds.gather(order) > self.known):
            low = gap.span.low + position * width
            self.search(
                _Gap(
                    Span(low, min(low + width - 1, gap.span.high), 0, 0),
                    (gap.below[0] + int(below[0][position]), gap.below[1] + int(below[1][position])),
                    (int(counts[0][position]), int(counts[1][position])),
                    int(bounds[position]),
                )
            )

    def _shares(self, counts: pl.Series, side: int, gap: _Gap) -> pl.Series:
        below, total = (pl.lit(n, pl.Int128) for n in (gap.below[side], self.sides[1 - side]["evaluated"]))
        return pl.select((pl.lit(counts).cast(pl.Int128) + below) * total).to_series()

    def _see(self, apart: pl.Series) -> None:
        self.known = max(self.known, int(apart.abs().max() or 0))  # type: ignore[arg-type]


def distance(values: Values, others: Values) -> Distance:
    """Return what is known of the greatest distance of two columns that have values.

    NaN is greater than every number, so a different share of NaN is a distance as well.

    :param values: ``evaluated``, the values of :func:`sentrio.validation.ranks.rank_metrics`, and of what was wanted
    :param others: the same of the other column
    """
    found = Distance((values, others))
    known = [side for side in (values, others) if side["numbers"]]
    if known:
        span = Span(
            min(key_of(float(side["least"])) for side in known),
            max(key_of(float(side["greatest"])) for side in known),
            0,
            0,
        )
        found.known = abs(values["numbers"] * others["evaluated"] - others["numbers"] * values["evaluated"])
        found.search(_Gap(span, (0, 0), (values["numbers"], others["numbers"]), found.whole))
        found.gaps = [gap for gap in found.gaps if gap.bound > found.known]
    return found


def wanted_of_both(
    found: Distance, threshold: float, columns: tuple[str, str]
) -> tuple[dict[str, Metric], dict[str, Metric]]:
    """Return what another pass over each column must measure; nothing once the verdict is certain.

    What little is left is looked into all the same, as far as it fits into memory.
    """
    mine: dict[str, Metric] = {}
    others: dict[str, Metric] = {}
    left = room()
    certain = found.least > threshold or found.most <= threshold
    if certain and (len(found.gaps) > _AT_ONCE or sum(sum(gap.inside) for gap in found.gaps) > left):
        return mine, others
    for gap in sorted(found.gaps, key=lambda gap: (-gap.bound, gap.span.low))[:_AT_ONCE]:
        span = gap.span
        fits = sum(gap.inside) <= left
        left -= sum(gap.inside) if fits else 0
        kind, name = (Inside, span.sorted) if fits else (Bins, span.bins)
        mine[name] = kind(columns[0], span.low, span.high)
        others[name] = kind(columns[1], span.low, span.high)
    return mine, others
