"""The one-liner: check some data, without a checkpoint of one's own."""

from __future__ import annotations

__all__ = ("check", "check_async")

import sys
from collections.abc import Sequence
from concurrent.futures import wait
from typing import Any

from anyio.from_thread import start_blocking_portal

from sentrio.async_core.background import default_backend
from sentrio.checkpoint.checkpoint import Checkpoint, loop_is_running, plain_interruption
from sentrio.checkpoint.result import CheckpointResult
from sentrio.errors import OptionValueError, RunningLoopError

# After an interruption the running morsel ends within this time, and the portal with it.
_INTERRUPTED_SECONDS = 2.0


async def check_async(data: Any, validators: Sequence[Any], **checkpoint_options: Any) -> CheckpointResult:
    """Check data and return the result; see :class:`sentrio.Checkpoint` for what can be given.

    :param data: a path, a mapping with ``path`` and options of the source, or a frame
    :param validators: names, mappings of one name to its options, or validator objects
    :param checkpoint_options: any option of a checkpoint; ``name`` is ``"check"`` unless given
    """
    return await Checkpoint(**_options(data, validators, checkpoint_options)).run_async()


def check(data: Any, validators: Sequence[Any], **checkpoint_options: Any) -> CheckpointResult:
    """Check data, wait, and return the result; see :func:`check_async`.

    In a notebook, where an event loop runs in this very thread, the work runs in a loop of its own in another
    thread; interrupting the kernel cancels it.

    :raises RunningLoopError: if any other event loop runs in this thread; use :func:`check_async` there
    """
    checkpoint = Checkpoint(**_options(data, validators, checkpoint_options))
    if not loop_is_running():
        return checkpoint.run()
    if not _in_notebook():
        raise RunningLoopError("sentrio.check()", "sentrio.check_async()")
    with plain_interruption(), start_blocking_portal(default_backend()) as portal:
        future = portal.start_task_soon(checkpoint.run_async)
        try:
            result: CheckpointResult = future.result()
        except BaseException:
            future.cancel()
            wait([future], timeout=_INTERRUPTED_SECONDS)
            raise
        return result


def _options(data: Any, validators: Sequence[Any], given: dict[str, Any]) -> dict[str, Any]:
    if "data_source" in given:
        raise OptionValueError("check", "data_source", "the data are the first argument, and data_source is another")
    return {"name": "check", **given, "data_source": data, "validators": validators}


def _in_notebook() -> bool:
    """Tell whether IPython runs the event loop of this thread."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
