"""Blocking work that holds something open, done step by step in worker threads."""

from __future__ import annotations

__all__ = ("GRACE_SECONDS", "STEP_BYTES", "acquire", "check_encoding", "clean_up")

import codecs
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import anyio

from sentrio.async_core.threads import call_sync

T = TypeVar("T")

# A cancelled caller waits this long for a file system that does not answer, and then leaves the call behind.
GRACE_SECONDS = 5.0

# What one step reads or writes at most: some milliseconds on a disk, and long against a trip to a thread.
STEP_BYTES = 8 * 1024 * 1024


async def acquire(func: Callable[..., T], *args: Any, release: Callable[[T], object]) -> T:
    """Run ``func(*args)`` in a thread; if the caller is cancelled, what it returned is released.

    That holds as well for a call that was left behind and returns later.
    """
    answer: Future[T] = Future()

    def run() -> None:
        answer.set_result(func(*args))

    run.__qualname__ = getattr(func, "__qualname__", repr(func))  # what the log calls it if it is left behind
    try:
        await call_sync(run, abandon_after=GRACE_SECONDS)
    except BaseException:
        answer.add_done_callback(lambda done: release(done.result()))
        raise
    return answer.result()


async def clean_up(func: Callable[[], object], *, seconds: float = GRACE_SECONDS) -> None:
    """Run a short ``func`` in a thread although the caller is cancelled, and in any case run it.

    :param seconds: wait for it so long, and then leave it behind
    """
    started = False

    def run() -> None:
        nonlocal started
        started = True
        func()

    run.__qualname__ = getattr(func, "__qualname__", repr(func))
    try:
        with anyio.move_on_after(seconds, shield=True):
            await call_sync(run, abandon_after=seconds)
    finally:
        # No thread was free in time, or a native cancellation came before one took the call.
        if not started:
            func()


def check_encoding(encoding: str) -> None:
    """Refuse an encoding that Python does not know, or that is none for text.

    :raises ValueError: with the name and what is allowed
    """
    try:
        "".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except LookupError:
        message = f"encoding must be a text encoding that Python knows, such as 'utf-8', got {encoding!r}"
        raise ValueError(message) from None
