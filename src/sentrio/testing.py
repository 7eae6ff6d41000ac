"""Helpers for tests of code that is built on sentrio.

:func:`cancel_everywhere` cancels an operation at its first scheduling point, then at its second, and so on,
and checks after each try that nothing is left behind. :class:`HandTrigger` is a trigger that a test fires,
:class:`RecordingAction` an action that remembers its results. :func:`check_validator_laws` tries a validator of one's
own on data at random, cut at random.
"""

from __future__ import annotations

__all__ = (
    "BACKENDS",
    "CancelReport",
    "HandTrigger",
    "LawBroken",
    "LeftBehind",
    "RecordingAction",
    "cancel_everywhere",
    "check_validator_laws",
)

# The task factory below needs asyncio's own task class. This module is for tests, where DESIGN allows it.
import asyncio
import gc
import os
import random
import sys
import types
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from sentrio.async_core.threads import thread_statistics
from sentrio.checkpoint._doubles import HandTrigger, RecordingAction
from sentrio.validation.laws import LawBroken, check_validator_laws

Backend = Literal["asyncio", "uvloop", "trio"]
BACKENDS: tuple[Backend, ...] = ("asyncio", "uvloop", "trio")

_ALL_POINTS_UP_TO = 200
_SAMPLED_BEYOND = 50


class LeftBehind(AssertionError):
    """A cancelled operation left something behind, or did not end."""


@attrs.frozen(kw_only=True)
class CancelReport:
    """What :func:`cancel_everywhere` did."""

    points: int  #: scheduling points of one whole run
    tries: int  #: runs that were cancelled
    seed: int  #: seed of the sample of points beyond the first 200


@attrs.define(eq=False)
class _Counter:
    """Counts scheduling points and pulls the trigger at one of them."""

    at: int | None
    fire: Callable[[], object]
    points: int = 0

    def hit(self) -> None:
        self.points += 1
        if self.points == self.at:
            self.fire()


def cancel_everywhere(
    operation: Callable[[], Awaitable[object]],
    *,
    backend: Backend | None = None,
    limiters: Callable[[], Iterable[anyio.CapacityLimiter]] | None = None,
    check: Callable[[], object] | None = None,
    deadline: float = 10.0,
    seed: int = 0,
    ignore_open_files: bool = False,
    allow_abandoned: bool = False,
) -> CancelReport:
    """Cancel ``operation`` at every scheduling point and check that nothing is left behind.

    Every try runs in an event loop of its own. On trio the points of the operation and of its children are
    counted by an instrument; on asyncio (and uvloop) by a task factory, and each point is tried twice: once
    with a cancel scope, once with a native ``task.cancel()``. All points up to 200 are tried, then a seeded
    sample of 50. After each try there must be no task, no running worker thread, no child process, no
    additional open file, no coroutine that was never awaited, no warning, and no borrowed token.

    :param operation: makes the awaitable to be cancelled; called anew for each try
    :param backend: ``"asyncio"``, ``"uvloop"`` or ``"trio"``; ``None`` tries all three, one after another
    :param limiters: returns limiters that must have no borrowed token; AnyIO's default one always counts
    :param check: called after each try, outside the loop; it raises if it finds a fault
    :param deadline: seconds that one try may take before it counts as hanging
    :param seed: seed of the sample
    :param ignore_open_files: do not count file descriptors (other tests of the process may open some)
    :param allow_abandoned: a worker thread that still runs after the try is no fault, if it is abandoned
    :raises LeftBehind: if a try leaves something behind, swallows its cancellation or does not end
    """
    points = tries = 0
    for name in (backend,) if backend else BACKENDS:
        attempt = _Attempt(operation, name, limiters, check, deadline, ignore_open_files, allow_abandoned)
        attempt.run(at=None, native=False)  # once uncancelled: imports, caches, and the number of points
        total = attempt.run(at=None, native=False)
        wanted = list(range(1, min(total, _ALL_POINTS_UP_TO) + 1))
        beyond = range(_ALL_POINTS_UP_TO + 1, total + 1)
        wanted += sorted(random.Random(seed).sample(beyond, min(_SAMPLED_BEYOND, len(beyond))))  # noqa: S311
        for at in wanted:
            for native in (False,) if name == "trio" else (False, True):
                attempt.run(at=at, native=native)
                tries += 1
        points = max(points, total)
    gc.collect()
    return CancelReport(points=points, tries=tries, seed=seed)


