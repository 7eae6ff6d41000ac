"""The stages of a stream that need no task: each is a generator that passes :data:`PAUSE` on."""

from __future__ import annotations

__all__ = ("batches", "filtering", "mapping", "skipping", "taking", "windows")

from collections.abc import Callable, Generator
from types import CoroutineType
from typing import Any

from sentrio.async_core._stream_engine import PAUSE, Chain, Link, Stage

Steps = Generator[Any, None, None]


def _refuse_early_end(link: Link) -> None:
    if link.stopped:
        raise RuntimeError("a function of a stream raised StopAsyncIteration")


def mapping(func: Callable[[Any], Any]) -> Stage:
    """Make a stage that replaces every item by ``func(item)``, awaited if that is a coroutine."""

    def stage(chain: Chain, link: Link) -> Steps:
        for item in chain:
            if item is PAUSE:
                yield PAUSE
                continue
            result = func(item)
            if result.__class__ is CoroutineType:
                link.request = result
                yield PAUSE
                _refuse_early_end(link)
                result = link.answer
            yield result

    return stage


def filtering(predicate: Callable[[Any], Any]) -> Stage:
    """Make a stage that keeps the items for which ``predicate(item)``, awaited if needed, is true."""

    def stage(chain: Chain, link: Link) -> Steps:
        for item in chain:
            if item is PAUSE:
                yield PAUSE
                continue
            verdict = predicate(item)
            if verdict.__class__ is CoroutineType:
                link.request = verdict
                yield PAUSE
                _refuse_early_end(link)
                verdict = link.answer
            if verdict:
                yield item

    return stage


def batches(size: int) -> Stage:
    """Make a stage that gathers ``size`` items at a time; the last batch may be smaller."""

    def stage(chain: Chain, link: Link) -> Steps:
        batch: list[Any] = []
        for item in chain:
            if item is PAUSE:
                yield PAUSE
                continue
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    return stage


def windows(size: int, step: int) -> Stage:
    """Make a stage of whole windows of ``size`` items, each ``step`` items after the one before."""

    def stage(chain: Chain, link: Link) -> Steps:
        window: list[Any] = []
        gap = 0  # items that belong to no window
        for item in chain:
            if item is PAUSE:
                yield PAUSE
            elif gap:
                gap -= 1
            else:
                window.append(item)
                if len(window) == size:
                    yield window.copy()
                    del window[:step]
                    gap = max(step - size, 0)

    return stage


def taking(count: int) -> Stage:
    """Make a stage that ends after ``count`` items, without asking for another one."""

    def stage(chain: Chain, link: Link) -> Steps:
        # Told at once, and with the last item: the source must not be asked for one that nobody wants.
        link.finished = link.finished or not count
        return steps(chain, link)

    def steps(chain: Chain, link: Link) -> Steps:
        left = count
        if not left:
            return
        for item in chain:
            if item is not PAUSE:
                left -= 1
                link.finished = link.finished or not left
            yield item
            if not left:
                return

    return stage


def skipping(count: int) -> Stage:
    """Make a stage that leaves out the first ``count`` items."""

    def stage(chain: Chain, link: Link) -> Steps:
        left = count
        for item in chain:
            if left and item is not PAUSE:
                left -= 1
            else:
                yield item

    return stage
