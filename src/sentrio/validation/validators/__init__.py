"""The validators, and how an entry of a configuration becomes one."""

from __future__ import annotations

__all__ = (
    "ColumnRule",
    "Distribution",
    "Finite",
    "InRange",
    "InSet",
    "MatchesRegex",
    "Mean",
    "NotNull",
    "Outliers",
    "RowCount",
    "RowRule",
    "StatisticRule",
    "TableRule",
    "Unique",
    "Validator",
    "make_validator",
    "validator_names",
)

from collections.abc import Mapping
from typing import Any

from sentrio.errors import OptionValueError, UnknownNameError
from sentrio.validation.validators._base import ColumnRule, RowRule, StatisticRule, TableRule, Validator
from sentrio.validation.validators.distribution import Distribution
from sentrio.validation.validators.finite import Finite
from sentrio.validation.validators.nulls import NotNull
from sentrio.validation.validators.outliers import Outliers
from sentrio.validation.validators.ranges import InRange
from sentrio.validation.validators.sets import InSet
from sentrio.validation.validators.statistics import Mean
from sentrio.validation.validators.table import RowCount
from sentrio.validation.validators.text import MatchesRegex
from sentrio.validation.validators.uniqueness import Unique

_CLASSES: tuple[type[Validator], ...] = (
    NotNull,
    InRange,
    InSet,
    MatchesRegex,
    Unique,
    RowCount,
    Mean,
    Finite,
    Outliers,
    Distribution,
)
_BY_NAME: dict[str, type[Validator]] = {name: cls for cls in _CLASSES for name in (cls.validator_name, *cls.aliases)}


def validator_names() -> tuple[str, ...]:
    """Return all names and aliases, sorted."""
    return tuple(sorted(_BY_NAME))


def make_validator(entry: object) -> Validator:
    """Make a validator of an entry.

    :param entry: a validator; its name; or a mapping of one name to its options (``None``: no options)
    :raises UnknownNameError: if no validator has that name
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
    if name not in _BY_NAME:
        raise UnknownNameError("validator", name, validator_names())
    for option in given:
        if not isinstance(option, str):
            raise OptionValueError(name, str(option), f"the name of an option must be text, got {option!r}")
    return _BY_NAME[name](**given)
