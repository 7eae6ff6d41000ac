"""Run a coroutine in a context of its own, without a task of its own."""

from __future__ import annotations

__all__ = ("isolated",)

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any

from sentrio.async_core._checks import has_begun


@types.coroutine
def isolated(coro: Coroutine[Any, Any, Any], context: Context) -> Generator[Any, Any, Any]:
    """Await ``coro`` so that it sees, and changes, ``context`` instead of the caller's context variables.

    One task that runs many coroutines is much cheaper than many tasks, but they must not see each other's
    variables any more than tasks would.
    """
    if has_begun(coro):
        # `await` refuses this; to send into a coroutine that waits elsewhere would wake it too early.
        raise RuntimeError(f"the coroutine was awaited already: {coro!r}")
    step: Callable[[Any], Any] = coro.send
    value: Any = None
    while True:
        try:
            wanted = context.run(step, value)
        except StopIteration as stop:
            return stop.value
        try:
            value = yield wanted
        except GeneratorExit:
            context.run(coro.close)
            raise
        except BaseException as exc:  # noqa: BLE001  # thrown into the coroutine, which decides
            step, value = coro.throw, exc
        else:
            step = coro.send
