"""What a validation has found out so far, and the report on it at any moment."""

from __future__ import annotations

__all__ = ("Findings",)

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from sentrio.validation.measuring import Broken, MorselResult
from sentrio.validation.outcomes import UNEVALUATED, error_of, result_of
from sentrio.validation.phases import Phase
from sentrio.validation.plan import Plan
from sentrio.validation.report import CheckResult, ValidationReport
from sentrio.validation.samples import Row, SampleOptions
from sentrio.validation.validators._base import Check, Verdict


@attrs.define(eq=False)
class Findings:
    """The states of the phase that is measured, merged in order, and the values of those before."""

    options: SampleOptions
    plan: Plan = attrs.field(factory=lambda: Plan((), {}), init=False)
    phase: Phase = attrs.field(factory=Phase, init=False)
    values: dict[str, dict[str, Any]] = attrs.field(factory=dict, init=False)  #: check id -> values of its metrics
    samples: dict[str, list[Row]] = attrs.field(factory=dict, init=False)
    sampled: set[str] = attrs.field(factory=set, init=False)  #: ids of the checks whose samples are complete
    errors: dict[str, str] = attrs.field(factory=dict, init=False)  #: check id -> why it could not be evaluated
    unreadable: dict[str, str] = attrs.field(factory=dict, init=False)  #: check id -> why its reference is none
    failed: list[str] = attrs.field(factory=list, init=False)  #: ids of the checks that fail for certain
    scanned: int = attrs.field(default=0, init=False)  #: rows that were seen
    complete: bool = attrs.field(default=False, init=False)
    _states: list[list[Any]] = attrs.field(factory=list, init=False)  # [group][metric]

    def turn_to(self, phase: Phase) -> None:
        """Give up the phase before, and begin another one."""
        if phase is not self.phase:
            self.phase.close()
            self.phase.free()  # of what could not be measured; the rest was given back when it was done
        self.phase, self._states = phase, []

    def merge(self, result: MorselResult, *, first_pass: bool) -> None:
        """Take in what was measured on the next morsel."""
        self.errors.update(result.errors)
        if not self._states:
            self._states = result.states
        else:
            for number, group in enumerate(self.phase.groups):
                mine, others = self._states[number], result.states[number]
                for i, metric in enumerate(group.metrics):
                    broken = isinstance(mine[i], Broken) or isinstance(others[i], Broken)
                    mine[i] = Broken() if broken else metric.merge(mine[i], others[i])
        for check_id, rows in result.samples.items():
            kept = self.samples.setdefault(check_id, [])
            kept += rows[: self.options.most - len(kept)]
            if len(kept) >= self.options.most:
                self.sampled.add(check_id)
        if first_pass:
            self.scanned += result.rows

    def work(self) -> Iterator[Iterator[None]]:
        """Return what is left to do after the last morsel, metric by metric."""
        for group, states in zip(self.phase.groups, self._states, strict=True):
            for metric, state in zip(group.metrics, states, strict=True):
                if not isinstance(state, Broken):
                    yield metric.work(state)

    def keep(self) -> None:
        """Keep the values of the phase, which is over."""
        for check_id in self.phase.places:
            if check_id not in self.errors:
                self.values[check_id] = self._current(self.plan.by_id[check_id])

    def follow_up(self, where: str | None) -> Phase:
        """Turn to the next phase, of what rules still want to know, and return it."""
        following = Phase()
        for check in self.plan.checks:
            if check.id in self.phase.places and check.id not in self.broken:
                metrics = check.rule.follow_up(check, self.values[check.id])
                if metrics:
                    following.add(check, metrics, where)
        self.turn_to(following)
        return following

    @property
    def broken(self) -> Mapping[str, str]:
        """The checks that can not be judged any more, and why."""
        return {**self.errors, **self.unreadable}

    def newly_failed(self) -> list[Check]:
        """Return the checks of which it has become certain that they fail."""
        found = []
        for check in self.plan.checks:
            if check.id in self.failed or check.id not in self.phase.places or check.id in self.errors:
                continue
            if check.rule.certain(check, self._current(check)):
                self.failed.append(check.id)
                found.append(check)
        return found

    def _current(self, check: Check) -> dict[str, Any]:
        """Return the values of the metrics of a check as they are now."""
        values = dict(self.values.get(check.id, {}))
        if self._states:
            for name, (group, place) in self.phase.places.get(check.id, {}).items():
                state = self._states[group][place]
                values[name] = self.phase.groups[group].metrics[place].finish(state)
        return values

    def report(self, rows: int | None, seconds: float) -> ValidationReport:
        """Return what is known now.

        :param rows: of the source, where that was known beforehand
        :param seconds: since the beginning
        """
        return ValidationReport(
            checks=tuple(map(self.result, self.plan.checks)),
            row_count=self.scanned if rows is None and self.complete else rows,
            rows_scanned=self.scanned,
            complete=self.complete,
            duration_ms=round(seconds * 1000, 3),
        )

    def result(self, check: Check) -> CheckResult:
        """Return what is known of one check now."""
        values = self.values.get(check.id, {}) if self.complete else self._current(check)
        found = self.samples.get(check.id, ())
        return result_of(check, values, self.options, found, self._unjudged(check, values))

    def _unjudged(self, check: Check, values: Mapping[str, Any]) -> Verdict | None:
        """Return why a check can not be judged now; ``None``: it can."""
        if problem := check.problem or self.unreadable.get(check.id):
            return error_of(problem, self.options)
        if (problem := self.errors.get(check.id)) is not None:
            hidden = "it could not be evaluated on some rows (the reason may show values, which are hidden)"
            return error_of(hidden if self.options.discreet else problem, self.options)
        # A check that waits for another pass knows only a part, and that part must not be judged.
        unfinished = not self.complete and (check.id not in self.values or check.id in self.phase.places)
        undecided = check.rule.needs_all_rows and check.id not in self.failed
        if not values or (unfinished and (undecided or not self.scanned)):
            return UNEVALUATED
        return None
