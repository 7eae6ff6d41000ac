"""Things that are expensive to make and may be used by one at a time: connections, sessions, browsers."""

from __future__ import annotations

__all__ = ("PoolStatistics", "ResourcePool")

import inspect
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

import anyio
import anyio.lowlevel
import attrs

from sentrio.async_core._checks import check_count, check_seconds, known_options
from sentrio.async_core.background import current_task_id
from sentrio.async_core.telemetry import metric_counter
from sentrio.errors import PoolClosedError

T = TypeVar("T")

logger = logging.getLogger("sentrio.async_core.resources")

_made = metric_counter("sentrio.pool.created")
_cleaned = metric_counter("sentrio.pool.cleaned")


@attrs.frozen
class PoolStatistics:
    """What a resource pool is doing."""

    max_resources: int  #: how many resources there may be at once
    idle: int  #: resources that wait to be used
    in_use: int  #: places that are taken, also while a resource is made, checked or cleaned up
    waiting: int  #: tasks that wait for a place
    created: int  #: resources made since the pool was made
    cleaned: int  #: resources cleaned up since then


@attrs.define(eq=False)
class _Lease(Generic[T]):
    """A place in the pool, or among those who wait for one, and the resource that its holder works with."""

    task_id: int
    event: anyio.Event | None = None
    held: list[T] = attrs.field(factory=list)  #: the resource, while the holder works with it
    broken: bool = False  #: the holder has discarded it


