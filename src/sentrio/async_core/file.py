"""Files without blocking the event loop, and without ever leaving half a file behind."""

from __future__ import annotations

__all__ = ("write_atomically",)

from sentrio.async_core._atomic import write_atomically
