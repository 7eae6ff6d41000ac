"""Many checkpoints, so many at once."""

from __future__ import annotations

__all__ = ("CheckpointPool", "PoolStatistics", "run_checkpoints_parallel")

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

import anyio.lowlevel
import attrs

from sentrio.async_core._checks import check_count, known_options, require_callback
from sentrio.async_core._stream import Streaming
from sentrio.async_core.scheduler import cancel_all, end_of_block
from sentrio.async_core.threads import thread_statistics
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.execution import Execution, call_back, run_each
from sentrio.checkpoint.registry import resolve, resolve_all
from sentrio.checkpoint.result import CheckpointResult
from sentrio.errors import PoolClosedError


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """What a pool is doing, and has done since it was made."""

    workers: int  #: how many checkpoints may run at once
    running: int  #: checkpoints that run now
    waiting: int  #: checkpoints that wait for a slot
    completed_runs: int  #: runs that gave a result
    failed_runs: int  #: of these, with status ``failure`` or ``error``
    callback_errors: int  #: callbacks that raised
    abandoned_threads: int  #: calls of this process that nobody waits for any more, and that still run


@known_options
class CheckpointPool:
    """Runs checkpoints, at most ``workers`` at once, first come, first served.

    ::

        async with CheckpointPool(workers=10) as pool:
            result = await pool.submit(checkpoint)
            results = await pool.submit_many(checkpoints)

    A checkpoint runs inside the call of ``submit``: cancelling the caller cancels the run. A submit from
    inside a run (from an action, say) uses the slot of that run. Leaving the block waits for what runs;
    leaving it by an error cancels it. A pool may be used again, also in another event loop.

    :param workers: how many checkpoints may run at once
    :param result_callback: called with each result, sync or async, after its slot was given back; what it
        raises is logged and counted
    :raises ValueError: if ``workers`` is no whole number of at least 1
    :raises sentrio.errors.UnknownOptionError: for an option that is not listed here
    """

    def __init__(self, workers: int = 5, result_callback: Callable[[CheckpointResult], Any] | None = None) -> None:
        check_count("workers", workers)
        require_callback("CheckpointPool", "result_callback", result_callback)
        self._callback = result_callback
        self._callback_errors = 0
        self._execution = Execution(workers, "checkpoint pool", PoolClosedError, keep_interrupted=False)

    @property
    def workers(self) -> int:
        """How many checkpoints may run at once."""
        return self._execution.slots.total

    async def start(self) -> None:
        """Take work from now on. Starting again does nothing, or undoes a stop."""
        self._execution.open()
        self._execution.connections.open()
        await anyio.lowlevel.checkpoint()

    async def submit(
        self, checkpoint: Checkpoint | str, context: Mapping[str, Any] | None = None
    ) -> CheckpointResult:
        """Run a checkpoint as soon as there is a slot, and return its result.

        A caller that is cancelled while ``result_callback`` runs gets the result, and the cancellation at its
        next checkpoint.

        :param checkpoint: a checkpoint, or the name of a registered one
        :param context: merged over its ``metadata`` into the result
        :raises PoolClosedError: if the pool was not started or is stopped, or is stopped meanwhile without
            waiting for the run
        :raises UnknownCheckpointError: for a name that nobody registered
        """
        return self._own(await self._execution.run(resolve(checkpoint), context, self._on_result))

    async def submit_many(
        self, checkpoints: Iterable[Checkpoint | str], context: Mapping[str, Any] | None = None
    ) -> list[CheckpointResult]:
        """Run the checkpoints as there are slots, and return their results in the order of ``checkpoints``.

        :raises PoolClosedError: as :meth:`submit` does
        :raises UnknownCheckpointError: for a name that nobody registered; nothing has run then
        :raises TypeError: if ``checkpoints`` is no list of checkpoints or names
        """
        given = resolve_all(checkpoints)
        slots = self._execution.slots
        slots.begin_call()

        async def run(checkpoint: Checkpoint) -> CheckpointResult:
            return self._own(await self._execution.run(checkpoint, context, self._on_result, in_call=True))

        try:
            return await run_each(run, given, slots.total)
        finally:
            slots.end_call()

    def stream(
        self, checkpoints: Iterable[Checkpoint | str], context: Mapping[str, Any] | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """Run the checkpoints as there are slots, and give the results as they complete.

        ::

            async with pool.stream(checkpoints) as results:
                async for result in results:
                    print(result.summary())

        Whoever takes the results slowly holds the runs back. Leaving the block cancels what still runs.

        :raises PoolClosedError: in the block's beginning if the pool does not run; while iterating, if it is
            stopped
        """
        given = resolve_all(checkpoints)

        async def run(checkpoint: Checkpoint) -> CheckpointResult:
            return self._own(await self._execution.run(checkpoint, context, self._on_result))

        return _Stream(self._execution.slots, run, given).open()

    async def stop(self, drain: bool = True) -> None:
        """Take no more work, and end.

        :param drain: wait for what runs and what waits for a slot; otherwise cancel both, and their
            submitters get a :class:`PoolClosedError`
        :raises RuntimeError: from inside a run or a callback of this pool, which it would wait for; in another
            event loop than the one in which it has work
        """
        self._execution.refuse_inside("stop()")
        slots = self._execution.slots
        if not slots.is_empty:
            self._execution.refuse_elsewhere()
        slots.close(cancel=not drain)
        await anyio.lowlevel.checkpoint()
        if drain:
            await slots.emptied()
        else:
            await cancel_all(slots)
        await self._execution.connections.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await end_of_block(self._execution.slots, failed=exc is not None)
        finally:
            await self._execution.connections.aclose()

    def statistics(self) -> PoolStatistics:
        """Return what the pool is doing right now."""
        execution = self._execution
        return PoolStatistics(
            workers=execution.slots.total,
            running=execution.slots.running,
            waiting=execution.slots.waiting,
            completed_runs=execution.completed_runs,
            failed_runs=execution.failed_runs,
            callback_errors=self._callback_errors,
            abandoned_threads=thread_statistics().abandoned,
        )

    def get_stats(self) -> dict[str, Any]:
        """Return :meth:`statistics` as a dictionary."""
        return attrs.asdict(self.statistics())

    async def _on_result(self, result: CheckpointResult) -> None:
        if self._callback is not None:
            self._callback_errors += not await call_back(self._callback, result, "result_callback of a pool")

    def _own(self, result: CheckpointResult | None) -> CheckpointResult:
        """Return a result that belongs to its submitter."""
        if result is None:
            raise PoolClosedError(self._execution.slots.owner, "was stopped before the checkpoint had ended")
        return result


class _Stream(Streaming):
    """Results of a pool as they come; each run takes its slot itself."""

    async def _call(self, item: Any) -> Any:
        return await self._func(item)


async def run_checkpoints_parallel(
    checkpoints: Iterable[Checkpoint | str],
    max_concurrent: int = 5,
    context: Mapping[str, Any] | None = None,
    on_complete: Callable[[CheckpointResult], Any] | None = None,
) -> list[CheckpointResult]:
    """Run checkpoints, some at once, and return their results in the order of ``checkpoints``.

    If a run raises, which bad data or a source that can not be read never do, the others are cancelled.

    :param checkpoints: checkpoints, or names of registered ones
    :param max_concurrent: how many may run at once
    :param context: merged over each one's ``metadata`` into its result
    :param on_complete: called with each result as it comes, sync or async; what it raises is logged
    :raises ValueError: if ``max_concurrent`` is no whole number of at least 1
    :raises UnknownCheckpointError: for a name that nobody registered; nothing has run then
    :raises TypeError: if ``checkpoints`` is no list of checkpoints or names
    """
    check_count("max_concurrent", max_concurrent)
    async with CheckpointPool(max_concurrent, on_complete) as pool:
        return await pool.submit_many(checkpoints, context)
