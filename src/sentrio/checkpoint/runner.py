"""Checkpoints that run on triggers and on demand, within one limit."""

from __future__ import annotations

__all__ = ("AsyncCheckpointRunner", "AsyncRunnerConfig", "RunnerStatistics", "run_checkpoint_async")

import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskStatus

from sentrio.async_core._checks import check_count, check_number
from sentrio.async_core.background import BackgroundTask, default_backend
from sentrio.checkpoint.buffer import ResultBuffer, ResultIterator
from sentrio.checkpoint.checkpoint import Checkpoint, loop_is_running
from sentrio.checkpoint.engine import Engine
from sentrio.checkpoint.execution import run_each
from sentrio.checkpoint.registry import resolve
from sentrio.checkpoint.result import CheckpointResult
from sentrio.checkpoint.runner_config import AsyncRunnerConfig, RunnerStatistics
from sentrio.errors import OptionValueError, RunningLoopError


class AsyncCheckpointRunner:
    """Runs checkpoints when their triggers are due, and whenever it is asked to.

    ::

        runner = AsyncCheckpointRunner(max_concurrent_checkpoints=4)
        runner.add_checkpoint(orders).add_checkpoint(customers)
        async with runner:
            async for result in runner.iter_results_async():
                print(result.summary())

    The block watches the triggers, and ends gracefully. ``await tg.start(runner.serve)`` does the same in a task
    group of one's own, ``await start_async()`` with ``await stop_async()`` where there is no block to hold it, and
    ``run()`` where there is no event loop. A stopped runner may be started again, also in another event loop.

    Stopping, the triggers end first; then running checkpoints get ``graceful_shutdown_timeout`` seconds, after
    which they are cancelled and have results with status ``cancelled``, with what they saw.

    :param config: the options as an object
    :param result_callback: called with each result, sync or async; what it raises is logged and counted
    :param error_callback: called with what a trigger or a run raises, and when the runner stops itself
    :param config_options: the options of :class:`AsyncRunnerConfig`, if there is no ``config``
    :raises sentrio.errors.UnknownOptionError: for an option that nobody knows
    :raises sentrio.errors.OptionValueError: for a bad value, or for a config and options
    """

    def __init__(
        self,
        config: AsyncRunnerConfig | None = None,
        result_callback: Callable[[CheckpointResult], Any] | None = None,
        error_callback: Callable[[Exception], Any] | None = None,
        **config_options: Any,
    ) -> None:
        self._engine = Engine(_config(config, config_options), result_callback, error_callback)
        self._host: BackgroundTask[None] | None = None
        self._block: AbstractAsyncContextManager[None] | None = None  # while it is used in `async with`

    @property
    def config(self) -> AsyncRunnerConfig:
        """The options."""
        return self._engine.config

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that were added, in that order."""
        return self._engine.checkpoints

    @property
    def _result_queue(self) -> ResultBuffer:
        return self._engine.buffer

    def __repr__(self) -> str:
        state = "running" if self._engine.is_serving else "stopped"
        return f"<AsyncCheckpointRunner {state}, {len(self.checkpoints)} checkpoints>"

    def add_checkpoint(self, checkpoint: Checkpoint) -> Self:
        """Add a checkpoint, also while the runner runs; return the runner.

        The triggers that it has by now are watched.

        :raises OptionValueError: if another one has its name
        :raises TypeError: if it is no checkpoint
        """
        self._engine.add(checkpoint)
        return self

    def remove_checkpoint(self, name: str) -> Checkpoint:
        """Forget a checkpoint and its triggers, and return it. A run of it that goes on goes on.

        :raises UnknownCheckpointError: if there is none of this name
        """
        return self._engine.remove(name)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch triggers and run checkpoints until :meth:`stop_async` is called, as a task of the caller's.

        ``await tg.start(runner.serve)`` returns once the triggers are watched. Cancelling the task cancels
        everything at once; :meth:`stop_async` ends it gracefully.

        :raises RunnerClosedError: if the runner runs already
        """
        await self._engine.serve(task_status=task_status)

    async def __aenter__(self) -> Self:
        block = self._served()
        await block.__aenter__()
        self._block = block
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        block, self._block = self._block, None
        assert block is not None
        await block.__aexit__(exc_type, exc, tb)

    @asynccontextmanager
    async def _served(self) -> AsyncGenerator[None]:
        failure: BaseException | None = None
        async with anyio.create_task_group() as tg:
            # What is raised in the group is raised again below, outside of it, as it is.
            try:
                await tg.start(self._engine.serve)
            except Exception as exc:  # noqa: BLE001
                failure = exc
            else:
                try:
                    yield
                except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001
                    failure = exc
                self._engine.request_stop(None if failure is None else 0)
        if failure is not None:
            raise failure

    async def start_async(self) -> None:
        """Start to watch triggers and to run checkpoints, and return.

        :meth:`stop_async` ends it, also from another task; so do the end of the event loop and the runner's
        garbage collection.

        :raises RunnerClosedError: if the runner runs already
        """
        host = await BackgroundTask.start(self._engine.serve, name="sentrio: checkpoint runner")
        self._host = host

    async def stop_async(self, wait: bool = True) -> None:
        """Stop gracefully. Does nothing if the runner does not run.

        If the caller is cancelled while it waits, what :meth:`start_async` started is cancelled at once; a runner
        that serves in somebody's task group goes on ending there.

        :param wait: return only when everything has ended
        :raises RuntimeError: with ``wait``, from inside a run or callback of this runner, which it would wait for;
            in another event loop than the one in which the runner runs
        :raises Exception: what has ended the runner early, if that was not a stop
        """
        if wait:
            self._engine.execution.refuse_inside("stop_async()")
        if self._engine.is_serving:
            self._engine.execution.refuse_elsewhere()
        host = self._host
        self._engine.request_stop()
        if not wait:
            await anyio.lowlevel.checkpoint()
            return
        if host is None:  # it runs in a task of somebody's, or not at all
            await anyio.lowlevel.checkpoint()
            if self._engine.ended is not None:
                await self._engine.ended.wait()
            return
        try:
            await host.wait()
        except anyio.TaskCancelled:
            pass  # its event loop's end, or somebody's garbage collection, was faster
        finally:
            await host.aclose()
            self._host = None

    def run(self) -> None:
        """Watch triggers and run checkpoints until SIGINT or SIGTERM, and then stop gracefully.

        A second signal cancels what runs. It uses asyncio, or trio if ``SENTRIO_BACKEND`` is ``trio``. In another
        thread than the main one it sees no signals, and ends only when the runner stops itself.

        :raises RunningLoopError: if an event loop runs in this thread; use :meth:`serve` there
        :raises RunnerClosedError: if the runner runs already, in another thread
        """
        if loop_is_running():
            raise RunningLoopError("AsyncCheckpointRunner.run()", "runner.serve()")
        anyio.run(self._serve_until_signalled, backend=default_backend())

    async def _serve_until_signalled(self) -> None:
        failure: Exception | None = None
        async with anyio.create_task_group() as tg:
            tg.start_soon(self._obey_signals, name="sentrio: signals")
            try:
                await self._engine.serve()
            except Exception as exc:  # noqa: BLE001  # raised below, outside of the group, as it is
                failure = exc
            tg.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _obey_signals(self) -> None:
        try:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    again = self._engine.is_stopping
                    self._engine.request_stop(0 if again else None)
        except (RuntimeError, ValueError, NotImplementedError):
            return  # signals reach the main thread alone

    async def run_once_async(
        self, checkpoint: Checkpoint | str, context: Mapping[str, Any] | None = None
    ) -> CheckpointResult:
        """Run a checkpoint in the caller's task, whether or not the runner was started, and return its result.

        Cancelling the caller cancels the run. The result also goes to callbacks and readers.

        :param checkpoint: a checkpoint, or the name of one that was added
        :param context: merged over its ``metadata`` into the result
        :raises UnknownCheckpointError: for a name that was not added
        :raises RunnerClosedError: while the runner stops
        """
        return await self._engine.run(self._engine.find(checkpoint), context)

    async def run_all_async(self, context: Mapping[str, Any] | None = None) -> list[CheckpointResult]:
        """Run all checkpoints that were added, and return their results in that order.

        :param context: merged over each one's ``metadata`` into its result
        :raises RunnerClosedError: while the runner stops
        """

        async def run(checkpoint: Checkpoint) -> CheckpointResult:
            return await self._engine.run(checkpoint, context)

        self._engine.take_work()
        return await run_each(run, self.checkpoints, self.config.max_concurrent_checkpoints)

    def iter_results_async(self, timeout: float | None = None) -> ResultIterator:
        """Return an iterator over results as they come; several of them share the results.

        It ends when the runner has stopped and everything was read. While somebody reads, a full buffer holds
        triggered runs back; while nobody does, the newest results are kept. In another
        event loop than the one in which the runner runs, iterating raises ``RuntimeError``.

        :param timeout: end also when nothing came for so many seconds; ``None``: wait
        :raises ValueError: if ``timeout`` is negative or NaN
        """
        check_number("timeout", timeout, minimum=0, finite=False, unit=" seconds", or_none=True)
        return ResultIterator(self._engine.buffer, timeout)

    async def get_results_async(self, max_results: int = 100, timeout: float = 0) -> list[CheckpointResult]:
        """Return results that nobody has read, and wait for a first one if there are none.

        :param max_results: at most so many
        :param timeout: seconds to wait for a first one
        """
        check_count("max_results", max_results)
        check_number("timeout", timeout, minimum=0, finite=False, unit=" seconds")
        buffer = self._engine.buffer
        first = await buffer.get(timeout)
        results = [] if first is None else [first]
        while results and buffer.qsize() and len(results) < max_results:
            results.append(buffer.take())
        return results

    def statistics(self) -> RunnerStatistics:
        """Return what the runner is doing right now."""
        return self._engine.statistics()

    def get_stats(self) -> dict[str, Any]:
        """Return :meth:`statistics` as a dictionary."""
        return attrs.asdict(self.statistics())


def _config(config: object, given: Mapping[str, Any]) -> AsyncRunnerConfig:
    if config is None:
        return AsyncRunnerConfig(**given)
    problem = ""
    if not isinstance(config, AsyncRunnerConfig):
        problem = f"config must be an AsyncRunnerConfig, got {config!r}"
    elif given:
        problem = f"give a config or options, not both: got {', '.join(given)}"
    else:
        return config
    raise OptionValueError("AsyncCheckpointRunner", "config", problem)


async def run_checkpoint_async(
    checkpoint: Checkpoint | str, context: Mapping[str, Any] | None = None
) -> CheckpointResult:
    """Run one checkpoint and return its result.

    :param checkpoint: a checkpoint, or the name of a registered one
    :param context: merged over its ``metadata`` into the result
    :raises UnknownCheckpointError: for a name that nobody registered
    """
    return await resolve(checkpoint).run_async(context)