@known_options
class ResourcePool(Generic[T]):
    """Lends resources, at most ``max_resources`` at once, and makes them as they are needed.

    ::

        pool = ResourcePool(max_resources=10, factory=create_connection, cleanup=close_connection)
        async with pool:
            async with pool.acquire() as connection:
                await use(connection)

    Whoever waits longest gets the next resource. Several are made at the same time if several are needed. The
    resource that was used last is lent first, so that those beyond the need grow old and can be let go.

    :param max_resources: how many resources there may be at once
    :param factory: makes a resource; sync (called in the event loop) or async
    :param cleanup: gets a resource that is used no more; sync or async; ``None`` if there is nothing to do
    :param check: tells whether an idle resource is still good before it is lent again; sync or async. A false
        answer or an error has it cleaned up, and another one is lent
    :param max_idle: how many idle resources are kept; ``None`` keeps all
    :param max_idle_seconds: a resource that is idle for longer is not lent again; it is cleaned up when
        somebody next uses the pool. ``None`` for no limit
    :param cleanup_timeout: seconds that cleaning up one resource may take; ``None`` for no limit
    :raises ValueError: if a value is out of range, NaN included
    :raises TypeError: if a value is of the wrong type, or for an option that is not listed here
    """

    @overload
    def __init__(
        self,
        max_resources: int,
        factory: Callable[[], Coroutine[Any, Any, T]],
        cleanup: Callable[[T], object] | None = None,
        check: Callable[[T], object] | None = None,
        *,
        max_idle: int | None = None,
        max_idle_seconds: float | None = None,
        cleanup_timeout: float | None = 10.0,
    ) -> None: ...

    @overload
    def __init__(
        self,
        max_resources: int,
        factory: Callable[[], T],
        cleanup: Callable[[T], object] | None = None,
        check: Callable[[T], object] | None = None,
        *,
        max_idle: int | None = None,
        max_idle_seconds: float | None = None,
        cleanup_timeout: float | None = 10.0,
    ) -> None: ...

    def __init__(
        self,
        max_resources: int,
        factory: Callable[[], Any],
        cleanup: Callable[[T], object] | None = None,
        check: Callable[[T], object] | None = None,
        *,
        max_idle: int | None = None,
        max_idle_seconds: float | None = None,
        cleanup_timeout: float | None = 10.0,
    ) -> None:
        check_count("max_resources", max_resources)
        check_count("max_idle", max_idle, minimum=0, or_none=True)
        check_seconds("max_idle_seconds", max_idle_seconds)
        check_seconds("cleanup_timeout", cleanup_timeout)
        given: dict[str, Any] = {"factory": factory, "cleanup": cleanup, "check": check}
        for name, value in given.items():
            if not (callable(value) or (value is None and name != "factory")):
                raise TypeError(f"{name} must be callable, got {value!r}")
        self._max_resources = max_resources
        self._factory = factory
        self._cleanup = cleanup
        self._check = check
        self._max_idle = max_resources if max_idle is None else max_idle
        self._max_idle_seconds = math.inf if max_idle_seconds is None else max_idle_seconds
        self._cleanup_timeout = cleanup_timeout
        self._idle: deque[tuple[float, T]] = deque()  # the last one was used last
        self._leases: set[_Lease[T]] = set()
        self._waiters: deque[_Lease[T]] = deque()
        self._closed = False
        self._created = self._cleaned = 0

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def statistics(self) -> PoolStatistics:
        """Return what the pool is doing right now."""
        return PoolStatistics(
            max_resources=self._max_resources,
            idle=len(self._idle),
            in_use=len(self._leases),
            waiting=len(self._waiters),
            created=self._created,
            cleaned=self._cleaned,
        )

    def acquire(self, timeout: float | None = None) -> AbstractAsyncContextManager[T]:
        """Return an async context manager that lends a resource for its block.

        :param timeout: seconds for waiting, checking and making one; ``None`` for no limit
        :raises ValueError: if ``timeout`` is negative or NaN
        :raises TimeoutError: on entry, if there was no resource in time
        :raises sentrio.errors.PoolClosedError: on entry, if the pool is closed, or is closed meanwhile
        :raises RuntimeError: on entry, if this very task has all the resources already, and so would wait
            for itself
        """
        check_seconds("timeout", timeout)
        return self._lend(timeout)

    @asynccontextmanager
    async def _lend(self, timeout: float | None) -> AsyncGenerator[T]:
        lease: _Lease[T] = _Lease(current_task_id())
        try:
            if timeout is None:
                await self._enter(lease)
                resource = await self._ready()
            else:
                with anyio.fail_after(timeout, reason=f"no resource was free within {timeout:g} s"):
                    await self._enter(lease)
                    resource = await self._ready()
            lease.held.append(resource)
            try:
                yield resource
            finally:
                lease.held.clear()
                if lease.broken or self._closed or len(self._idle) >= self._max_idle:
                    await self._clean_up_logged(resource)
                else:
                    self._idle.append((anyio.current_time(), resource))
        finally:
            self._leave(lease)

    def discard(self, resource: T) -> None:
        """Say that a borrowed resource is broken: when it comes back it is cleaned up, and never lent again.

        :raises ValueError: if this pool has not lent it to anybody
        """
        for lease in self._leases:
            if lease.held and lease.held[0] is resource:
                lease.broken = True
                return
        raise ValueError(f"{resource!r} is not a resource that this pool has lent")

    async def close(self) -> None:
        """Lend nothing more, and clean up.

        Idle resources are cleaned up now, all at once; those in use when they come back. Whoever waits for
        one gets a ``PoolClosedError``. Closing again does nothing.

        :raises ExceptionGroup: with the errors of the clean-ups that failed; all others have been done
        """
        self._closed = True
        while self._waiters:
            event = self._waiters.popleft().event
            if event is not None:
                event.set()
        errors: list[Exception] = []

        async def clean(resource: T) -> None:
            try:
                await self._clean_up(resource)
            except Exception as exc:  # noqa: BLE001  # grouped below
                errors.append(exc)

        async with anyio.create_task_group() as tg:
            while self._idle:
                tg.start_soon(clean, self._idle.popleft()[1], name="sentrio: clean up")
        if errors:
            raise ExceptionGroup("some resources could not be cleaned up", errors)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _enter(self, lease: _Lease[T]) -> None:
        """Take a place, as soon as there is one and nobody has waited for longer."""
        self._require_open()
        if len(self._leases) < self._max_resources and not self._waiters:
            self._leases.add(lease)
            await anyio.lowlevel.checkpoint()
            return
        if len(self._leases) == self._max_resources and all(other.task_id == lease.task_id for other in self._leases):
            raise RuntimeError(
                f"this task has all {self._max_resources} resources of the pool and would wait for itself; "
                f"give one back first, or raise max_resources"
            )
        lease.event = anyio.Event()
        self._waiters.append(lease)
        await lease.event.wait()
        self._require_open()

    def _leave(self, lease: _Lease[T]) -> None:
        """Give the place to who has waited longest, or give up waiting for one."""
        if lease in self._leases:
            self._leases.remove(lease)
            if self._waiters:
                heir = self._waiters.popleft()
                self._leases.add(heir)
                if heir.event is not None:
                    heir.event.set()
        elif lease in self._waiters:
            self._waiters.remove(lease)

    async def _ready(self) -> T:
        """Return an idle resource that is still good, or a new one."""
        oldest = anyio.current_time() - self._max_idle_seconds
        while self._idle and self._idle[0][0] <= oldest:
            await self._clean_up_logged(self._idle.popleft()[1])
        while self._idle:
            used_before = self._idle.pop()[1]
            if await self._is_good(used_before) and not self._closed:
                return used_before
            await self._clean_up_logged(used_before)
            self._require_open()
        made = self._factory()
        resource: T = await made if inspect.isawaitable(made) else made
        self._created += 1
        _made()
        if self._closed:
            await self._clean_up_logged(resource)
            self._require_open()
        return resource

    async def _is_good(self, resource: T) -> bool:
        if self._check is None:
            return True
        try:
            answer = self._check(resource)
            return bool(await answer if inspect.isawaitable(answer) else answer)
        except Exception as exc:  # noqa: BLE001  # a broken resource may fail in any way
            logger.info("the check of a resource raised %s; it is replaced", type(exc).__name__)
            return False
        except BaseException:
            # Cancelled in the middle of a check: nobody knows what state the resource is in.
            await self._clean_up_logged(resource)
            raise

    async def _clean_up(self, resource: T) -> None:
        self._cleaned += 1
        _cleaned()
        if self._cleanup is None:
            return
        reason = f"the clean-up took longer than {self._cleanup_timeout} s"
        with anyio.fail_after(self._cleanup_timeout, shield=True, reason=reason):
            answer = self._cleanup(resource)
            if inspect.isawaitable(answer):
                await answer

    async def _clean_up_logged(self, resource: T) -> None:
        """Clean up where nobody waits for the outcome: the resource is gone in any case."""
        try:
            await self._clean_up(resource)
        except Exception as exc:
            # Without its text, which may quote where the resource is connected to, and how.
            logger.warning("cleaning up a resource failed with %s", type(exc).__name__)
            logger.debug("cleaning up a resource failed", exc_info=True)

    def _require_open(self) -> None:
        if self._closed:
            raise PoolClosedError("resource pool", "is closed")
