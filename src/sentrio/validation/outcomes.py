"""From what was measured of a check to its result, which shows no more than it may."""

from __future__ import annotations

__all__ = ("UNEVALUATED", "error_of", "result_of")

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from sentrio.validation.report import CheckOutcome, CheckResult, SampleRow
from sentrio.validation.samples import Row, SampleOptions
from sentrio.validation.validators._base import Check, Verdict
from sentrio.validation.values import json_ready
from sentrio.validation.wording import count_of

REDACTED = "[redacted]"

UNEVALUATED = Verdict(outcome=CheckOutcome.NOT_EVALUATED, message="reading stopped before it could be evaluated")


def error_of(problem: str, options: SampleOptions) -> Verdict:
    """Return the verdict on a check that could not be evaluated.

    :param problem: what follows its semicolon names columns, and a file without its header has values for names
    """
    return Verdict(outcome=CheckOutcome.ERROR, message=problem.partition(";")[0] if options.discreet else problem)


def result_of(
    check: Check, values: Mapping[str, Any], options: SampleOptions, found: Sequence[Row], verdict: Verdict | None
) -> CheckResult:
    """Return the result of a check.

    :param values: the values of its metrics
    :param found: failing rows; none: those that the rule finds in the values
    :param verdict: why it can not be judged; ``None``: it can
    """
    rule = check.rule
    private = bool(set(check.columns) & set(options.redact_columns))
    if verdict is None:
        verdict = _judged(check, values, options, private)
    ratio = None
    if verdict.failed is not None and verdict.evaluated:
        ratio = verdict.failed / verdict.evaluated
    observed = json_ready(verdict.observed)
    if private and observed is not None:
        observed = REDACTED
    elif not options.most and rule.observes_values:
        observed = None
    return CheckResult(
        id=check.id,
        name=rule.validator_name,
        column=check.column,
        outcome=verdict.outcome,
        severity=rule.severity,
        failed_count=verdict.failed,
        row_count=values.get("rows"),
        evaluated_count=verdict.evaluated,
        failed_ratio=ratio,
        observed=observed,
        expected=rule.expected,
        sample=_shown(check, values, options, found) if verdict.failed else (),
        message=verdict.message,
        description=rule.description,
        dimension=rule.dimension,
    )


def _judged(check: Check, values: Mapping[str, Any], options: SampleOptions, private: bool) -> Verdict:
    verdict = check.judge(values)
    if options.discreet and ";" in verdict.message:
        verdict = attrs.evolve(verdict, message=verdict.message.partition(";")[0])
    if (private or (check.rule.observes_values and not options.most)) and verdict.message:
        shown = "it did not hold"
        if verdict.failed is not None:
            shown = f"{verdict.failed:,} of {count_of(verdict.evaluated or 0, 'row')} failed"
        verdict = attrs.evolve(verdict, message=shown)
    return verdict


def _shown(
    check: Check, values: Mapping[str, Any], options: SampleOptions, found: Sequence[Row]
) -> tuple[SampleRow, ...]:
    if not options.most:
        return ()
    hidden = set(options.redact_columns)
    return tuple(
        SampleRow(row, {name: REDACTED if name in hidden else json_ready(cell) for name, cell in cells.items()})
        for row, cells in found or list(check.rule.sample(check, values))[: options.most]
    )
