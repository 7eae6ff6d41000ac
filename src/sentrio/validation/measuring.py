"""One phase measured on one morsel: what is known, what one query answers, and the rows that fail."""

from __future__ import annotations

__all__ = (
    "ROW",
    "Broken",
    "Frame",
    "MorselResult",
    "measure",
    "measure_group",
    "measured",
    "read_columns",
    "rows_of",
)

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.validation.cuts import Learnt, filtered
from sentrio.validation.facts import UNKNOWN, Known
from sentrio.validation.metrics import Matching, ScanMetric
from sentrio.validation.phases import Group, Phase
from sentrio.validation.samples import Row, SampleOptions, Wanted, pick_samples, take_samples
from sentrio.validation.validators._base import Check
from sentrio.validation.wording import first_line

ROW = "__sentrio_row__"

# Up to so many rows, a query costs more for itself than for its rows.
_SMALL_FRAME = 10_000

Frame = pl.DataFrame | pl.LazyFrame


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
        part = rows_of(frame, group, first_row)
        try:
            states = measure_group(group, part, first_row, known, learnt)
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


def rows_of(frame: Frame, group: Group, first_row: int) -> Frame:
    """Return the rows that a group looks at; numbered if its condition removes some."""
    if group.condition is None:
        return frame  # not numbered: a row index keeps Polars from skipping row groups
    return frame.lazy().with_row_index(ROW, offset=first_row).filter(group.condition)


def measure_group(
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
            for place, state in zip(places, measure_group(alone, part, first_row), strict=True):
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
