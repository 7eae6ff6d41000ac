"""Rules that people write themselves: a function that judges rows, or a class that computes a statistic.

What such code raises is a fault of one check, with a message that says so; the other checks are not affected.
"""

from __future__ import annotations

__all__ = ("CustomRowRule", "StatisticRule", "row_rule")

import inspect
import numbers
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import polars as pl

from sentrio._options import known_options
from sentrio.errors import OptionValueError, suggestion
from sentrio.validation._examples import example_frame
from sentrio.validation.metrics import Count, Metric, ScanMetric
from sentrio.validation.report import CheckOutcome
from sentrio.validation.validators._base import Check, Schema, Values, Verdict
from sentrio.validation.validators._kinds import KINDS
from sentrio.validation.validators._registry import REGISTRY
from sentrio.validation.validators._rules import RowRule
from sentrio.validation.validators._rules import StatisticRule as ColumnStatistic
from sentrio.validation.validators._signature import options_of
from sentrio.validation.wording import first_line

# The names of a statistic's own metrics, apart from those that every check has.
_OWN = "own."


class CustomRowRule(RowRule):
    """A rule made by :func:`row_rule`."""

    __slots__ = ()

    function: ClassVar[Callable[..., Any]]  #: as it was written
    own_options: ClassVar[tuple[str, ...]] = ()
    expected_text: ClassVar[str | None] = None

    if TYPE_CHECKING:  # each class has further options, which only its function knows

        def __init__(self, **options: Any) -> None: ...

    @property
    def given(self) -> dict[str, Any]:
        """The options of the function."""
        return {name: getattr(self, name) for name in self.own_options}

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return the checks; one whose expression can not be right only says why."""
        checks = []
        for check in super().bind(schema):
            problem = "" if check.passes is None else _fault_of(check.passes, schema)
            checks.append(self.unmatched(problem, check.columns) if problem else check)
        return checks

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        try:
            return super().bind_column(name, dtype)
        except Exception as exc:  # noqa: BLE001  # somebody's function may raise anything
            return self.unmatched(_raised(exc), (name,))

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return what the function returns."""
        expression = type(self).function(nw, column, **self.given)
        if not isinstance(expression, pl.Expr):
            raise TypeError(f"the rule must return a boolean expression, got {expression!r}")
        return expression

    @property
    def requirement(self) -> str:
        """The text that the rule was declared with, else its name and the options that are not the default."""
        if self.expected_text is not None:
            return self.expected_text.format(**self.given)
        fields = attrs.fields_dict(type(self))
        said = [f"{name}={value!r}" for name, value in self.given.items() if value != _default_of(fields[name])]
        return self.validator_name + (f" ({', '.join(said)})" if said else "")


def _default_of(field: attrs.Attribute[Any]) -> Any:
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def row_rule(
    name: str, applies_to: str = "any", *, expected: str | None = None
) -> Callable[[Callable[..., Any]], type[CustomRowRule]]:
    """Make a validator class of a function that says which rows pass.

    The function is called as ``f(nw, column, *, options)``, with a namespace of expressions (Polars), the name
    of a column, and the options of its signature. It returns a boolean expression: true where a row passes,
    false where it fails, null where it is passed over. Each row is judged by itself: an expression that looks at
    other rows (``shift``, ``is_unique``, ``max``, ...) would depend on how the data are cut, and is refused.

    An option takes values of its annotation, else of the type of its default (a whole number stands for any
    number); one without a default must be given. The class has the options of every rule about columns as well,
    and is known by its name in lists of validators and in configurations as soon as its module is imported.

    :param name: the name of the validator
    :param applies_to: the columns it fits: ``any``, ``number``, ``float``, ``string``, ``temporal`` or ``boolean``
    :param expected: what must hold, for people, with options in braces, as in ``"a multiple of {factor}"``;
        ``None``: the name, and the options given
    :raises OptionValueError: for a name that is taken, or a function that can not be a rule
    """
    _check_name(name)
    if applies_to not in KINDS:
        problem = f"applies_to must be one of {', '.join(KINDS)}, got {applies_to!r}"
        raise OptionValueError(name, "applies_to", problem)

    def decorate(function: Callable[..., Any]) -> type[CustomRowRule]:
        fields = options_of(function, name, known_options(CustomRowRule))
        _check_expected(name, expected, tuple(fields))
        body = {
            "__doc__": inspect.getdoc(function),
            "validator_name": name,
            "applies_to": applies_to,
            "function": staticmethod(function),
            "own_options": tuple(fields),
            "expected_text": expected,
        }
        made: Any = attrs.make_class(function.__name__, fields, bases=(CustomRowRule,), class_body=body, slots=True)
        # Afterwards, since attrs says that the class is made here: pickling looks for it where it was written.
        made.__module__, made.__qualname__ = function.__module__, function.__qualname__
        REGISTRY.add(made)
        cls: type[CustomRowRule] = made
        return cls

    return decorate


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        problem = f"a rule needs a name, as in @row_rule('iban'), got {name!r}"
        raise OptionValueError("row_rule", "name", problem)


