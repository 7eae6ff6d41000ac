"""What ``async_background`` returns: ``asyncio.Task``, or its twin on trio."""

from __future__ import annotations

__all__ = ("BackgroundHandle", "TrioHandle", "describe")

import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import anyio
import attrs

if TYPE_CHECKING:
    from sentrio.async_core._hosts import HostState

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

logger = logging.getLogger("sentrio.async_core.background")


def describe(state: HostState) -> str:
    if not state.ended:
        return "cancelling" if state.scope.cancel_called else "running"
    if state.error is not None:
        return "failed"
    return "cancelled" if state.cancelled else "finished"


class BackgroundHandle(Protocol[T_co]):
    """What :func:`async_background` returns: the common part of ``asyncio.Task`` and its twin on trio.

    Awaiting it gives the coroutine's result or raises its error; cancelling who awaits it cancels the task.
    """

    def __await__(self) -> Generator[Any, Any, T_co]: ...

    def cancel(self) -> bool:
        """Ask the task to end; return whether it was still running."""

    def done(self) -> bool:
        """Whether the task has ended, in whatever way."""

    def cancelled(self) -> bool:
        """Whether the task was ended by a cancellation."""

    def result(self) -> T_co:
        """The coroutine's result, or its error raised; only after the end."""

    def exception(self) -> BaseException | None:
        """The coroutine's error, or ``None``; only after the end."""

    def get_name(self) -> str:
        """What the task is called."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Have ``callback(handle)`` called once the task has ended."""


@attrs.define(eq=False)
class TrioHandle(Generic[T]):
    """The twin of ``asyncio.Task`` on trio; it differs in what it raises for a cancelled task."""

    _state: HostState
    _callbacks: list[Callable[[Any], object]] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self._state.on_end = self._run_callbacks

    def __await__(self) -> Generator[Any, Any, T]:
        return self._join().__await__()

    async def _join(self) -> T:
        await self._state.until_ended()
        return self.result()

    def cancel(self) -> bool:
        if self._state.ended:
            return False
        self._state.scope.cancel()
        return True

    def done(self) -> bool:
        return self._state.ended

    def cancelled(self) -> bool:
        return self._state.ended and self._state.cancelled

    def result(self) -> T:
        """Return the result or raise the error.

        :raises anyio.TaskNotFinished: if the task still runs
        :raises anyio.TaskCancelled: if it was cancelled
        """
        if not self._state.ended:
            raise anyio.TaskNotFinished(f"background task {self._state.name} still runs")
        return cast("T", self._state.unwrap())

    def exception(self) -> BaseException | None:
        """Return the error, or ``None``.

        :raises anyio.TaskNotFinished: if the task still runs
        :raises anyio.TaskCancelled: if it was cancelled
        """
        try:
            self.result()
        except (anyio.TaskNotFinished, anyio.TaskCancelled):
            if self._state.error is None:
                raise
        except BaseException:  # noqa: BLE001, S110  # it is returned below
            pass
        return self._state.error

    def get_name(self) -> str:
        return self._state.name

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        if self._state.ended:
            self._call(callback)
        else:
            self._callbacks.append(callback)

    def _call(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except Exception:
            logger.exception("a callback of background task %s raised", self._state.name)

    def _run_callbacks(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._call(callback)

    def __repr__(self) -> str:
        return f"<BackgroundHandle {self._state.name} {describe(self._state)}>"
