"""From validators and a schema to one fused plan, and from what was measured to a report.

All metrics of all checks with the same ``where`` become one ``select`` a morsel, each metric once however
many checks need it. A check may ask for another phase when its metrics are known.
"""

from __future__ import annotations

__all__ = ("Group", "MorselResult", "Phase", "Plan", "SampleOptions", "measure", "measured", "read_columns")

import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.errors import suggestion
from sentrio.validation.conditions import row_condition
from sentrio.validation.cuts import Learnt, filtered
from sentrio.validation.facts import UNKNOWN, Known
from sentrio.validation.metrics import Matching, Metric, ScanMetric
from sentrio.validation.samples import Row, SampleOptions, Wanted, pick_samples, take_samples
from sentrio.validation.types import is_pattern
from sentrio.validation.validators import Validator
from sentrio.validation.validators._base import Check, Schema
from sentrio.validation.wording import first_line

ROW = "__sentrio_row__"

_LACKS = re.compile(r'unable to find column "(.*)"', re.DOTALL)  # as Polars says it

# Up to so many rows, a query costs more for itself than for its rows.
_SMALL_FRAME = 10_000

Frame = pl.DataFrame | pl.LazyFrame


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


class Plan:
    """The checks of some validators on one schema, and their first phase. It holds no state of a run.

    :param schema: the columns that validators see
    :param where: a Polars SQL condition; the plan is about the rows for which it is true
    :param extra: checks that the source needs; they see its hidden columns as well
    """

    def __init__(
        self,
        validators: Sequence[Validator],
        schema: Schema,
        *,
        where: str | None = None,
        extra: Sequence[Validator] = (),
        hidden: Schema | None = None,
    ) -> None:
        self.schema = dict(schema)
        self.where = where
        self._whole = {**schema, **(hidden or {})}
        self.checks: list[Check] = []
        self.first = Phase()
        seen: dict[str, int] = {}
        taken = f"rows are numbered in a column {ROW!r}; rename the one of that name" if ROW in self._whole else ""
        for validator in (*validators, *extra):
            for check in _bound(validator, self.schema):
                base = check.rule.name or ":".join(filter(None, (check.rule.validator_name, check.column)))
                seen[base] = seen.get(base, 0) + 1
                check.id = base if seen[base] == 1 else f"{base}#{seen[base]}"
                check.problem = check.problem or _unaddressable((*check.columns, *check.shown)) or taken
                self.checks.append(check)
        self.by_id = {check.id: check for check in self.checks}
        sound = [check for check in self.checks if not check.problem]
        if sound and self._try(sound, self.first):
            # Something is wrong with one of them: try each by itself.
            for check in sound:
                check.problem = self._try([check], Phase())
            self.first = Phase()
            for check in sound:
                if not check.problem:
                    self.first.add(check, check.metrics, where)

    def _try(self, checks: Sequence[Check], trial: Phase) -> str:
        """Have a phase measure checks, and try it on no rows.

        :return: what is wrong with their expressions, so that it shows before any data are read
        """
        empty = pl.DataFrame(schema=self._whole)
        for condition in {self.where, *(check.rule.where for check in checks)} - {None}:
            _, problem = row_condition(str(condition), self._whole)
            if problem:
                return f"where: {problem}"
        try:
            for check in checks:
                trial.add(check, check.metrics, self.where)
            for group in trial.groups:
                _measure_group(group, _rows(empty, group, 0), 0)
        except pl.exceptions.PolarsError as exc:
            # The list of valid columns would show one of ours.
            said = first_line(exc).partition("; valid columns")[0]
            if isinstance(exc, pl.exceptions.ColumnNotFoundError) and (lacks := _LACKS.fullmatch(said)):
                return f"no column {lacks[1]!r}{suggestion(lacks[1], self.schema)}"
            return said
        return ""


def _unaddressable(columns: Sequence[str]) -> str:
    """Return what is wrong with columns whose names Polars takes for patterns, which match other columns too."""
    for name in columns:
        if is_pattern(name):
            return f"Polars takes the name of its column for a pattern; rename column {name!r}"
    return ""


def _bound(validator: Validator, schema: Schema) -> Sequence[Check]:
    """Bind a validator; one whose options and columns Polars can not bring together takes no other one down."""
    try:
        return validator.bind(schema)
    except pl.exceptions.PolarsError as exc:
        return [validator.unmatched(first_line(exc))]


@attrs.define(eq=False)
class MorselResult:
    """What was measured on one morsel."""

    rows: int
    states: list[list[Any]]  # [group][metric]
    samples: dict[str, list[Row]]
    errors: dict[str, str] = attrs.field(factory=dict)  # check id -> why it could not be evaluated
    part: Any = None  #: its rows, judged, where they are split


def measure(
    phase: Phase,
    frame: Frame,
    *,
    rows: int,
    first_row: int,
    options: SampleOptions,
    sampled: Collection[str] = (),
    known: Known | None = None,
    learnt: Learnt | None = None,
) -> MorselResult:
    """Measure one phase on one morsel; runs in a worker thread.

    :param rows: length of the morsel
    :param first_row: number of its first row within the source
    :param sampled: ids of checks whose sample is complete already
    :param known: what need not be measured, since it is known of the morsel
    :param learnt: what the pass has found out from morsels before
    """
    result = MorselResult(rows, [], {})
    for group in phase.groups:
        part = _rows(frame, group, first_row)
        try:
            states = _measure_group(group, part, first_row, known, learnt)
        except Exception:  # noqa: BLE001  # an expression may call Python code, which may raise anything
            states = _isolate(phase, group, part, first_row, result.errors)
            if all(check.id in result.errors for check in group.checks):
                # Every check fails: perhaps it is the data that can not be read, and then this raises.
                frame.lazy().collect()
        result.states.append(states)
        if options.most:
            wanted = [
                Wanted(check, fails, min(failed, options.most))
                for check, fails, failed in _failing(phase, group, states, sampled)
                if learnt is None or learnt.want(check.id, first_row, failed >= options.most)
            ]
            if wanted:
                result.samples |= _samples(wanted, group, part, first_row, options, result.errors)
    return result


def measured(phase: Phase, known: Known, options: SampleOptions) -> MorselResult | None:
    """Return what :func:`measure` would of all rows, if all of it is known without reading one."""
    result = MorselResult(known.rows, [], {})
    for group in phase.groups:
        if group.condition is not None:
            return None
        states = []
        for metric in group.metrics:
            states.append(metric.known(known))
            if states[-1] is UNKNOWN:
                return None
        if options.most and any(True for _ in _failing(phase, group, states, ())):
            return None  # the rows that fail are to be shown
        result.states.append(states)
    return result


def _samples(
    wanted: Sequence[Wanted],
    group: Group,
    part: Frame,
    first_row: int,
    options: SampleOptions,
    errors: dict[str, str],
) -> dict[str, list[Row]]:
    """Take the failing rows that are wanted; a check whose rows can not be looked at takes no other one down."""
    try:
        if isinstance(part, pl.DataFrame) and part.height < _SMALL_FRAME:
            return pick_samples(wanted, part, first_row, options)
        numbered = part if group.condition is not None else part.lazy().with_row_index(ROW, offset=first_row)
        return take_samples(wanted, numbered.lazy(), ROW, options)
    except Exception as exc:  # noqa: BLE001  # an expression may call Python code, which may raise anything
        if len(wanted) == 1:
            part.lazy().collect()  # perhaps it is the data that can not be read, and then this raises
            errors[wanted[0].check.id] = _said(exc)
            return {}
        found: dict[str, list[Row]] = {}
        for each in wanted:
            found |= _samples([each], group, part, first_row, options, errors)
        return found


def _rows(frame: Frame, group: Group, first_row: int) -> Frame:
    """Return the rows that a group looks at; numbered if its condition removes some."""
    if group.condition is None:
        return frame  # not numbered: a row index keeps Polars from skipping row groups
    return frame.lazy().with_row_index(ROW, offset=first_row).filter(group.condition)