def _check_expected(name: str, expected: str | None, known: tuple[str, ...]) -> None:
    if expected is None:
        return
    try:
        used = [field for _, field, _, _ in Formatter().parse(expected) if field is not None]
    except ValueError as exc:
        raise OptionValueError(name, "expected", f"expected can not be filled in ({exc}): {expected!r}") from None
    for field in used:
        if field not in known:
            problem = f"expected names option {field!r}, which the rule does not have{suggestion(field, known)}"
            raise OptionValueError(name, "expected", problem)


def _raised(exc: BaseException) -> str:
    return f"its own code raised {type(exc).__name__}: {first_line(exc)}"


def _fault_of(passes: pl.Expr, schema: Schema) -> str:
    """Say what is wrong with an expression as far as a few made-up rows tell; empty if nothing is."""
    try:
        told = pl.LazyFrame(schema=schema).select(passes).collect_schema()
        roots = {name: schema[name] for name in passes.meta.root_names()}
    except (pl.exceptions.PolarsError, KeyError):
        return ""  # the plan tries it as well, and says why
    if len(told) != 1:
        return f"the rule must return one expression, and this one makes {len(told)} columns"
    (dtype,) = told.values()
    if dtype != pl.Boolean:
        return f"the rule must return a boolean expression, and this one is {dtype}"
    if not roots:
        return "the rule must look at a column, and its expression names none"
    frame = example_frame(roots)
    try:
        whole = frame.select(passes).to_series()
        # An aggregation gives one value, which a select with other columns would spread over all rows.
        single = [frame[row : row + 1].select(passes).to_series() for row in range(frame.height)]
    except Exception:  # noqa: BLE001  # made-up values prove nothing against a rule for real ones
        return ""
    if len(whole) != frame.height or not whole.equals(pl.concat(single)):
        return (
            "the rule must judge each row by itself, and its expression looks at other rows; "
            "data are read in slices, so its answer would depend on where they are cut"
        )
    return ""


