"""Keep secrets out of what is printed: URLs that show themselves without them, and tame traces.

httpx logs the URL of every request at INFO, and httpcore logs the headers of every response at DEBUG. Both
print objects that a request carries along, so the answer is to carry others: a URL whose text lacks the
secrets, and a trace hook that sees each of httpcore's records before it is written. Nothing is changed for
other clients.
"""

from __future__ import annotations

__all__ = ("PrivateURL", "make_private", "shown")

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

HIDDEN = "[...]"

_HTTPCORE_LOGGERS = tuple(
    logging.getLogger(f"httpcore.{name}") for name in ("connection", "http11", "http2", "proxy", "socks")
)

# Headers of a response that help to understand a trace and carry no secret. Others, cookies and redirects
# above all, may.
_OPEN_HEADERS = frozenset(
    b"accept-ranges age allow cache-control connection content-encoding content-length content-range "
    b"content-type date etag keep-alive last-modified retry-after server transfer-encoding vary".split()
)

Trace = Callable[[str, dict[str, Any]], Awaitable[None]]


def shown(url: httpx.URL, *, hide_path: bool = False) -> str:
    """Return the text of a URL without user, password, values of the query, and fragment.

    :param hide_path: leave the path out too, as for webhooks, where it is the secret
    """
    start = f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}" if url.host else ""
    path, mark, query = url.raw_path.decode("ascii", "replace").partition("?")
    if hide_path:
        return f"{start}/{HIDDEN}"
    if not mark:
        return start + path
    parts = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        # Without an equals sign nobody can tell whether it is a name or a token.
        parts.append(f"{name}={HIDDEN if value else ''}" if equals else HIDDEN if name else "")
    return f"{start}{path}?{'&'.join(parts)}"


class PrivateURL(httpx.URL):
    """A URL that prints itself without secrets; ``httpx.URL(private)`` is the plain one.

    It is what a response has as its ``url``: its parts (``params``, ``path``, ``username``, ...),
    comparisons and :meth:`join` work on the whole URL.
    """

    def __init__(self, url: httpx.URL | str, *, hide_path: bool = False) -> None:
        super().__init__(url)
        self._hide_path = hide_path
        self._text: str | None = None

    def __str__(self) -> str:
        if self._text is None:
            self._text = shown(self, hide_path=self._hide_path)
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, httpx.URL | str):
            return NotImplemented
        return httpx.URL(self) == httpx.URL(other)

    def __hash__(self) -> int:
        return hash(httpx.URL(self))

    def join(self, url: httpx.URL | str) -> httpx.URL:
        """Return an absolute URL, with this one as its base; it shows itself as this one does."""
        return PrivateURL(httpx.URL(self).join(url), hide_path=self._hide_path)


def make_private(request: httpx.Request, *, hide_path: bool = False) -> None:
    """Let neither httpx nor httpcore print the secrets of ``request``; harmless when done again."""
    if isinstance(request.url, PrivateURL):
        return
    request.url = PrivateURL(request.url, hide_path=hide_path)
    # A trace costs some ten calls a request, so it is there only when somebody would write the records.
    for logger in _HTTPCORE_LOGGERS:
        if logger.isEnabledFor(logging.DEBUG):
            trace = request.extensions.get("trace")
            if not isinstance(trace, _TameTrace):  # a redirect inherits it
                request.extensions = {**request.extensions, "trace": _TameTrace(trace)}
            return


class _TameTrace:
    """Shows a caller's own trace hook everything, and httpcore's logger what is no secret."""

    def __init__(self, inner: Trace | None) -> None:
        self._inner = inner

    # httpcore insists on a coroutine, which a call of this is; it reads `info` again after the call.
    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if self._inner is not None:
            await self._inner(event, info)
        for key, value in info.items():
            info[key] = _tame(key, value)


def _tame(key: str, value: object) -> object:
    if key == "return_value" and isinstance(value, tuple):
        return tuple(_tame_headers(part) if isinstance(part, list) else part for part in value)
    if key == "auth":
        return HIDDEN
    if isinstance(value, BaseException):
        return type(value).__name__  # the text of a protocol error may quote a header
    return value


def _tame_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value if name.lower() in _OPEN_HEADERS else HIDDEN.encode()) for name, value in headers]
