"""The validators, and how an entry of a configuration becomes one."""

from __future__ import annotations

__all__ = (
    "REGISTRY",
    "ColumnRule",
    "Compare",
    "Completeness",
    "DateRange",
    "Distribution",
    "Expression",
    "Finite",
    "ForeignKey",
    "Format",
    "Freshness",
    "HasSchema",
    "HasType",
    "InRange",
    "InSet",
    "Length",
    "MatchesRegex",
    "Maximum",
    "Mean",
    "Median",
    "Minimum",
    "Monotonic",
    "NotInSet",
    "NotMatchesRegex",
    "NotNull",
    "Outliers",
    "Quantile",
    "RowCount",
    "RowRule",
    "StatisticRule",
    "Std",
    "TableRule",
    "Total",
    "Unique",
    "UniqueRows",
    "Validator",
    "make_validator",
    "row_rule",
    "validator_names",
)

from collections.abc import Mapping
from typing import Any

from sentrio.errors import OptionValueError
from sentrio.validation.validators._base import Validator
from sentrio.validation.validators._registry import REGISTRY
from sentrio.validation.validators._rules import ColumnRule, RowRule, TableRule
from sentrio.validation.validators.conditions import Compare, Expression
from sentrio.validation.validators.custom import StatisticRule, row_rule
from sentrio.validation.validators.dates import DateRange, Freshness
from sentrio.validation.validators.distribution import Distribution
from sentrio.validation.validators.finite import Finite
from sentrio.validation.validators.formats import Format
from sentrio.validation.validators.nulls import Completeness, NotNull
from sentrio.validation.validators.ordering import Monotonic
from sentrio.validation.validators.outliers import Outliers
from sentrio.validation.validators.ranges import InRange
from sentrio.validation.validators.references import ForeignKey
from sentrio.validation.validators.sets import InSet, NotInSet
from sentrio.validation.validators.statistics import Maximum, Mean, Median, Minimum, Quantile, Std, Total
from sentrio.validation.validators.table import HasSchema, HasType, RowCount
from sentrio.validation.validators.text import Length, MatchesRegex, NotMatchesRegex
from sentrio.validation.validators.uniqueness import Unique, UniqueRows

_CLASSES: tuple[type[Validator], ...] = (
    NotNull,
    Completeness,
    Unique,
    UniqueRows,
    InRange,
    Finite,
    InSet,
    NotInSet,
    MatchesRegex,
    NotMatchesRegex,
    Length,
    Format,
    HasType,
    HasSchema,
    RowCount,
    Mean,
    Median,
    Std,
    Total,
    Minimum,
    Maximum,
    Quantile,
    Monotonic,
    DateRange,
    Freshness,
    Distribution,
    Outliers,
    Compare,
    ForeignKey,
    Expression,
)
REGISTRY.build_in(_CLASSES)


def validator_names() -> tuple[str, ...]:
    """Return all names and aliases, sorted, those of custom rules and installed packages too."""
    return REGISTRY.names()


def make_validator(entry: object) -> Validator:
    """Make a validator of an entry.

    :param entry: a validator; its name; or a mapping of one name to its options (``None``: no options)
    :raises UnknownNameError: if no validator has that name
    :raises PluginError: if an installed package offers it, and it can not be used
    :raises UnknownOptionError: if it does not know an option
    :raises OptionValueError: if an option has a bad value, or the entry is none of these
    """
    if isinstance(entry, Validator):
        return entry
    if isinstance(entry, type) and issubclass(entry, Validator):
        return entry()
    if isinstance(entry, str):
        return _named(entry, {})
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, given),) = entry.items()
        if isinstance(name, str) and (given is None or isinstance(given, Mapping)):
            return _named(name, dict(given or {}))
    raise OptionValueError(
        "validators",
        "validators",
        f"an entry must be a name, or one name with its options like {{range: {{min: 0}}}}, got {entry!r}",
    )


def _named(name: str, given: Mapping[str, Any]) -> Validator:
    cls = REGISTRY.find(name)
    for option in given:
        if not isinstance(option, str):
            raise OptionValueError(name, str(option), f"the name of an option must be text, got {option!r}")
    return cls(**given)