@attrs.define(eq=False)
class _Attempt:
    operation: Callable[[], Awaitable[object]]
    backend: Backend
    limiters: Callable[[], Iterable[anyio.CapacityLimiter]] | None
    check: Callable[[], object] | None
    deadline: float
    ignore_open_files: bool
    allow_abandoned: bool

    def run(self, *, at: int | None, native: bool) -> int:
        """Run once, cancelled at point ``at`` (``None``: not at all); return the points counted."""
        how = "native cancel" if native else "scope"
        where = f"{self.backend}, cancelled at point {at} ({how})" if at else f"{self.backend}, not cancelled"
        open_before, children_before = _open_files(), _children()
        with _collected_warnings() as caught:
            if self.backend == "trio":
                points = anyio.run(self._on_trio, at, where, backend="trio")
            else:
                options = {"use_uvloop": self.backend == "uvloop"}
                main = self._on_asyncio_native if native else self._on_asyncio
                points = anyio.run(main, at, where, backend="asyncio", backend_options=options)
            gc.collect(1)
        if caught:
            raise LeftBehind(f"{where}: {'; '.join(caught)}")
        if not self.ignore_open_files and (left := _open_files() - open_before):
            raise LeftBehind(f"{where}: open files left: {sorted(left)}")
        if left := _children() - children_before:
            raise LeftBehind(f"{where}: child processes left: {sorted(left)}")
        if self.check is not None:
            self.check()
        return points

    async def _guarded(self, counter_scope: anyio.CancelScope, where: str) -> None:
        # Measured afterwards as well: an operation may hang behind a shield that no deadline pierces.
        latest = anyio.current_time() + self.deadline
        with anyio.move_on_at(latest):
            with counter_scope:
                await self.operation()
        if anyio.current_time() >= latest:
            raise LeftBehind(f"{where}: still running after {self.deadline:g} s")

    async def _leftovers(self, where: str) -> None:
        for limiter in (
            anyio.to_thread.current_default_thread_limiter(),
            *(self.limiters() if self.limiters else ()),
        ):
            if limiter.borrowed_tokens and not self.allow_abandoned:
                raise LeftBehind(f"{where}: {limiter.borrowed_tokens} tokens of {limiter} are still borrowed")
        threads = thread_statistics()
        if threads.running > (threads.abandoned if self.allow_abandoned else 0):
            raise LeftBehind(f"{where}: {threads.running} calls still run in worker threads")

    async def _on_trio(self, at: int | None, where: str) -> int:
        import trio  # loaded only where trio is what is tested

        scope = anyio.CancelScope()
        counter = _Counter(at, scope.cancel)
        mine = trio.lowlevel.current_task()
        before = _trio_tasks(mine)

        class Steps(trio.abc.Instrument):
            def after_task_step(self, task: trio.lowlevel.Task) -> None:
                if task is mine or task not in before:
                    counter.hit()

        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        try:
            await self._guarded(scope, where)
        finally:
            trio.lowlevel.remove_instrument(steps)
        await anyio.lowlevel.checkpoint()
        left = _trio_tasks(mine) - before
        if left:
            raise LeftBehind(f"{where}: tasks left: {sorted(task.name for task in left)}")
        await self._leftovers(where)
        return counter.points

    async def _on_asyncio(self, at: int | None, where: str) -> int:
        scope = anyio.CancelScope()
        counter = _Counter(at, scope.cancel)
        before = asyncio.all_tasks()
        with _counting_tasks(counter):
            await _drive(self._guarded(scope, where), counter)
        await self._asyncio_leftovers(before, where)
        return counter.points

    async def _on_asyncio_native(self, at: int | None, where: str) -> int:
        before = asyncio.all_tasks()
        counter = _Counter(at, lambda: task.cancel())  # noqa: PLW0108  # the task comes later
        with _counting_tasks(counter):
            task = asyncio.ensure_future(self._guarded(anyio.CancelScope(), where))
            await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            await task
        await self._asyncio_leftovers(before, where)
        return counter.points

    async def _asyncio_leftovers(self, before: set[asyncio.Task[Any]], where: str) -> None:
        await asyncio.sleep(0)  # callbacks of tasks that ended in the last step
        left = asyncio.all_tasks() - before
        if left:
            raise LeftBehind(f"{where}: tasks left: {sorted(map(repr, left))}")
        await self._leftovers(where)


@types.coroutine
def _drive(coro: Coroutine[Any, Any, Any], counter: _Counter) -> Generator[Any, Any, Any]:
    """Run ``coro`` and count the points at which it gives the control back."""
    send: Callable[[Any], Any] = coro.send
    value: Any = None
    while True:
        try:
            yielded = send(value)
        except StopIteration as stop:
            return stop.value
        counter.hit()
        try:
            value = yield yielded
        except GeneratorExit:
            coro.close()
            raise
        except BaseException as exc:  # noqa: BLE001  # thrown into the coroutine, which decides
            send, value = coro.throw, exc
        else:
            send = coro.send


async def _driven(coro: Coroutine[Any, Any, Any], counter: _Counter) -> Any:
    # A native coroutine: AnyIO asks tasks whether their coroutine has started.
    return await _drive(coro, counter)


@contextmanager
def _counting_tasks(counter: _Counter) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(_driven(coro, counter), loop=loop, **options)
        # A task that is cancelled before its first step closes the coroutine that it was given, not ours.
        task.add_done_callback(lambda _: coro.close())
        return task

    loop.set_task_factory(factory)  # type: ignore[arg-type]  # typeshed wants a generic protocol
    try:
        yield
    finally:
        loop.set_task_factory(None)


def _trio_tasks(task: Any) -> set[Any]:
    """All tasks of the run that ``task`` belongs to."""
    while task.parent_nursery is not None:
        task = task.parent_nursery.parent_task
    found, waiting = set(), [task]
    while waiting:
        current = waiting.pop()
        found.add(current)
        waiting += [child for nursery in current.child_nurseries for child in nursery.child_tasks]
    return found


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collect warnings and unraisable exceptions as texts."""
    texts: list[str] = []
    previous = sys.unraisablehook
    sys.unraisablehook = lambda info: texts.append(f"{info.err_msg or 'unraisable'}: {info.exc_value!r}")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield texts
            texts += [f"{item.category.__name__}: {item.message}" for item in caught]
    finally:
        sys.unraisablehook = previous


# Both are asked twice for each try, so they do without pathlib, which would take most of their time.
def _open_files() -> set[str]:
    found: set[str] = set()
    for entry in _entries("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")  # noqa: PTH115
        except OSError:
            continue
        if target.startswith("/") and not target.startswith(("/proc/", "/dev/", "/sys/")):
            found.add(f"{entry}: {target}")
    return found


def _children() -> set[str]:
    found: set[str] = set()
    for entry in _entries("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{entry}/children", encoding="ascii") as file:  # noqa: PTH123
                found.update(file.read().split())
        except OSError:
            continue
    return found


def _entries(folder: str) -> list[str]:
    """The names in a folder of a system that shows its processes as files, and nothing on any other."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []
