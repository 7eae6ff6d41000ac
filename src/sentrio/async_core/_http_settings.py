"""What an HTTP client can be told, by its arguments and by the environment, and the checks of both."""

from __future__ import annotations

__all__ = (
    "UNSET",
    "RequestOptions",
    "Unset",
    "check_options",
    "check_timeout",
    "default_connections",
    "default_timeout",
)

import enum
import os
from collections.abc import Mapping
from typing import Any, Final, TypedDict

import httpx

from sentrio.async_core._checks import check_seconds, number_from_environment
from sentrio.errors import OptionValueError, UnknownOptionError


class Unset(enum.Enum):
    """Tells "not given" from ``None``, which means "no limit"."""

    UNSET = "the environment's value, or else the default"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


class RequestOptions(TypedDict, total=False):
    """What a single request can be told; the meanings are those of :meth:`httpx.AsyncClient.request`."""

    params: Any
    headers: Any
    cookies: Any
    content: Any
    data: Any
    files: Any
    json: Any
    auth: Any
    follow_redirects: bool
    extensions: Mapping[str, Any] | None
    timeout: float | None  #: seconds per try, ``None`` for no limit


_OPTIONS = tuple(RequestOptions.__annotations__)


def check_options(owner: str, options: Mapping[str, object]) -> None:
    """Refuse options that nobody knows.

    :raises UnknownOptionError: for the first of them
    """
    for name in options:
        if name not in _OPTIONS:
            raise UnknownOptionError(owner, name, _OPTIONS)


def check_timeout(value: object) -> None:
    """Refuse what is no number of seconds, or ``None``."""
    if isinstance(value, httpx.Timeout):
        raise TypeError(f"timeout is one number of seconds for a whole try, not {value!r}")
    check_seconds("timeout", value)


def default_timeout() -> float:
    """Return SENTRIO_ASYNC_TIMEOUT in seconds, or 30.

    :raises OptionValueError: if the variable holds anything else than a number of seconds
    """
    text = os.environ.get("SENTRIO_ASYNC_TIMEOUT", "").strip()
    try:
        seconds = float(text or 30)
    except ValueError:
        seconds = -1.0
    if not seconds > 0:  # NaN too
        problem = f"SENTRIO_ASYNC_TIMEOUT must be a number of seconds above 0, got {text!r}"
        raise OptionValueError("environment", "SENTRIO_ASYNC_TIMEOUT", problem)
    return seconds


def default_connections() -> int:
    """Return SENTRIO_ASYNC_POOL_SIZE, or 100.

    :raises OptionValueError: if the variable holds anything else than a whole number above 0
    """
    return number_from_environment("SENTRIO_ASYNC_POOL_SIZE", 100, minimum=1)
