"""Trying again: how often, after what, and how long to wait."""

from __future__ import annotations

__all__ = ("IDEMPOTENT_METHODS", "RETRY_STATUSES", "RetryPolicy", "with_retry")

import functools
import logging
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, ParamSpec, TypeVar

import anyio
import attrs

from sentrio.async_core._checks import (
    check_count,
    check_number,
    check_seconds,
    field_check,
    known_options,
    number_from_environment,
    require_async,
)

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("sentrio.async_core.retry")

# What a request may do twice without doing it twice (RFC 9110, section 9.2.2).
IDEMPOTENT_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})

# What a server says that is busy, restarting, or behind a proxy that is: another try may help.
RETRY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


def _check_statuses(_: object, field: attrs.Attribute[Any], value: frozenset[Any]) -> None:
    for status in value:
        if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
            raise ValueError(f"{field.name} must be HTTP statuses from 100 to 599, got {status!r}")


def _check_exceptions(_: object, field: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
    _require_exceptions(field.name, value)


def _require_exceptions(name: str, classes: tuple[Any, ...]) -> None:
    for cls in classes:
        # Cancellation is a BaseException on both backends, and must never be tried again.
        if not (isinstance(cls, type) and issubclass(cls, Exception)):
            raise ValueError(f"{name} must be subclasses of Exception, got {cls!r}")  # noqa: TRY004


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, type) else tuple(value)


def _as_statuses(value: Iterable[int]) -> frozenset[int]:
    return frozenset(value)


def _as_methods(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TypeError(f"retry_methods must be a collection of methods, got {value!r}; write [{value!r}]")
    return frozenset(method.upper() for method in value)


def _transport_errors() -> tuple[type[Exception], ...]:
    # Here, since importing the toolkit must not import httpx.
    import httpx

    return (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


def _default_retries() -> int:
    return number_from_environment("SENTRIO_ASYNC_RETRY_MAX", 3, minimum=0)


def _grown(base: float, factor: float, times: int) -> float:
    try:
        return base * factor**times
    except OverflowError:
        return math.inf if base else 0.0


@known_options
@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When and how often an HTTP request is tried again.

    The n-th retry, counted from 0, waits ``backoff_factor * 2**n`` seconds, at most ``max_delay``.

    :param max_retries: tries after the first one; unset, the environment variable
        ``SENTRIO_ASYNC_RETRY_MAX`` decides, and without it 3
    :param backoff_factor: seconds before the first retry
    :param retry_statuses: statuses of responses that are worth another try
    :param retry_exceptions: errors that are worth another try, subclasses of :class:`Exception`; unset, what
        httpx raises for timeouts, broken connections, and servers that hang up
    :param retry_methods: methods that may be tried again, in any case
    :param max_delay: the longest wait between two tries, in seconds
    :param jitter: share of a wait by which chance may shorten or lengthen it, 0 to 1
    :param total_timeout: seconds for all tries and waits together; ``None`` for no such limit
    :raises ValueError: if a value is out of range, NaN included
    :raises sentrio.errors.UnknownOptionError: (a ``TypeError``) for an option that is not listed here
    """

    max_retries: int = attrs.field(factory=_default_retries, validator=field_check(check_count, minimum=0))
    backoff_factor: float = attrs.field(default=1.0, validator=field_check(check_number))
    retry_statuses: frozenset[int] = attrs.field(
        default=RETRY_STATUSES, converter=_as_statuses, validator=_check_statuses
    )
    retry_exceptions: tuple[type[Exception], ...] = attrs.field(
        factory=_transport_errors, converter=_as_tuple, validator=_check_exceptions
    )
    retry_methods: frozenset[str] = attrs.field(default=IDEMPOTENT_METHODS, converter=_as_methods)
    max_delay: float = attrs.field(default=60.0, validator=field_check(check_number))
    jitter: float = attrs.field(default=0.1, validator=field_check(check_number, maximum=1.0))
    total_timeout: float | None = attrs.field(default=None, validator=field_check(check_seconds))

    def get_backoff_delay(self, attempt: int) -> float:
        """Return the seconds to wait after a failed try, without jitter.

        :param attempt: the number of the try that failed, counted from 0
        :raises ValueError: if ``attempt`` is negative
        """
        check_count("attempt", attempt, minimum=0)
        return min(_grown(self.backoff_factor, 2.0, attempt), self.max_delay)

    def next_delay(self, attempt: int) -> float:
        """Return the seconds to wait after a failed try, with jitter, never more than ``max_delay``.

        :param attempt: the number of the try that failed, counted from 0
        :raises ValueError: if ``attempt`` is negative
        """
        return min(_jittered(self.get_backoff_delay(attempt), self.jitter), self.max_delay)


def _jittered(delay: float, jitter: float) -> float:
    return delay * random.uniform(1 - jitter, 1 + jitter) if jitter else delay  # noqa: S311


def with_retry(
    max_retries: int = 3,
    delay: float = 1.0,
    backoff: float = 2.0,
    exceptions: type[Exception] | Iterable[type[Exception]] = (Exception,),
    jitter: float = 0.0,
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Decorate an async function so that it is tried again when it fails.

    The n-th retry, counted from 0, waits ``delay * backoff**n`` seconds. After the last try the function's
    own error is raised, with a note that says how often it was tried. Cancellation, and so a timeout around
    the call, ends the tries at once.

    :param max_retries: tries after the first one; 0 tries once
    :param delay: seconds before the first retry
    :param backoff: what each further wait is multiplied by
    :param exceptions: errors that are worth another try, subclasses of :class:`Exception`
    :param jitter: share of a wait by which chance may shorten or lengthen it, 0 to 1
    :raises ValueError: if a value is out of range, NaN included
    :raises TypeError: if it decorates what is no async function
    """
    if callable(max_retries):
        raise TypeError("with_retry has options: write @with_retry() instead of @with_retry")
    check_count("max_retries", max_retries, minimum=0)
    check_number("delay", delay, unit=" seconds")
    check_number("backoff", backoff)
    check_number("jitter", jitter, maximum=1.0)
    caught = _as_tuple(exceptions)
    _require_exceptions("exceptions", caught)

    def decorate(func: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        require_async("with_retry", func)
        name = getattr(func, "__qualname__", repr(func))

        @functools.wraps(func)
        async def retrying(*args: P.args, **kwargs: P.kwargs) -> T:
            attempt = 0
            while True:
                try:
                    return await func(*args, **kwargs)
                except caught as exc:
                    if attempt >= max_retries:
                        if attempt:
                            exc.add_note(f"{name} was tried {attempt + 1} times")
                        raise
                    kind = type(exc).__name__  # its text might hold a secret
                wait = _jittered(_grown(delay, backoff, attempt), jitter)
                attempt += 1
                logger.info("%s raised %s; retry %d of %d in %g s", name, kind, attempt, max_retries, wait)
                await anyio.sleep(wait)

        return retrying

    return decorate
