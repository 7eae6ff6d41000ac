"""Limits: any async context manager says how many may run at once."""

from __future__ import annotations

__all__ = ("Limit", "borrowed", "check_limit", "with_semaphore")

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

import anyio
import anyio.lowlevel

from sentrio.async_core._checks import require_async

P = ParamSpec("P")
T = TypeVar("T")

Limit: TypeAlias = AbstractAsyncContextManager[Any, Any]
"""``asyncio.Semaphore``, ``anyio.CapacityLimiter``, ``trio.Semaphore``, or whatever ``async with`` takes."""


@runtime_checkable
class _Limiter(Protocol):
    """AnyIO's and trio's capacity limiters, which remember who has borrowed."""

    async def acquire_on_behalf_of(self, borrower: object) -> None: ...

    def release_on_behalf_of(self, borrower: object) -> None: ...


def check_limit(name: str, limit: Any) -> None:
    """Check that ``limit`` can be used in ``async with``.

    :raises TypeError: if it can not
    """
    if not (hasattr(type(limit), "__aenter__") and hasattr(type(limit), "__aexit__")):
        raise TypeError(f"{name} must be an async context manager such as anyio.CapacityLimiter(5), got {limit!r}")


def borrowed(limit: Limit) -> AbstractAsyncContextManager[Any, Any]:
    """Return the context manager that holds one slot of ``limit``.

    A capacity limiter lends to borrowers and refuses the same one twice. Each use here is a borrower of its
    own, so that one task may hold several slots.

    :raises TypeError: if ``limit`` is a primitive of asyncio under trio, or of trio under asyncio
    """
    # Such a primitive works until it is contended, and then fails in the middle.
    home = _home(type(limit))
    if home is not None:
        # The callers of this function are async, so a loop runs, and its token tells which one.
        loop = anyio.lowlevel.current_token().native_token
        running = "asyncio" if hasattr(loop, "call_soon_threadsafe") else "trio"
        if running != home:
            raise TypeError(
                f"{type(limit).__module__}.{type(limit).__qualname__} can not be used as a limit under "
                f"{running}; use anyio.Semaphore or anyio.CapacityLimiter, which work everywhere"
            )
    if isinstance(limit, _Limiter):
        return _one_token(limit)
    return limit


@functools.lru_cache(maxsize=128)
def _home(kind: type) -> str | None:
    """Return the backend that a class, or what it inherits from, belongs to."""
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        if package in ("asyncio", "trio"):
            return package
    return None


@asynccontextmanager
async def _one_token(limiter: _Limiter) -> AsyncGenerator[None]:
    borrower = object()
    await limiter.acquire_on_behalf_of(borrower)
    try:
        yield
    finally:
        limiter.release_on_behalf_of(borrower)


def with_semaphore(
    limit: Limit,
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Decorate an async function so that each call holds one slot of ``limit`` while it runs.

    :param limit: any async context manager that can be entered again; several functions may share it
    :raises TypeError: if ``limit`` is none, or if it decorates what is no async function; when called, if
        ``limit`` belongs to asyncio and trio runs, or the other way round
    """
    check_limit("limit", limit)

    def decorate(func: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        require_async("with_semaphore", func)

        @functools.wraps(func)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> T:
            async with borrowed(limit):
                return await func(*args, **kwargs)

        return limited

    return decorate
