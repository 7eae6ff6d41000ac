"""What a runner does: it watches triggers, runs checkpoints, and stops gracefully."""

from __future__ import annotations

__all__ = ("Engine",)

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from anyio import CapacityLimiter
from anyio.abc import TaskGroup, TaskStatus

from sentrio.async_core._checks import require_callback
from sentrio.async_core.background import cancelled_from_outside, native_cancellation
from sentrio.async_core.scheduler import cancel_all
from sentrio.async_core.threads import loop_poster, thread_statistics
from sentrio.checkpoint.buffer import ResultBuffer
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.execution import Callback, Execution, call_back
from sentrio.checkpoint.registry import require_checkpoint
from sentrio.checkpoint.result import CheckpointResult, CheckpointStatus
from sentrio.checkpoint.run import broken_result
from sentrio.checkpoint.runner_config import AsyncRunnerConfig, RunnerStatistics
from sentrio.checkpoint.triggers import TriggerResult
from sentrio.checkpoint.watched import WatchedCheckpoint, WatchedTrigger, own_error
from sentrio.errors import ClosedError, OptionValueError, RunnerClosedError, UnknownCheckpointError

logger = logging.getLogger("sentrio.checkpoint.runner")

# A trigger that raises is asked again after this long, and then after twice as long each time.
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0

# How long a stop waits for an error callback, when everything else has ended.
_CALLBACK_SECONDS = 5.0


