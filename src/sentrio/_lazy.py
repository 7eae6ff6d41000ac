"""Names that are imported when they are first used."""

from __future__ import annotations

__all__ = ("lazily",)

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(module: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a module whose public names live elsewhere.

    :param module: its name
    :param homes: for each of its public names, the module that defines it
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[module], name, value)  # the next time it is there
        return value

    return get, lambda: sorted(homes)
