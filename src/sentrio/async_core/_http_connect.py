"""How connections are made: httpcore's own way, but one that is cancelled in its TLS handshake is closed.

httpcore closes a connection whose handshake fails, and forgets one whose handshake is cancelled (by a timeout
of ours, say): its socket would stay open until the garbage collector finds it.
"""

from __future__ import annotations

__all__ = ("close_cancelled_handshakes",)

from typing import Any

import anyio
import httpcore
import httpx

_CLEANUP_SECONDS = 2.0


def close_cancelled_handshakes(client: httpx.AsyncClient) -> None:
    """Have every transport of ``client`` make its connections so.

    httpx offers no way to choose how its pools connect, so this reaches for what httpcore would have been
    given; a transport that is not httpx's own is left alone.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if isinstance(backend, httpcore.AsyncNetworkBackend) and not isinstance(backend, _Backend):
            pool._network_backend = _Backend(backend)


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.connect_tcp(*args, **options))

    async def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.connect_unix_socket(*args, **options))

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        # Not methods that call methods: these are called for every piece that travels.
        self.read = inner.read  # type: ignore[method-assign]
        self.write = inner.write  # type: ignore[method-assign]
        self.aclose = inner.aclose  # type: ignore[method-assign]
        self.get_extra_info = inner.get_extra_info  # type: ignore[method-assign]

    async def start_tls(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._inner.start_tls(*args, **options))
        except BaseException:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLEANUP_SECONDS):
                await self._inner.aclose()
            raise
