"""From httpx's exceptions to ours, in one place.

The classes here are what the client raises: each is one of :mod:`sentrio.errors`, and one of httpx's
besides, so that code which catches those goes on working.
"""

from __future__ import annotations

__all__ = (
    "CertificateRefused",
    "CircuitRefused",
    "ErrorStatus",
    "PoolExhausted",
    "TimedOut",
    "translate",
    "transport_errors",
    "worth_retrying",
)

import ssl
from collections.abc import Iterator
from typing import Any

import anyio
import httpx

from sentrio.errors import CircuitOpenError, HTTPRequestError, HTTPStatusError, HTTPTimeoutError


class _ByArguments:
    """Pickled by its arguments alone: the request it may hold has the caller's credentials in its headers."""

    _request: httpx.Request | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args  # type: ignore[attr-defined]  # an exception's


class RequestFailed(_ByArguments, HTTPRequestError, httpx.RequestError):
    """A request that could not be made, or whose answer made no sense."""


class TransportFailed(_ByArguments, HTTPRequestError, httpx.TransportError):
    """A connection that could not be made, broke, or did not speak HTTP."""


class NetworkFailed(_ByArguments, HTTPRequestError, httpx.NetworkError):
    """A connection that could not be made or that broke."""


class CertificateRefused(_ByArguments, HTTPRequestError, httpx.ConnectError):
    """A server whose certificate is not trusted; another try would find the same one."""


class ProtocolFailed(_ByArguments, HTTPRequestError, httpx.RemoteProtocolError):
    """A server that hung up in the middle, or that does not speak HTTP."""


class TimedOut(_ByArguments, HTTPTimeoutError, httpx.TimeoutException):
    """A request that took too long."""


class PoolExhausted(_ByArguments, HTTPTimeoutError, httpx.PoolTimeout):
    """All connections of the client were in use for too long; it never came to a try."""


class CircuitRefused(CircuitOpenError, HTTPRequestError):
    """A request that was not sent, because the circuit of its host is open."""

    def __init__(self, method: str, url: str, attempts: int, circuit: str, retry_in: float) -> None:
        HTTPRequestError.__init__(self, method, url, attempts, str(CircuitOpenError(circuit, retry_in)))
        self.circuit = circuit
        self.retry_in = retry_in
        self.args = (method, url, attempts, circuit, retry_in)

    def __str__(self) -> str:
        return HTTPRequestError.__str__(self)


class ErrorStatus(_ByArguments, HTTPStatusError, httpx.HTTPStatusError):
    """An error status where one is not welcome; ``response`` has the headers, its body was not read."""

    response: httpx.Response


#: Everything that may come out of httpx when the network or the other side is to blame. httpx translates the
#: errors of the layers below; a connection that is closed under its hands is where one still slips through.
transport_errors: tuple[type[Exception], ...] = (
    httpx.RequestError,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    UnicodeError,  # a host that is no name, to which a server may redirect
)


def translate(
    exc: Exception, method: str, url: str, attempts: int, handled: BaseException | None = None
) -> HTTPRequestError:
    """Return our error for one of :data:`transport_errors`, with its cause set.

    :param url: the URL as it may be shown
    :param handled: what the caller was handling already when he made the call; it is not the cause
    """
    causes = list(_causes(exc, handled))
    problem = _describe(causes)
    if isinstance(exc, UnicodeError):
        problem = "its host, or the one that it was redirected to, is not the name of any"
        return _bare(RequestFailed(method, url, attempts, problem))
    if isinstance(exc, httpx.TimeoutException):
        return _caused(TimedOut(method, url, attempts, problem), exc)
    if isinstance(exc, httpx.LocalProtocolError):
        # Its text quotes what was wrong, and that is often a token with a line break at its end.
        problem = "the request is not valid HTTP; look for line breaks in its header values"
        return _bare(TransportFailed(method, url, attempts, problem))
    if isinstance(exc, httpx.RemoteProtocolError):
        text = str(exc)
        if "location header" in text:
            return _bare(ProtocolFailed(method, url, attempts, "it was redirected to what is no URL"))
        if "illegal" in text:
            return _bare(ProtocolFailed(method, url, attempts, "RemoteProtocolError: that is no valid HTTP"))
        return _caused(ProtocolFailed(method, url, attempts, problem), exc)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        problem += "; if it is the right server, trust its certificate: verify=ssl.create_default_context(cafile=...)"
        return _caused(CertificateRefused(method, url, attempts, problem), exc)
    if isinstance(exc, httpx.NetworkError) or not isinstance(exc, httpx.RequestError):
        return _caused(NetworkFailed(method, url, attempts, problem), exc)
    if isinstance(exc, httpx.TransportError):
        return _caused(TransportFailed(method, url, attempts, problem), exc)
    return _caused(RequestFailed(method, url, attempts, problem), exc)


def worth_retrying(error: HTTPRequestError, kinds: tuple[type[Exception], ...]) -> bool:
    """Tell whether ``error`` or its cause is one of ``kinds``; Python's own classes count too."""
    if isinstance(error, PoolExhausted | CertificateRefused):
        return False  # a retry would only queue again behind the same streams, or meet the same certificate
    if isinstance(error, kinds) or isinstance(error.__cause__, kinds):
        return True
    builtin = TimeoutError if isinstance(error, TimedOut) else ConnectionError
    return not isinstance(error, RequestFailed) and issubclass(builtin, kinds)


def _bare(error: HTTPRequestError) -> HTTPRequestError:
    """Leave the cause out, whose text quotes what may be a secret."""
    error.__suppress_context__ = True
    return error


def _caused(error: HTTPRequestError, cause: Exception) -> HTTPRequestError:
    error.__cause__ = cause
    return error


def _describe(causes: list[BaseException]) -> str:
    text = str(causes[0])
    # What the operating system said, below the layers that only say that something failed.
    said = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    if said and said[-1] not in text:
        text = f"{text} ({said[-1]})" if text else said[-1]
    name = type(causes[0]).__name__
    return f"{name}: {text}" if text else name


def _causes(exc: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came from, outermost first."""
    below: BaseException | None = exc
    for _ in range(10):  # a chain of causes may be a ring
        if isinstance(below, BaseExceptionGroup):
            below = below.exceptions[0]
        if below is None or below is handled:
            return
        yield below
        below = below.__cause__ or below.__context__
