"""How this floor checks what it is given: numbers, functions, coroutine objects, environment variables."""

from __future__ import annotations

__all__ = (
    "check_count",
    "check_number",
    "check_seconds",
    "close_coroutine",
    "field_check",
    "has_begun",
    "known_options",
    "number_from_environment",
    "require_async",
    "require_callback",
    "require_coroutine",
)

import functools
import inspect
import math
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs

from sentrio.errors import OptionValueError, UnknownOptionError

C = TypeVar("C", bound=type)


def check_number(
    name: str,
    value: Any,
    *,
    minimum: float = 0.0,
    above: bool = False,
    maximum: float = math.inf,
    finite: bool = True,
    unit: str = "",
    or_none: bool = False,
) -> None:
    """Check that ``minimum <= value <= maximum``, which NaN is not.

    :param above: refuse the minimum itself
    :raises TypeError: if it is no number
    :raises ValueError: if it is out of range
    """
    if value is None and or_none:
        return
    least = f"above {minimum:g}" if above else f"at least {minimum:g}"
    allowed = f"between {minimum:g} and {maximum:g}" if maximum != math.inf else least
    allowed += f"{unit} and finite" if finite and maximum == math.inf else unit
    allowed += " or None" if or_none else ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number {allowed}, got {value!r}")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ValueError(f"{name} must be {allowed}, got a whole number beyond all floats")
    if not minimum <= value <= maximum or (above and value == minimum) or (finite and math.isinf(value)):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


def check_seconds(name: str, value: Any, *, or_none: bool = True) -> None:
    """Check a timeout: seconds, 0 or more, infinity included."""
    check_number(name, value, finite=False, unit=" seconds", or_none=or_none)


def check_count(name: str, value: Any, *, minimum: int = 1, or_none: bool = False) -> None:
    """Check a whole number that is at least ``minimum``.

    :raises TypeError: if it is no whole number
    :raises ValueError: if it is too small
    """
    if value is None and or_none:
        return
    allowed = f"at least {minimum}" + (" or None" if or_none else "")
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"{name} must be {allowed}, got nan")
        raise TypeError(f"{name} must be a whole number, {allowed}, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


def field_check(check: Callable[..., None], **bounds: Any) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Make an attrs validator of one of the checks above."""

    def validate(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        check(field.name, value, **bounds)

    return validate


def number_from_environment(variable: str, default: int, *, minimum: int) -> int:
    """Return the whole number in an environment variable, or ``default`` if it is unset or empty.

    :raises sentrio.errors.OptionValueError: if it holds anything else, or a number that is too small
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if value < minimum:
        problem = f"{variable} must be a whole number, at least {minimum}, got {text!r}"
        raise OptionValueError("environment", variable, problem)
    return value


def require_async(decorator: str, func: Any) -> None:
    """Refuse to decorate what is no async function.

    :raises TypeError: if ``func`` is no async function
    """
    innermost = inspect.unwrap(func) if callable(func) else func
    call = getattr(type(innermost), "__call__", None)  # noqa: B004  # an object whose call is async will do
    if not (inspect.iscoroutinefunction(innermost) or inspect.iscoroutinefunction(call)):
        raise TypeError(
            f"@{decorator}(...) decorates async functions, got {func!r}; "
            f"blocking code goes through sentrio.async_core.threads.call_sync"
        )


def require_coroutine(function: str, coro: object) -> None:
    """Refuse what is no coroutine object.

    :raises TypeError: if ``coro`` is none; if it is a function, the message shows the call
    """
    if not isinstance(coro, Coroutine):
        name = getattr(coro, "__name__", None)
        hint = f"; call the function: {function}({name}())" if name else ""
        raise TypeError(f"{function} needs a coroutine object, got {coro!r}{hint}")


def require_callback(owner: str, name: str, value: object) -> None:
    """Check that ``value`` can be called, or is ``None``.

    :raises OptionValueError: if not
    """
    if value is not None and not callable(value):
        raise OptionValueError(owner, name, f"{name} must be a function, got {value!r}")


def has_begun(coro: object) -> bool:
    """Whether a coroutine object was awaited already, here or elsewhere."""
    return inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) != inspect.CORO_CREATED


def close_coroutine(coro: object) -> None:
    """Close a coroutine object that was never awaited, so that Python does not complain about it."""
    if isinstance(coro, Coroutine) and not has_begun(coro):
        coro.close()


def known_options(cls: C) -> C:
    """Have a class answer an option that it does not know with the nearest one that it does."""
    init: Callable[..., None] = cls.__init__  # type: ignore[misc]
    known = frozenset(list(inspect.signature(init).parameters)[1:])

    @functools.wraps(init)
    def checked(self: object, *args: Any, **options: Any) -> None:
        if not options.keys() <= known:
            unknown = next(name for name in options if name not in known)
            raise UnknownOptionError(cls.__name__, unknown, sorted(known))
        init(self, *args, **options)

    cls.__init__ = checked  # type: ignore[misc]
    return cls
