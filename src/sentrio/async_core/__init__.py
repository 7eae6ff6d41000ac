"""A general async toolkit for trio, asyncio and uvloop. It knows nothing of data."""

from __future__ import annotations

__all__ = (
    "BackgroundHandle",
    "BackgroundTask",
    "async_background",
    "async_run",
)

from sentrio.async_core.background import BackgroundHandle as BackgroundHandle
from sentrio.async_core.background import BackgroundTask as BackgroundTask
from sentrio.async_core.background import async_background as async_background
from sentrio.async_core.background import async_run as async_run
