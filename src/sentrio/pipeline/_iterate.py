"""The results of a run, as they come."""

from __future__ import annotations

__all__ = ("SiteResults",)

import math
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from sentrio.async_core.background import BackgroundTask
from sentrio.pipeline._run import Run
from sentrio.pipeline.config import PipelineConfig
from sentrio.pipeline.result import SiteResult

# Beyond the grace of a command: to kill, to take the last output, to write the last line of the job log.
_CLOSE_SECONDS = 35.0


class SiteResults:
    """The results of a run, as they come; what :meth:`AsyncPipelineExecutor.iter_results` returns.

    Iterate over it; the run begins with the first result that is asked for. Leaving the loop early ends the
    run in the background; with ``async with`` it has ended, and its commands with it, when the block is left.
    """

    def __init__(self, config: PipelineConfig, sites: list[str]) -> None:
        self._config = config
        self._sites = sites
        self._task: BackgroundTask[None] | None = None
        self._receive: MemoryObjectReceiveStream[SiteResult] | None = None
        self._closed = False

    def __aiter__(self) -> AsyncIterator[SiteResult]:
        return self

    async def __anext__(self) -> SiteResult:
        if self._closed:
            raise StopAsyncIteration
        if self._task is None:
            send, self._receive = anyio.create_memory_object_stream[SiteResult](math.inf)
            self._task = BackgroundTask.start_soon(_send_results, self._config, self._sites, send)
        assert self._receive is not None
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            self._closed = True
            self._receive.close()
            await self._task.wait()  # raises what has gone wrong with the run as a whole
            raise StopAsyncIteration from None
        except BaseException:
            await self._stop()
            raise

    async def aclose(self) -> None:
        """End the run, and wait until its commands have ended. Closing again does nothing."""
        if not self._closed:
            await self._stop()

    async def _stop(self) -> None:
        self._closed = True
        if self._receive is not None:
            self._receive.close()
        if self._task is None:
            return
        self._task.cancel()
        deadline = anyio.current_time() + self._config.kill_grace_seconds + _CLOSE_SECONDS
        pierced: BaseException | None = None
        while not self._task.done and anyio.current_time() < deadline:
            with anyio.CancelScope(deadline=deadline, shield=True) as patience:
                try:
                    await self._task.wait()
                except anyio.TaskCancelled:
                    pass  # as it was asked to
                except anyio.get_cancelled_exc_class() as exc:
                    if patience.cancel_called:
                        raise
                    pierced = exc  # a native cancellation, which knows nothing of shields
        if pierced is not None:
            raise pierced

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


async def _send_results(config: PipelineConfig, sites: list[str], send: MemoryObjectSendStream[SiteResult]) -> None:
    with send:
        await Run(config, sites, partial(_send, send))()


def _send(send: MemoryObjectSendStream[SiteResult], result: SiteResult) -> None:
    """Send a result, unless nobody takes any more: what runs is being cancelled then."""
    with suppress(anyio.BrokenResourceError):
        send.send_nowait(result)
