"""What one pass over the data measures: metrics in groups, each of which is one select a morsel."""

from __future__ import annotations

__all__ = ("Group", "Phase")

import copy
from collections.abc import Mapping
from typing import Any

import attrs
import polars as pl

from sentrio.validation.metrics import Metric
from sentrio.validation.validators._base import Check


@attrs.define(eq=False)
class Group:
    """The metrics that share one select, since their checks look at the same rows."""

    where: str | None
    checks: list[Check] = attrs.field(factory=list)
    metrics: list[Metric] = attrs.field(factory=list)
    expressions: list[pl.Expr] = attrs.field(factory=list)
    spans: list[slice] = attrs.field(factory=list)
    roots: list[frozenset[str]] = attrs.field(factory=list)  #: the columns that each metric reads
    condition: pl.Expr | None = None
    _index: dict[Any, int] = attrs.field(factory=dict, init=False)

    def add(self, metric: Metric) -> int:
        """Add a metric unless an equal one is there; return its position."""
        try:
            hash(metric)
            key: Any = metric
        except TypeError:
            key = id(metric)  # a metric that holds a list, say: equal to itself only
        if (found := self._index.get(key)) is not None:
            return found
        start = len(self.expressions)
        expressions = metric.expressions(pl)
        self.expressions += [each.alias(f"m{start + i}") for i, each in enumerate(expressions)]
        self.spans.append(slice(start, len(self.expressions)))
        self.roots.append(frozenset(name for each in expressions for name in each.meta.root_names()))
        self.metrics.append(metric)
        self._index[key] = len(self.metrics) - 1
        return self._index[key]


Place = tuple[int, int]  # (group, metric)


@attrs.define(eq=False)
class Phase:
    """What one pass over the data measures."""

    groups: list[Group] = attrs.field(factory=list)
    places: dict[str, dict[str, Place]] = attrs.field(factory=dict)  # check id -> metric name -> place

    @property
    def columns(self) -> frozenset[str]:
        """The columns that are looked at."""
        return frozenset(name for group in self.groups for check in group.checks for name in check.columns)

    @property
    def working_bytes(self) -> int:
        """Bytes that measuring a row takes for a moment, besides the row."""
        return max((metric.working_bytes for group in self.groups for metric in group.metrics), default=0)

    def add(self, check: Check, metrics: Mapping[str, Metric], where: str | None = None) -> None:
        """Have this phase measure the metrics of a check.

        :param where: a condition of the whole plan, besides the check's own
        """
        own = check.rule.where
        number = next((i for i, group in enumerate(self.groups) if group.where == own), len(self.groups))
        if number == len(self.groups):
            conditions = [pl.sql_expr(text) for text in (where, own) if text is not None]
            self.groups.append(Group(own, condition=pl.all_horizontal(conditions) if conditions else None))
        group = self.groups[number]
        group.checks.append(check)
        self.places[check.id] = {name: (number, group.add(metric)) for name, metric in metrics.items()}

    def begin(self, rows: int | None) -> Phase:
        """Return this phase for one run over so many rows."""
        groups = []
        for group in self.groups:
            groups.append(copy.copy(group))
            groups[-1].metrics = [metric.begin(rows) for metric in group.metrics]
        return Phase(groups, self.places)

    def close(self) -> None:
        """Give back what the metrics hold."""
        for group in self.groups:
            for metric in group.metrics:
                metric.close()

    @property
    def needs_free(self) -> bool:
        """Whether :meth:`free` has something to do."""
        return any(metric.needs_free for group in self.groups for metric in group.metrics)

    def free(self) -> None:
        """Give back, after :meth:`close`, what takes time; runs in a worker thread."""
        for group in self.groups:
            for metric in group.metrics:
                metric.free()