def _measure_group(
    group: Group, part: Frame, first_row: int, known: Known | None = None, learnt: Learnt | None = None
) -> list[Any]:
    states: list[Any] = [UNKNOWN] * len(group.metrics)
    if known is not None and learnt is not None and group.condition is None:
        states = [metric.known(known) for metric in group.metrics]
        for place in _filters(group, states, known):
            metric = group.metrics[place]
            assert isinstance(metric, Matching)
            states[place] = filtered(metric.condition, part, known, learnt.cut(metric))
    left = [place for place, state in enumerate(states) if state is UNKNOWN]
    expressions = [each for place in left for each in group.expressions[group.spans[place]]]
    values: Sequence[Any] = ()
    if expressions:
        if isinstance(part, pl.LazyFrame):
            answer = part.select(expressions).collect(engine="streaming")
        else:
            # To wake Polars' threads costs more than the work on a few rows.
            answer = (part.select_seq if part.height < _SMALL_FRAME else part.select)(expressions)
        # A list column answers with a series, which keeps 8 bytes a hash where Python's numbers take 32.
        values = [column[0] for column in answer.iter_columns()]
    start = 0
    for place in left:
        metric, span = group.metrics[place], group.spans[place]
        if isinstance(metric, ScanMetric):
            numbered = part if group.condition is not None else part.with_row_index(ROW, offset=first_row)
            states[place] = metric.scan(numbered.lazy(), ROW)
        else:
            states[place] = metric.state(values[start : start + span.stop - span.start])
        start += span.stop - span.start
    return states


def _filters(group: Group, states: Sequence[Any], known: Known) -> list[int]:
    """Return the metrics that a filter of their own counts faster than a place in the select does.

    Polars asks a filter only of the dictionary of a column, not of each row. That pays if nothing else needs
    the column's values.
    """
    if known.scattered:
        return []
    left = [place for place, state in enumerate(states) if state is UNKNOWN]
    alone = [
        place
        for place in left
        if isinstance(group.metrics[place], Matching) and _in_dictionary(group.roots[place], known)
    ]
    others = frozenset[str]().union(*(group.roots[place] for place in left if place not in alone))
    return [place for place in alone if not group.roots[place] & others]


def read_columns(phase: Phase, known: Known) -> frozenset[str]:
    """Return the columns of a part of which :func:`measure` reads every value."""
    names: set[str] = set()
    for number, group in enumerate(phase.groups):
        states: list[Any] = [UNKNOWN] * len(group.metrics)
        answered: Collection[int] = ()
        if group.condition is None:
            states = [metric.known(known) for metric in group.metrics]
            answered = _filters(group, states, known)
        else:
            names.update(group.condition.meta.root_names())
        left = {place for place, state in enumerate(states) if state is UNKNOWN and place not in answered}
        names.update(*(group.roots[place] for place in left))
        scanned = {place for place in left if isinstance(group.metrics[place], ScanMetric)}
        for check in group.checks:
            if any(of == number and place in scanned for of, place in phase.places[check.id].values()):
                names.update(check.columns)
    return frozenset(names)


def _in_dictionary(columns: frozenset[str], known: Known) -> bool:
    return len(columns) == 1 and all(known.column(name).dictionary for name in columns)


@attrs.frozen
class Broken:
    """Stands where a state would, for a metric that could not be measured."""


def _isolate(phase: Phase, group: Group, part: Frame, first_row: int, errors: dict[str, str]) -> list[Any]:
    """Measure check by check, so that one that can not be evaluated takes no other one down."""
    states: list[Any] = [Broken()] * len(group.metrics)
    for check in group.checks:
        places = list(dict.fromkeys(place for _, place in phase.places[check.id].values()))  # some names share one
        alone = Group(group.where, condition=group.condition)
        for place in places:
            alone.add(group.metrics[place])
        try:
            for place, state in zip(places, _measure_group(alone, part, first_row), strict=True):
                states[place] = state
        except Exception as exc:  # noqa: BLE001  # an expression may call Python code, which may raise anything
            errors[check.id] = _said(exc)
    return states


def _said(exc: Exception) -> str:
    ours = isinstance(exc, pl.exceptions.PolarsError)
    return first_line(exc) if ours else f"{type(exc).__name__}: {first_line(exc)}"


def _failing(
    phase: Phase, group: Group, states: Sequence[Any], sampled: Collection[str]
) -> Iterator[tuple[Check, pl.Expr, int]]:
    for check in group.checks:
        place = phase.places[check.id].get("failed")
        if place is None or check.id in sampled:
            continue
        metric, failed = group.metrics[place[1]], states[place[1]]
        if not failed or isinstance(failed, Broken):
            continue
        if check.passes is not None:
            yield check, ~check.passes, failed
        elif isinstance(metric, Matching):  # what fails is known since the phase before
            yield check, metric.condition, failed
