"""What tests of runs share: checkpoints of a few rows, an action that can be held, and waiting for something."""

from __future__ import annotations

__all__ = ("FRAME", "Gate", "checkpoint")

from typing import Any

import anyio
import polars as pl

from sentrio import Checkpoint, CheckpointResult

FRAME = pl.DataFrame({"a": [1, 2, 3]})

# Nobody waits for so long unless something hangs.
LONG = 60


def checkpoint(name: str = "c", *actions: Any, **given: Any) -> Checkpoint:
    """Return a checkpoint that passes."""
    return Checkpoint(name, FRAME, ["not_null"], actions=list(actions), **given)


class Gate:
    """An action that waits until it is let through, and counts who is inside."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.inside = 0
        self.most = 0
        self.changed = anyio.Event()

    async def __call__(self, result: CheckpointResult) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.changed.set()
        self.changed = anyio.Event()
        try:
            await self.open.wait()
        finally:
            self.inside -= 1

    async def until(self, inside: int) -> None:
        """Wait until so many are inside."""
        with anyio.fail_after(LONG):
            while self.inside < inside:
                await self.changed.wait()