@attrs.define(kw_only=True)
class StatisticRule(ColumnStatistic):
    """A number computed from metrics, which must lie within ``min`` and ``max``: the base for statistics of your own.

    A subclass is decorated with ``@attrs.define(kw_only=True)``, has a ``validator_name``, and says in
    :meth:`metrics` what is to be measured and in :meth:`observe` what is made of it. With ``column`` (or
    ``columns``) there is one check a column; without, one check of the table.

    :param min: the least value allowed; ``None`` is an open end
    :param max: the greatest value allowed; ``None`` is an open end
    """

    applies_to: ClassVar[str] = "any"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "validator_name" in cls.__dict__:
            REGISTRY.add(cls)

    @abstractmethod
    def metrics(self, column: str | None) -> Mapping[str, Metric]:
        """Return what is to be measured, by the names under which :meth:`observe` takes it.

        :param column: the column of the check; ``None`` for the check of the table
        """

    @abstractmethod
    def observe(self, *args: Any, **values: Any) -> float | None:
        """Compute the statistic from the values of the metrics, which come as keyword arguments.

        ``None`` says that there were no values: the check fails.
        """

    def bind(self, schema: Schema) -> Sequence[Check]:
        """Return one check for each column that is named, else one of the table."""
        if self.column is not None or self.columns is not None:
            return super().bind(schema)
        return [self._check((), {"rows": Count()})]

    def bind_column(self, name: str, dtype: pl.DataType) -> Check:
        """Return the check of one column."""
        return self._check((name,), {"rows": Count(), "evaluated": Count(name)})

    def _check(self, columns: tuple[str, ...], common: Mapping[str, Metric]) -> Check:
        try:
            own = dict(self.metrics(columns[0] if columns else None))
            for name, metric in own.items():
                if not isinstance(metric, Metric):
                    raise TypeError(f"metrics() must return metrics, and {name!r} is {metric!r}")
            inspect.signature(self.observe).bind(**own)
            guarded = {_OWN + name: _guarded(metric) for name, metric in own.items()}
        except Exception as exc:  # noqa: BLE001  # somebody's class may raise anything
            return self.unmatched(_raised(exc), columns)
        return Check(rule=self, columns=columns, metrics={**common, **guarded})

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the statistic with the bounds; a statistic of no values fails."""
        evaluated = values.get("evaluated")
        try:
            value = None if check.untyped else self._observed(values)
        except Exception as exc:  # noqa: BLE001  # somebody's class may raise anything
            return Verdict(outcome=CheckOutcome.ERROR, evaluated=evaluated, message=_raised(exc))
        return self.verdict(value, evaluated)

    def _observed(self, values: Values) -> float | None:
        own = {name.removeprefix(_OWN): value for name, value in values.items() if name.startswith(_OWN)}
        for value in own.values():
            if isinstance(value, _Fault):
                raise value.error
        found: Any = self.observe(**own)
        if isinstance(found, bool):  # a number to Python, and hardly meant as one
            raise TypeError(f"observe() must return a number or None, got {found}")
        if found is None or isinstance(found, int | float):
            return found
        if isinstance(found, Decimal | numbers.Real):
            return float(found)
        raise TypeError(f"observe() must return a number or None, got {found!r}")


@attrs.frozen
class _Fault:
    """Stands where a state or value would, once a metric of somebody's own has raised."""

    error: Exception


@attrs.frozen
class _Guarded(Metric):
    """A metric of somebody's own: what it raises is kept, and becomes the error of its check."""

    metric: Metric
    expressions_: tuple[Any, ...] = attrs.field(eq=False)

    def expressions(self, nw: Any) -> Sequence[Any]:
        return self.expressions_

    def state(self, values: Sequence[Any]) -> Any:
        try:
            return self.metric.state(values)
        except Exception as exc:  # noqa: BLE001
            return _Fault(exc)

    def merge(self, earlier: Any, later: Any) -> Any:
        for state in (earlier, later):
            if isinstance(state, _Fault):
                return state
        try:
            return self.metric.merge(earlier, later)
        except Exception as exc:  # noqa: BLE001
            return _Fault(exc)

    def work(self, state: Any) -> Iterator[None]:
        if isinstance(state, _Fault):
            return iter(())
        return self.metric.work(state)

    def finish(self, state: Any) -> Any:
        if isinstance(state, _Fault):
            return state
        try:
            return self.metric.finish(state)
        except Exception as exc:  # noqa: BLE001
            return _Fault(exc)


@attrs.frozen
class _GuardedScan(_Guarded, ScanMetric):
    """A metric of somebody's own that measures with a query."""

    def scan(self, frame: pl.LazyFrame, row_index: str) -> Any:
        assert isinstance(self.metric, ScanMetric)
        try:
            return self.metric.scan(frame, row_index)
        except pl.exceptions.PolarsError:
            raise  # about the data: the plan tells it from data that can not be read at all
        except Exception as exc:  # noqa: BLE001
            return _Fault(exc)


def _guarded(metric: Metric) -> Metric:
    if type(metric).__module__ == Metric.__module__:
        return metric
    make = _GuardedScan if isinstance(metric, ScanMetric) else _Guarded
    return make(metric, tuple(metric.expressions(pl)))
