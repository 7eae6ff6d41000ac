"""Rules about how values are distributed."""

from __future__ import annotations

__all__ = ("Distribution",)

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.errors import OptionValueError
from sentrio.validation import wording
from sentrio.validation.categories import MOST_CATEGORIES, Categories
from sentrio.validation.drift import chi_squared_p, decile_edges, jensen_shannon, population_stability
from sentrio.validation.ks import distance, wanted_of_both
from sentrio.validation.metrics import Count, FromSchema, Histogram, Metric
from sentrio.validation.ranks import quantile, rank_metrics, wanted_metrics
from sentrio.validation.report import CheckOutcome, Severity
from sentrio.validation.validators._base import Check, Reference, Schema, Values, Verdict, as_severity
from sentrio.validation.validators.outliers import Outliers
from sentrio.validation.validators.references import check_reference

_THRESHOLDS = {"psi": 0.2, "ks": 0.1, "js": 0.1, "chi2": 0.01}
_DECILES = tuple(i / 10 for i in range(11))
# Shares written by hand are rounded; more than this is a mistake.
_ROUNDING = 0.01


def _is_shares(value: Any) -> bool:
    """Tell whether a mapping gives shares of categories, and is not a source with its options."""
    return isinstance(value, Mapping) and all(
        isinstance(share, int | float) and not isinstance(share, bool) for share in value.values()
    )


def _label(category: Any) -> str:
    return str(category).lower() if isinstance(category, bool) else str(category)


def _shares(value: Any) -> Any:
    if not _is_shares(value):
        return value
    owner = "distribution"
    if not value:
        raise OptionValueError(owner, "reference", "reference must name at least one category")
    for category, share in value.items():
        if not isinstance(category, str | int):
            problem = f"a category must be text, a whole number or a boolean, got {category!r}"
            raise OptionValueError(owner, "reference", problem)
        if not 0 <= share <= 1:
            raise OptionValueError(
                owner, "reference", f"the share of {category!r} must be from 0 to 1, got {share!r}"
            )
    total = sum(value.values())
    if abs(total - 1) > _ROUNDING:
        raise OptionValueError(owner, "reference", f"the shares of reference must add up to 1, got {total:g}")
    return {_label(category): share / total for category, share in value.items()}


