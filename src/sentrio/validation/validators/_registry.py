"""Validators by name: the built-in ones, and those that people add."""

from __future__ import annotations

__all__ = ("REGISTRY",)

from collections.abc import Iterable

from sentrio._plugins import Registry
from sentrio.validation.validators._base import Validator


def _names(cls: type[Validator]) -> Iterable[str]:
    return (cls.validator_name, *cls.aliases) if "validator_name" in cls.__dict__ else ()


REGISTRY: Registry[Validator] = Registry("validator", Validator, _names)
