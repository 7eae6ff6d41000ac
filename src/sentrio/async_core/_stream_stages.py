"""The stages of a stream that need no task: each is a call for every item."""

from __future__ import annotations

__all__ = ("batches", "filtering", "mapping", "skipping", "taking", "windows")

from collections.abc import Callable
from typing import Any

from sentrio.async_core._stream_engine import SKIP, Link, Op, Stage


def mapping(func: Callable[[Any], Any]) -> Stage:
    """Make a stage that replaces every item by ``func(item)``, awaited if that is a coroutine."""
    return lambda link, index: Op(False, func)


def filtering(predicate: Callable[[Any], Any]) -> Stage:
    """Make a stage that keeps the items for which ``predicate(item)``, awaited if needed, is true."""
    return lambda link, index: Op(True, predicate)


def batches(size: int) -> Stage:
    """Make a stage that gathers ``size`` items at a time; the last batch may be smaller."""

    def begin(link: Link, index: int) -> Op:
        batch: list[Any] = []

        def add(item: Any) -> Any:
            batch.append(item)
            return SKIP if len(batch) < size else whole()

        def whole() -> Any:
            nonlocal batch
            found, batch = batch, []
            return found or SKIP

        return Op(None, add, whole)

    return begin


def windows(size: int, step: int) -> Stage:
    """Make a stage of whole windows of ``size`` items, each ``step`` items after the one before."""

    def begin(link: Link, index: int) -> Op:
        window: list[Any] = []
        gap = 0  # items that belong to no window

        def add(item: Any) -> Any:
            nonlocal gap
            if gap:
                gap -= 1
                return SKIP
            window.append(item)
            if len(window) < size:
                return SKIP
            whole = window.copy()
            del window[:step]
            gap = max(step - size, 0)
            return whole

        return Op(None, add)

    return begin


def taking(count: int) -> Stage:
    """Make a stage that ends after ``count`` items, without asking for another one."""

    def begin(link: Link, index: int) -> Op:
        left = count

        def take(item: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                link.finish(index)
            return item

        if not count:
            link.finish(index)
        return Op(None, take)

    return begin


def skipping(count: int) -> Stage:
    """Make a stage that leaves out the first ``count`` items."""

    def begin(link: Link, index: int) -> Op:
        left = count

        def skip(item: Any) -> Any:
            nonlocal left
            if not left:
                return item
            left -= 1
            return SKIP

        return Op(None, skip)

    return begin
