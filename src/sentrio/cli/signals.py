"""Signals that end a command in order."""

from __future__ import annotations

__all__ = ("CTRL_C", "END", "watch_signals")

import signal
from collections.abc import Callable, Sequence

import anyio

CTRL_C = "SIGINT"
END = ("SIGTERM", "SIGHUP")


async def watch_signals(names: Sequence[str], on_signal: Callable[[int], object]) -> None:
    """Call a function with each signal that comes, until it is cancelled.

    What was ignored before, as after `nohup`, stays ignored.

    :param names: those that this machine does not have are left out
    """
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    heard = [each for each in known if signal.getsignal(each) is not signal.SIG_IGN]
    try:
        with anyio.open_signal_receiver(*heard) as signals:
            async for number in signals:
                on_signal(number)
    except NotImplementedError:
        return  # Windows has no such receiver; Ctrl-C comes as KeyboardInterrupt there