@attrs.define(kw_only=True)
class Distribution(Outliers):
    """The values are distributed as those of ``reference``; without one, see :class:`Outliers`.

    Numbers are compared in bins that hold a tenth of the reference each (a value that makes up a tenth of it has a
    bin of its own), texts and booleans by category, of which there may be 10,000. NaN is a category of its own.
    How the methods are computed:

    - ``psi``: the population stability index, the sum of (f - e) ln(f / e) over the shares e expected and f found,
      where a share below 0.0001 counts as that (Siddiqi, 2006)
    - ``ks``: the Kolmogorov-Smirnov statistic of the numbers themselves; NaN is the greatest
    - ``js``: the Jensen-Shannon distance to base 2 (Lin, 1991)
    - ``chi2``: the p-value of Pearson's chi-squared test: of goodness of fit to shares that are given, of
      homogeneity with a reference that is a sample itself

    :param reference: a frame, a path, or a source as ``data_source`` takes it; or a mapping of categories to their
        shares, which add up to 1
    :param reference_column: the column of the reference; ``None``: the one with the same name
    :param method: one of these; ``None``: ``psi``
    :param threshold: the greatest value that passes, for ``chi2`` the least; ``None``: 0.2 for ``psi``, 0.1 for
        ``ks`` and ``js``, 0.01 for ``chi2``
    :param max_outlier_ratio: without a reference: the share of far outliers allowed
    :param severity: ``None``: ``high`` with a reference, ``low`` without
    """

    validator_name: ClassVar[str] = "distribution"
    aliases: ClassVar[tuple[str, ...]] = ("drift",)

    severity: Severity = attrs.field(
        default=None,
        converter=attrs.converters.optional(as_severity),
        validator=options.optional(options.one_of(tuple(Severity))),
    )
    reference: Any = attrs.field(default=None, converter=_shares, eq=False)
    reference_column: str | None = attrs.field(default=None, validator=options.optional(options.text(empty=True)))
    method: str | None = attrs.field(default=None, validator=options.optional(options.one_of(tuple(_THRESHOLDS))))
    threshold: float | None = attrs.field(default=None, validator=options.optional(options.number(minimum=0)))
    max_outlier_ratio: float | None = attrs.field(default=None, validator=options.optional(options.share()))  # type: ignore[assignment]

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.severity = self.severity or (Severity.LOW if self.reference is None else Severity.HIGH)
        if self.reference is None:
            self._refuse(("reference_column", "method", "threshold"), "without a reference")
            self.max_outlier_ratio = 0.01 if self.max_outlier_ratio is None else self.max_outlier_ratio
            return
        self._refuse(("max_outlier_ratio",), "with a reference")
        self.method = self.method or "psi"
        self.threshold = _THRESHOLDS[self.method] if self.threshold is None else self.threshold
        if self.method != "psi" and self.threshold > 1:
            problem = f"threshold of {self.method} must be a number from 0 to 1, got {self.threshold!r}"
            raise OptionValueError(self.validator_name, "threshold", problem)
        if not self.by_shares:
            check_reference(self.validator_name, self.reference)
            return
        self._refuse(("reference_column",), "for shares of categories")
        if self.method == "ks":
            problem = "method 'ks' compares numbers, and the reference gives shares of categories"
            raise OptionValueError(self.validator_name, "method", problem)

    def _refuse(self, names: Sequence[str], why: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise OptionValueError(self.validator_name, name, f"option {name!r} has no meaning {why}")

    @property
    def observes_values(self) -> bool:  # type: ignore[override]
        """Whether what it observes are values of rows: fences are, a distance is not."""
        return self.reference is None

    @property
    def by_shares(self) -> bool:
        """Whether the reference gives shares of categories."""
        return _is_shares(self.reference)

    @property
    def column_kind(self) -> str:
        """The kind of columns that the rule applies to with its options."""
        if self.reference is None or self.method == "ks":
            return "number"
        return "category" if self.by_shares else "distributed"

    def column_problem(self, name: str, schema: Schema) -> str:
        """Say why the rule can not be applied to a column."""
        problem = super().column_problem(name, schema)
        if not problem and self.by_shares and schema[name].is_numeric() and not schema[name].is_integer():
            return f"column {name!r} is {schema[name]}; shares are of texts, whole numbers and booleans"
        return problem

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        if self.reference is None:
            return super().bind_column(name, dtype)
        metrics: dict[str, Metric] = {"rows": Count(), "evaluated": Count(name), "type": FromSchema(dtype)}
        numeric = dtype.is_numeric() and not self.by_shares
        metrics |= rank_metrics(name) if numeric else {"categories": Categories(name)}
        return Check(rule=self, columns=(name,), metrics=metrics)

    def refer(self, check: Check, values: Values) -> Reference | None:
        """Ask for the counts of the reference, as far as they are not known."""
        if self.reference is None or self.by_shares or check.untyped:
            return None
        (name,) = check.columns
        column = name if self.reference_column is None else self.reference_column
        known = values.get("reference")
        metrics: Mapping[str, Metric]
        if known is None:
            numeric = values["type"].is_numeric()
            metrics = {"evaluated": Count(column)}
            metrics |= rank_metrics(column) if numeric else {"categories": Categories(column)}
        elif "categories" in values or not known["evaluated"] or not values["evaluated"]:
            return None
        elif self.method == "ks":
            _, metrics = wanted_of_both(distance(values, known), self._limit, (name, column))
            metrics = {key: metric for key, metric in metrics.items() if key not in known}
        elif "counts" in known:
            return None
        else:
            metrics = wanted_metrics(column, _DECILES, known) or {"counts": Histogram(column, _edges(known))}
        if not metrics:
            return None

        def refuses(dtype: pl.DataType) -> str:
            if dtype.is_numeric() == values["type"].is_numeric() or dtype == pl.Null:
                return ""
            return f"column {name!r} is {values['type']}, and that of the reference is {dtype}"

        return Reference(data=self.reference, column=column, metrics=metrics, refuses=refuses)

    @property
    def _limit(self) -> float:
        assert self.threshold is not None
        return self.threshold

    def follow_up(self, check: Check, values: Values) -> Mapping[str, Metric] | None:
        """Count in the bins of the reference."""
        if self.reference is None:
            return super().follow_up(check, values)
        known = values.get("reference", {})
        if check.untyped or "categories" in values or not values["evaluated"] or not known["evaluated"]:
            return None
        (name,) = check.columns
        if self.method == "ks":
            metrics, _ = wanted_of_both(distance(values, known), self._limit, (name, ""))
            return metrics or None
        return None if "counts" in values else {"counts": Histogram(name, _edges(known))}

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the distance with the threshold."""
        if self.reference is None:
            return super().judge(check, values)
        evaluated = values["evaluated"]
        if not evaluated:
            return Verdict(outcome=CheckOutcome.FAILED, evaluated=0, message="there are no values")
        if not self.by_shares and not values["reference"]["evaluated"]:
            return Verdict(outcome=CheckOutcome.ERROR, message="the column of the reference has no values")
        statistic = self._statistic(values)
        if statistic is None:
            problem = f"more than {MOST_CATEGORIES:,} different values are no categories"
            return Verdict(outcome=CheckOutcome.ERROR, evaluated=evaluated, message=problem)
        passed = statistic >= self._limit if self.method == "chi2" else statistic <= self._limit
        message = f"{self._measure} is {wording.number_text(statistic)}, expected {self._bound}"
        return Verdict(
            outcome=CheckOutcome.PASSED if passed else CheckOutcome.FAILED,
            evaluated=evaluated,
            observed=statistic,
            message="" if passed else message,
        )

    def _statistic(self, values: Values) -> float | None:
        known = values.get("reference", {})
        if self.method == "ks":
            return distance(values, known).least
        expected: Sequence[float]
        found: Sequence[int]
        if "categories" in values:
            mine = values["categories"]
            others = self.reference if self.by_shares else known["categories"]
            if mine is None or others is None:
                return None
            labels = sorted({*mine, *others})
            expected, found = ([counts.get(label, 0) for label in labels] for counts in (others, mine))
        else:
            expected, found = ((*side["counts"], side["evaluated"] - side["numbers"]) for side in (known, values))
        if self.method == "chi2":
            return chi_squared_p(expected, found, sampled=not self.by_shares)
        return (population_stability if self.method == "psi" else jensen_shannon)(expected, found)

    @property
    def _measure(self) -> str:
        return {"psi": "PSI", "ks": "KS", "js": "JS", "chi2": "p of chi2"}[self.method or "psi"]

    @property
    def _bound(self) -> str:
        return f"at {'least' if self.method == 'chi2' else 'most'} {wording.number_text(self.threshold)}"

    @property
    def expected(self) -> str:
        """The bound."""
        return super().expected if self.reference is None else f"{self._measure} {self._bound}"


def _edges(known: Values) -> tuple[float, ...]:
    return decile_edges([quantile(q, known) for q in _DECILES])