class Engine:
    """The machinery of one runner. It refers to no runner, so that a forgotten one can be collected."""

    def __init__(
        self, config: AsyncRunnerConfig, result_callback: Callback | None, error_callback: Callback | None
    ) -> None:
        require_callback("AsyncCheckpointRunner", "result_callback", result_callback)
        require_callback("AsyncCheckpointRunner", "error_callback", error_callback)
        self.config = config
        self._result_callback = result_callback
        self._error_callback = error_callback
        self.buffer = ResultBuffer(config.result_queue_size)
        self.execution = Execution(
            config.max_concurrent_checkpoints, "checkpoint runner", RunnerClosedError, keep_interrupted=True
        )
        self._entries: dict[str, WatchedCheckpoint] = {}
        self._runs: TaskGroup | None = None  # while the runner serves
        self._stop_requested = False
        self._change: anyio.Event  # of the checkpoints, or of that flag
        self.ended: anyio.Event | None = None  #: set when the runner has ended; ``None``: it was never started
        self._post: Callable[..., object] | None = None
        self._loop_ends: Callable[[], bool] = lambda: False
        self._grace = 0.0
        self._patience: anyio.CancelScope | None = None  # while running checkpoints are waited for
        self._waiting_for_room = 0
        self._consecutive_failures = self._callback_errors = self._trigger_errors = self._missed_firings = 0
        self._stop_reason: str | None = None

    @property
    def is_serving(self) -> bool:
        """Whether the runner was started and has not ended."""
        return self.ended is not None and not self.ended.is_set()

    @property
    def is_stopping(self) -> bool:
        """Whether the runner was asked to end, and has not yet."""
        return self.is_serving and self._stop_requested

    # Checkpoints

    def add(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint; its triggers are watched at once if the runner serves."""
        require_checkpoint(checkpoint)
        if checkpoint.name in self._entries:
            problem = f"a checkpoint named {checkpoint.name!r} was added already; give each one a name of its own"
            raise OptionValueError("AsyncCheckpointRunner", "checkpoint", problem)
        self._entries[checkpoint.name] = WatchedCheckpoint(checkpoint)
        self._tell_of_change()

    def remove(self, name: str) -> Checkpoint:
        """Forget a checkpoint and its triggers; what runs runs on."""
        checkpoint = self.find(name)
        del self._entries[checkpoint.name]
        self._tell_of_change()
        return checkpoint

    def _tell_of_change(self) -> None:
        if self._post is not None:
            self._post(self._change.set)  # this may be any thread

    def find(self, checkpoint: Checkpoint | str) -> Checkpoint:
        """Return a checkpoint itself, or the added one of this name."""
        if not isinstance(checkpoint, str):
            return require_checkpoint(checkpoint)
        if checkpoint not in self._entries:
            raise UnknownCheckpointError(checkpoint, tuple(self._entries))
        return self._entries[checkpoint].checkpoint

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that were added, in that order."""
        return [entry.checkpoint for entry in self._entries.values()]

    # Serving

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch triggers and run checkpoints until a stop is requested; then end gracefully."""
        if self.is_serving:
            raise RunnerClosedError("checkpoint runner", "is running already; stop it before it is started again")
        self._begin()
        ended = self.ended = anyio.Event()
        error: BaseException | None = None
        try:
            async with self.execution.connections, anyio.create_task_group() as runs:
                self._runs = runs
                async with anyio.create_task_group() as watches:
                    await self._watch_all(watches, task_status)
                    watches.cancel_scope.cancel()
                await self._end_gracefully()
                # What is left is a callback at most.
                runs.cancel_scope.deadline = anyio.current_time() + _CALLBACK_SECONDS
        except BaseException as exc:
            error = exc
            raise
        finally:
            self._runs = self._post = None
            self._loop_ends = lambda: False  # it refers to this task
            self.execution.slots.close(cancel=False)
            is_cancellation = isinstance(error, anyio.get_cancelled_exc_class())
            self.buffer.end(None if is_cancellation else error)
            ended.set()

    def _is_cancelled(self) -> bool:
        """Tell whether a task of the runner is being cancelled with it, as when the event loop ends, or by a stop."""
        return cancelled_from_outside() or self._loop_ends()

    def _begin(self) -> None:
        self._loop_ends = native_cancellation()
        self._post = loop_poster()
        self.execution.open()
        self.buffer.open()
        self._change = anyio.Event()
        self._stop_requested = False
        self._grace = self.config.graceful_shutdown_timeout
        self._stop_reason = None
        self._consecutive_failures = 0

    def request_stop(self, grace: float | None = None) -> None:
        """Ask the runner to end; call it in its event loop.

        :param grace: seconds for what runs; ``None``: as configured
        """
        if not self.is_serving:
            return
        self._stop_requested = True
        self._change.set()
        if grace is not None:
            self._grace = grace
            if self._patience is not None:
                self._patience.deadline = min(self._patience.deadline, anyio.current_time() + grace)

    async def _end_gracefully(self) -> None:
        slots = self.execution.slots
        self.buffer.let_all_in()
        slots.close(cancel=False)
        with anyio.move_on_after(self._grace) as self._patience:
            await slots.emptied()
        self._patience = None
        if not slots.is_empty:
            logger.warning(
                "%d runs have not ended %g s after the stop, and are cancelled", slots.running, self._grace
            )
            await cancel_all(slots)

    async def _watch_all(self, watches: TaskGroup, task_status: TaskStatus[None]) -> None:
        """Watch the triggers of all checkpoints, those that come and go included, until a stop is requested."""
        watched: list[WatchedCheckpoint] = []
        begun = False
        try:
            while not self._stop_requested:
                self._change = anyio.Event()
                current = list(self._entries.values())
                for entry in set(watched).difference(current):
                    self._end(entry)
                for entry in set(current).difference(watched):
                    entry.begin(self.config.trigger_poll_interval)
                    watches.start_soon(self._watch, entry, name=f"sentrio: triggers of {entry.checkpoint.name}")
                watched = current
                if not begun:
                    task_status.started()
                    begun = True
                await self._change.wait()
        finally:
            for entry in watched:
                self._end(entry)

    def _end(self, entry: WatchedCheckpoint) -> None:
        self._trigger_errors += entry.end()

    async def _watch(self, entry: WatchedCheckpoint) -> None:
        assert entry.scope is not None
        with entry.scope:
            async with anyio.create_task_group() as tg:
                for trigger in entry.triggers:
                    tg.start_soon(self._start_runs, entry.checkpoint, trigger, name=f"sentrio: {trigger}")

    async def _start_runs(self, checkpoint: Checkpoint, trigger: WatchedTrigger) -> None:
        """Start a run whenever the trigger is due, and no more at once than it allows."""
        slots = CapacityLimiter(trigger.trigger.config.max_concurrent)
        failures = 0
        while True:
            borrower = object()
            await slots.acquire_on_behalf_of(borrower)
            try:
                due = await trigger.wait()
            except BaseException as exc:  # noqa: BLE001  # told, and asked again later
                slots.release_on_behalf_of(borrower)
                failures += 1
                await self._trigger_failed(trigger, own_error(exc, self._is_cancelled), failures)
                continue
            failures = 0
            if not due.should_run:
                logger.info("%s has ended: %s", trigger, due.reason)
                self._trigger_errors += not trigger.close()
                return
            self._missed_firings += due.missed  # the watch has logged them
            assert self._runs is not None
            name = f"sentrio: run of {checkpoint.name}"
            self._runs.start_soon(self._run_triggered, checkpoint, due, slots, borrower, name=name)

    async def _trigger_failed(self, trigger: WatchedTrigger, exc: Exception, failures: int) -> None:
        delay = min(_FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 10), _LONGEST_BACKOFF_SECONDS)
        self._trigger_errors += 1
        logger.error("%s raised; it is asked again in %g s", trigger, delay, exc_info=exc)
        await self._tell_error(exc)
        await anyio.sleep(delay)

    async def _run_triggered(
        self, checkpoint: Checkpoint, due: TriggerResult, slots: CapacityLimiter, borrower: object
    ) -> None:
        execution = self.execution.slots
        try:
            execution.begin_call()  # a stop waits for this firing, too
        except RunnerClosedError:  # the stop was faster
            slots.release_on_behalf_of(borrower)
            return
        try:
            self._waiting_for_room += 1
            try:
                await self.buffer.reserve()
            finally:
                self._waiting_for_room -= 1
            kept = True

            async def hand_out(result: CheckpointResult) -> None:
                nonlocal kept
                kept = False
                self.buffer.give_back()
                await self._on_result(result)

            try:
                await self.execution.run(checkpoint, due.context, hand_out, in_call=True)
            except RunnerClosedError:
                logger.info("the runner was stopped before a run of %s had begun", checkpoint.name)
            except BaseException as exc:  # noqa: BLE001
                # Nothing that data or sources do: those are results. It must not pass in silence.
                await self._run_failed(checkpoint, due, own_error(exc, self._is_cancelled), hand_out)
            finally:
                if kept:
                    self.buffer.give_back()
        finally:
            execution.end_call()
            slots.release_on_behalf_of(borrower)

    async def _run_failed(
        self,
        checkpoint: Checkpoint,
        due: TriggerResult,
        exc: Exception,
        on_result: Callable[[CheckpointResult], Awaitable[None]],
    ) -> None:
        logger.error("checkpoint %s raised", checkpoint.name, exc_info=exc)
        await self.execution.hand_out(broken_result(checkpoint, due.context, exc), on_result)
        await self._tell_error(exc)

    # Runs that somebody waits for

    async def run(self, checkpoint: Checkpoint, context: Mapping[str, Any] | None) -> CheckpointResult:
        """Run a checkpoint in the caller's task."""
        self.take_work()
        result = await self.execution.run(checkpoint, context, self._on_result)
        if result is None:
            raise RunnerClosedError("checkpoint runner", f"was stopped before {checkpoint.name} had begun")
        return result

    def take_work(self) -> None:
        """See to it that runs can begin, whether or not the runner was started."""
        if not self.is_serving and not self.execution.busy:
            self.execution.open()

    async def _on_result(self, result: CheckpointResult) -> None:
        self._count(result)
        self.buffer.put(result)
        if self._result_callback is not None:
            well = await call_back(self._result_callback, result, "result_callback of a runner")
            self._callback_errors += not well

    def _count(self, result: CheckpointResult) -> None:
        if result.status is not CheckpointStatus.ERROR:
            self._consecutive_failures = 0
            return
        self._consecutive_failures += 1
        most = self.config.max_consecutive_failures or math.inf
        if self.config.stop_on_error:
            self._stop_itself(f"stop_on_error: {result.summary()}")
        elif self._consecutive_failures >= most:
            self._stop_itself(f"{most} results in a row were errors; the last one: {result.summary()}")

    def _stop_itself(self, reason: str) -> None:
        if not self.is_serving or self._stop_requested:
            return
        self._stop_reason = reason
        logger.error("the runner stops itself: %s", reason)
        if self._runs is not None:
            error = ClosedError("checkpoint runner", f"stops itself: {reason}")
            self._runs.start_soon(self._tell_error, error, name="sentrio: error callback")
        self.request_stop()

    async def _tell_error(self, exc: Exception) -> None:
        if self._error_callback is not None:
            self._callback_errors += not await call_back(self._error_callback, exc, "error_callback of a runner")

    def statistics(self) -> RunnerStatistics:
        """Return what the runner is doing right now."""
        slots = self.execution.slots
        return RunnerStatistics(
            running=self.is_serving,
            checkpoints=len(self._entries),
            pending_tasks=slots.running + slots.waiting + self._waiting_for_room,
            queued_results=self.buffer.qsize(),
            dropped_results=self.buffer.dropped,
            completed_runs=self.execution.completed_runs,
            failed_runs=self.execution.failed_runs,
            consecutive_failures=self._consecutive_failures,
            callback_errors=self._callback_errors,
            trigger_errors=self._trigger_errors,
            missed_firings=self._missed_firings,
            abandoned_threads=thread_statistics().abandoned,
            stop_reason=self._stop_reason,
        )
