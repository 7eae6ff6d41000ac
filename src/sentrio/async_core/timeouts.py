"""Timeouts: cancel scopes under the names that people know."""

from __future__ import annotations

__all__ = ("async_timeout", "with_timeout")

import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import anyio

from sentrio.async_core._checks import check_seconds, require_async

P = ParamSpec("P")
T = TypeVar("T")


class async_timeout:  # noqa: N801  # the documented name of a function
    """Limit how long the block may take.

    ::

        async with async_timeout(5.0):
            await something()

    The block gets the :class:`anyio.CancelScope`, whose ``deadline`` may be moved. A ``TimeoutError`` that
    the block raises by itself, or that belongs to a timeout around it, passes unchanged. One object may be
    used again, but not inside itself.

    :param seconds: counted from the entry; 0 ends the block where it first gives way, ``None`` never does
    :raises ValueError: if ``seconds`` is negative or NaN
    :raises TimeoutError: at the end of the block, if it was cut short
    """

    __slots__ = ("_entered", "_reason", "_seconds")

    def __init__(self, seconds: float | None) -> None:
        check_seconds("seconds", seconds)
        self._seconds = seconds
        self._reason = None if seconds is None else f"took longer than {seconds:g} s"
        self._entered: AbstractContextManager[anyio.CancelScope] | None = None

    async def __aenter__(self) -> anyio.CancelScope:
        if self._entered is not None:
            raise RuntimeError("this async_timeout is in use; make another one for a nested block")
        self._entered = anyio.fail_after(self._seconds, reason=self._reason)
        return self._entered.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        entered, self._entered = self._entered, None
        if entered is None:
            raise RuntimeError("this async_timeout was not entered")
        return entered.__exit__(exc_type, exc, tb)


def with_timeout(
    seconds: float | None,
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Decorate an async function so that each call may take ``seconds`` at most.

    :param seconds: counted from the call; ``None`` for no limit
    :raises ValueError: if ``seconds`` is negative or NaN
    :raises TypeError: if it decorates what is no async function
    """
    if callable(seconds):
        raise TypeError("with_timeout needs the seconds: write @with_timeout(30.0)")
    check_seconds("seconds", seconds)

    def decorate(func: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        require_async("with_timeout", func)
        reason = f"{getattr(func, '__qualname__', func)} took longer than {seconds or 0:g} s"

        @functools.wraps(func)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> T:
            with anyio.fail_after(seconds, reason=reason):
                return await func(*args, **kwargs)

        return limited

    return decorate
