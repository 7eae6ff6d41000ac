"""The HTTP connections of actions, and who owns them.

An action that sends something needs connections, and making one takes longer than using it. So there is one client
for all actions of an *owner*: a runner, a pool, an execution context, or, if nobody else offers one, the single run.
The owner opens a :class:`Connections` beside its task group and closes it at its end, in the same event loop; nothing
is left to a finaliser, and nothing is shared between loops. What is current is a context variable: tasks that the
owner starts inherit it, and where it runs something in a caller's task, it says :meth:`Connections.in_use`.

The client is made when it is first used, so that whoever sends nothing neither loads httpx nor reads certificates.
"""

from __future__ import annotations

__all__ = ("Connections", "open_client", "prepare", "shared_connections")

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from sentrio.async_core.http import AsyncHTTPClient

_current: ContextVar[Connections | None] = ContextVar("sentrio_connections", default=None)


class Connections:
    """HTTP connections that actions share as long as this is open: ``async with Connections() as connections:``.

    It may be opened again after it was closed, also in another event loop.
    """

    def __init__(self) -> None:
        self._loop: object = None
        self._lock: anyio.Lock | None = None
        self._client: AsyncHTTPClient | None = None

    def open(self) -> None:
        """Offer connections from now on, in the event loop that runs here; nothing is made before it is used."""
        loop = _this_loop()
        if self._loop is not loop:
            self._loop, self._client, self._lock = loop, None, None

    async def aclose(self) -> None:
        """Close the connections. Harmless when done again."""
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def is_open(self) -> bool:
        """Whether they are open, in whatever event loop."""
        return self._loop is not None

    @property
    def usable(self) -> bool:
        """Whether they are open, in the event loop that runs now."""
        return self._loop is not None and self._loop is _this_loop()

    def in_use(self) -> _InUse:
        """Have the actions that run in this block, and in tasks that are started in it, use these connections.

        If they are not open, the block uses what was current before.
        """
        return _InUse(self)

    async def client(self) -> AsyncHTTPClient:
        """Return the client, which is made now if this is its first use.

        :raises RuntimeError: if the connections were closed meanwhile
        """
        if self._client is not None:
            return self._client
        if self._lock is None:
            self._lock = anyio.Lock()
        async with self._lock:
            if self._client is None:
                client = _new_client()
                await client.__aenter__()
                if not self.usable:
                    await client.__aexit__(None, None, None)
                    raise RuntimeError("the connections were closed by their owner")
                self._client = client
            return self._client


class _InUse:
    """A class, as the next one: each run passes through both, and a generator takes ten times as long."""

    __slots__ = ("_connections", "_token")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._token: Token[Connections | None] | None = None

    def __enter__(self) -> None:
        if self._connections.is_open:
            self._token = _current.set(self._connections)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None


class shared_connections:  # noqa: N801  # a verb to those who use it
    """Share connections in this block: those that are current here, or new ones that are closed at its end.

    An application that runs checkpoints without a runner or a pool keeps connections between its runs like this::

        async with shared_connections():
            for checkpoint in checkpoints:
                await checkpoint.run_async()
    """

    __slots__ = ("_in_use", "_own")

    def __init__(self) -> None:
        self._own: Connections | None = None
        self._in_use: _InUse

    async def __aenter__(self) -> Connections:
        current = _current.get()
        if current is not None and current.is_open:
            return current
        self._own = own = Connections()
        own.open()
        self._in_use = own.in_use()
        self._in_use.__enter__()
        return own

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own is not None:
            self._in_use.__exit__(kind, value, trace)
            await self._own.aclose()


@asynccontextmanager
async def open_client() -> AsyncGenerator[AsyncHTTPClient]:
    """Give an action the client that is current, or one for this block alone."""
    current = _current.get()
    if current is not None and current.usable:
        yield await current.client()
    else:
        # Also where the current one belongs to another event loop, whose context a worker thread has a copy of.
        async with _new_client() as client:
            yield client


def prepare() -> None:
    """Load what connections need now, rather than in an event loop, which would stand still meanwhile."""
    import sentrio.async_core.http  # noqa: F401


def _new_client() -> AsyncHTTPClient:
    from sentrio.async_core.http import AsyncHTTPClient, RetryPolicy

    # The path of a webhook is its secret. An action has retries of its own, which its result counts; and a message
    # that a circuit breaker holds back, since others before it have failed, is lost although it might have arrived.
    return AsyncHTTPClient(retry_policy=RetryPolicy(max_retries=0), circuit_breaker=False, hide_paths=True)


def _this_loop() -> Any:
    try:
        return anyio.lowlevel.current_token().native_token
    except anyio.NoEventLoopError:
        return None
