"""A time limit that costs nothing where there is none."""

from __future__ import annotations

__all__ = ("within",)

from types import TracebackType
from typing import Self

import anyio


class within:  # noqa: N801  # a verb to those who use it
    """Limit how long the block may take, and tell afterwards whether that ended it.

    Without a limit there is no cancel scope: the few that a small run would enter take a tenth of its time.

    :param seconds: counted from the making of it; ``None``: no limit
    """

    __slots__ = ("_scope",)

    def __init__(self, seconds: float | None) -> None:
        self._scope = None if seconds is None else anyio.CancelScope(deadline=anyio.current_time() + seconds)

    def __enter__(self) -> Self:
        if self._scope is not None:
            self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return None if self._scope is None else self._scope.__exit__(kind, value, trace)

    @property
    def expired(self) -> bool:
        """Whether the limit ended the block."""
        return self._scope is not None and self._scope.cancelled_caught
