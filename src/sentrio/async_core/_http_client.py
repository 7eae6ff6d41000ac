"""The HTTP client: one pool of connections, with retries, circuit breakers and deadlines around it."""

from __future__ import annotations

__all__ = ("AsyncHTTPClient", "HTTPStatistics", "opened")

import math
import os
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, Unpack, cast

import anyio
import attrs

# httpx loads this when the first client is made: 0.2 s during which an event loop would stand still.
import httpcore  # noqa: F401
import httpx

from sentrio.async_core._checks import check_count, known_options
from sentrio.async_core._http_call import Call, open_stream
from sentrio.async_core._http_connect import close_cancelled_handshakes
from sentrio.async_core._http_privacy import PrivateURL, make_private
from sentrio.async_core._http_settings import (
    UNSET,
    RequestOptions,
    Unset,
    check_options,
    check_timeout,
    default_connections,
    default_timeout,
)
from sentrio.async_core.circuit import CircuitBreaker, CircuitState, CircuitStatistics
from sentrio.async_core.retry import RetryPolicy
from sentrio.async_core.telemetry import metric_histogram, span
from sentrio.async_core.threads import call_sync

# Breakers of hosts that are well are dropped beyond this many, so that a crawler does not collect them.
_BREAKERS_KEPT = 1000

_CLOSE_SECONDS = 2.0
_CERTIFICATE_SECONDS = 2.0

_duration = metric_histogram("http.client.request.duration")


def _private_url(value: httpx.URL | str) -> httpx.URL:
    return PrivateURL(_parsed(value))


def _parsed(url: httpx.URL | str) -> httpx.URL:
    """Return the URL of a text, or say what is wrong with it without showing it."""
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as exc:
        problem = str(exc).partition(":")[0].partition(",")[0]
    raise ValueError(f"this is no usable URL (not shown: it may hold secrets): {problem}")


def _timeout_value(value: float | Unset | None) -> float | None:
    return default_timeout() if isinstance(value, Unset) else value


def _policy_value(value: RetryPolicy | None) -> RetryPolicy:
    return RetryPolicy() if value is None else value


def _connections_value(value: int | None) -> int:
    return default_connections() if value is None else value


_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}


async def _ssl_context(trust_env: bool) -> ssl.SSLContext:
    """Return the context that httpx would make; loading the certificates takes it 20 ms for each client."""
    key = (trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    if key not in _contexts:
        # Soon done, so a cancelled client waits for it.
        _contexts[key] = await call_sync(_make_ssl_context, trust_env, abandon_after=_CERTIFICATE_SECONDS)
    return _contexts[key]


def _make_ssl_context(trust_env: bool) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)


@attrs.frozen(kw_only=True)
class HTTPStatistics:
    """What a client is doing."""

    connections: int  #: connections that it may have
    in_use: int  #: of these, those that a request or a stream holds
    waiting: int  #: requests that wait for one
    circuits: Mapping[str, CircuitStatistics]  #: by host and port, if each has a breaker of its own


@known_options
@attrs.define(eq=False)
class AsyncHTTPClient:
    """An HTTP client with retries, circuit breakers and deadlines, over one pool of connections.

    Use it as ``async with AsyncHTTPClient() as client:``; any number of tasks may share it inside the block.
    Responses are :class:`httpx.Response` objects, whose ``url`` prints itself without credentials and values
    of the query (``httpx.URL(response.url)`` is the plain one). What httpx and httpcore log for this client
    is free of them too.

    :param retry_policy: when to try again; ``None`` is ``RetryPolicy()``
    :param circuit_breaker: the breaker for all requests; ``None`` keeps one with default settings for each
        host and port, ``False`` none at all
    :param timeout: seconds that one try may take, from asking for a connection to the end of the body; in a
        stream and a download, seconds until the headers and between two pieces of the body. ``None`` is no
        limit; unset, the environment variable ``SENTRIO_ASYNC_TIMEOUT`` decides, and without it 30
    :param max_connections: connections in all; unset or ``None``, ``SENTRIO_ASYNC_POOL_SIZE`` decides, and
        without it 100
    :param base_url: what relative URLs are relative to
    :param headers: headers of every request
    :param cookies: cookies of every request
    :param auth: credentials of every request, as :class:`httpx.AsyncClient` takes them
    :param follow_redirects: whether redirects are followed unless a request says otherwise
    :param verify: ``True``, ``False``, or an :class:`ssl.SSLContext`
    :param trust_env: whether proxies, certificates and ``.netrc`` of the environment count
    :param transport: another transport than the network, for tests
    :param hide_paths: show no paths in errors and logs either, as for webhooks, where they are the secret
    :raises ValueError: if a number is out of range
    :raises TypeError: if an argument is unknown or of a wrong type
    """

    retry_policy: RetryPolicy = attrs.field(default=None, converter=_policy_value)
    circuit_breaker: CircuitBreaker | bool | None = None
    timeout: float | None = attrs.field(default=cast("None", UNSET), converter=_timeout_value)
    max_connections: int = attrs.field(default=None, converter=_connections_value)
    base_url: httpx.URL = attrs.field(factory=httpx.URL, converter=_private_url, kw_only=True, repr=False)
    headers: Any = attrs.field(default=None, kw_only=True, repr=False)
    cookies: Any = attrs.field(default=None, kw_only=True, repr=False)
    auth: Any = attrs.field(default=None, kw_only=True, repr=False)
    follow_redirects: bool = attrs.field(default=False, kw_only=True)
    verify: ssl.SSLContext | bool = attrs.field(default=True, kw_only=True, repr=False)
    trust_env: bool = attrs.field(default=True, kw_only=True, repr=False)
    transport: httpx.AsyncBaseTransport | None = attrs.field(default=None, kw_only=True, repr=False)
    hide_paths: bool = attrs.field(default=False, kw_only=True, repr=False)

    slots: anyio.Semaphore = attrs.field(default=None, init=False, repr=False)
    _native: httpx.AsyncClient | None = attrs.field(default=None, init=False, repr=False)
    _breakers: dict[str, CircuitBreaker] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.retry_policy, RetryPolicy):
            raise TypeError(f"retry_policy must be a RetryPolicy or None, got {self.retry_policy!r}")
        if self.circuit_breaker is True or not isinstance(self.circuit_breaker, CircuitBreaker | bool | None):
            raise TypeError(f"circuit_breaker must be a CircuitBreaker, None or False, got {self.circuit_breaker!r}")
        check_timeout(self.timeout)
        check_count("max_connections", self.max_connections)

    async def __aenter__(self) -> Self:
        if self._native is not None:
            raise RuntimeError("this AsyncHTTPClient is open already; share it, or make another one")
        verify = self.verify
        if verify is True and self.transport is None:
            verify = await _ssl_context(self.trust_env)
        self.slots = anyio.Semaphore(self.max_connections, max_value=self.max_connections, fast_acquire=True)
        base_url, auth = _without_credentials(httpx.URL(self.base_url), self.auth)
        self._native = httpx.AsyncClient(
            base_url=base_url,
            headers=self.headers,
            cookies=self.cookies,
            auth=auth,
            follow_redirects=self.follow_redirects,
            verify=verify,
            trust_env=self.trust_env,
            transport=self.transport,
            # Each try is a cancel scope, and the slots see to it that the pool never has to queue.
            timeout=None,  # noqa: S113
            limits=httpx.Limits(max_connections=self.max_connections, max_keepalive_connections=self.max_connections),
            event_hooks={"request": [self._before_each_hop]},
        )
        close_cancelled_handshakes(self._native)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        native, self._native = self._native, None
        assert native is not None  # __aenter__ has made it
        # In a task of its own: a native asyncio cancellation, which no shield keeps out, would hit this
        # task, and the pool would forget the connections that it has not closed yet.
        async with anyio.create_task_group() as tg:
            tg.start_soon(_close, native, name="sentrio: close HTTP connections")

    def statistics(self) -> HTTPStatistics:
        """Return what the client is doing right now."""
        slots = self.slots if self._native is not None else None
        return HTTPStatistics(
            connections=self.max_connections,
            in_use=self.max_connections - slots.value if slots else 0,
            waiting=slots.statistics().tasks_waiting if slots else 0,
            circuits={host: breaker.statistics() for host, breaker in self._breakers.items()},
        )

    async def _before_each_hop(self, request: httpx.Request) -> None:
        # A redirect's target may hold a signature, and httpx logs it like any other URL.
        make_private(request, hide_path=self.hide_paths)

    async def request(self, method: str, url: httpx.URL | str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a request, again if the retry policy says so, and return the response with its body.

        After the last try a response is returned whatever its status; call its ``raise_for_status`` if need
        be.

        :param method: an HTTP method
        :param url: where to; relative if the client has a base URL
        :param options: what :meth:`httpx.AsyncClient.request` takes; ``timeout`` is seconds per try
        :raises HTTPRequestError: if the last try got no answer; it is also the :class:`httpx.TransportError`
            (or :class:`httpx.TimeoutException`, ...) that httpx would raise
        :raises CircuitOpenError: if the host's circuit is open before the first try
        :raises ValueError: if the URL is none, or a number is out of range
        :raises TypeError: if an option is unknown
        """
        call = self.call(method, url, **options)
        began = time.perf_counter()
        with span(
            "sentrio.http.request",
            **{"http.request.method": call.method, "url.full": call.shown, "server.address": call.shown.host},
        ) as current:
            try:
                response = await call.response()
            finally:
                if "content" in call.options:
                    await call.close_content()
            current.set_attribute("http.response.status_code", response.status_code)
            current.set_attribute("http.request.resend_count", call.attempts - 1)
        _duration(
            time.perf_counter() - began,
            {
                "http.request.method": call.method,
                "http.response.status_code": response.status_code,
                "server.address": call.shown.host,
            },
        )
        return response

    async def get(self, url: httpx.URL | str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a GET request; see :meth:`request`."""
        return await self.request("GET", url, **options)

    async def post(self, url: httpx.URL | str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a POST request; see :meth:`request`. It is not repeated unless the policy says so."""
        return await self.request("POST", url, **options)

    async def put(self, url: httpx.URL | str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a PUT request; see :meth:`request`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: httpx.URL | str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a PATCH request; see :meth:`request`. It is not repeated unless the policy says so."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: httpx.URL | str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a DELETE request; see :meth:`request`."""
        return await self.request("DELETE", url, **options)

    async def head(self, url: httpx.URL | str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a HEAD request; see :meth:`request`."""
        return await self.request("HEAD", url, **options)

    @asynccontextmanager
    async def stream(
        self, method: str, url: httpx.URL | str, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[httpx.Response]:
        """Open a response whose body is read piece by piece: ``async with client.stream("GET", url) as
        response``.

        Tries are made until there is a response that is no error; from then on nothing is repeated. Each
        piece of the body must come within ``timeout`` seconds, all of them within the policy's total. The
        block may be left at any point.

        :raises HTTPStatusError: if the last try was answered with 400 or above; also an
            :class:`httpx.HTTPStatusError`, with the response as its ``response``
        :raises HTTPRequestError: if there is no answer, or its body breaks off (raised by the iterators)
        :raises CircuitOpenError: if the host's circuit is open before the first try
        """
        call = self.call(method, url, **options)
        with span("sentrio.http.stream", **{"http.request.method": call.method, "url.full": call.shown}) as current:
            try:
                answer = await open_stream(call)
            finally:
                if "content" in call.options:
                    await call.close_content()
            current.set_attribute("http.response.status_code", answer.response.status_code)
            try:
                yield answer.response
            finally:
                await answer.aclose()

    def call(self, method: str, url: httpx.URL | str, **options: Unpack[RequestOptions]) -> Call:
        """Prepare a call; for the functions of this package that make tries of their own."""
        native = self._native
        if native is None:
            raise RuntimeError(
                "this AsyncHTTPClient is not open; use it as `async with AsyncHTTPClient() as client:`"
            )
        check_options("AsyncHTTPClient.request", options)
        given: dict[str, Any] = dict(options)
        timeout = self.timeout
        if "timeout" in given:
            timeout = given.pop("timeout")
            check_timeout(timeout)
        method = method.upper()
        url, auth = _without_credentials(self._checked_url(url), given.get("auth", self.auth))
        if auth is not None:
            given["auth"] = auth
        first = self.build(native, method, url, given)
        content = given.get("content")
        policy = self.retry_policy
        total = policy.total_timeout
        return Call(
            client=self,
            native=native,
            method=method,
            url=url,
            options=given,
            timeout=timeout,
            policy=policy,
            first=first,
            shown=first.url,  # type: ignore[arg-type]  # build() has made it private
            breaker=self._breaker(first.url),
            deadline=math.inf if total is None else anyio.current_time() + total,
            # An async iterator is used up by its first try; an iterable can start again.
            replayable=not (hasattr(content, "__anext__") or hasattr(content, "__next__")),
        )

    def build(self, native: httpx.AsyncClient, method: str, url: httpx.URL, options: dict[str, Any]) -> httpx.Request:
        """Make the request of one try."""
        arguments = {name: value for name, value in options.items() if name not in ("auth", "follow_redirects")}
        request = native.build_request(method, url, **arguments)
        make_private(request, hide_path=self.hide_paths)
        return request

    def _checked_url(self, url: httpx.URL | str) -> httpx.URL:
        """Return the URL, if it can be asked for.

        :raises ValueError: if not; the message shows at most what is no secret of it
        """
        target = _parsed(url)
        whole = self.base_url if target.is_relative_url else target
        if whole.scheme not in ("http", "https") or not whole.host:
            seen = PrivateURL(target, hide_path=self.hide_paths)
            raise ValueError(f"a URL needs http:// or https:// and a host, got '{seen}'")
        return target

    def _breaker(self, url: httpx.URL) -> CircuitBreaker | None:
        given = self.circuit_breaker
        if given is not None:
            return given if isinstance(given, CircuitBreaker) else None
        host = url.netloc.decode("ascii")
        breaker = self._breakers.get(host)
        if breaker is None:
            if len(self._breakers) >= _BREAKERS_KEPT:
                self._breakers = {
                    name: known
                    for name, known in self._breakers.items()
                    if known.state is not CircuitState.CLOSED or known.statistics().failures
                }
            breaker = self._breakers[host] = CircuitBreaker(name=host)
        return breaker


@asynccontextmanager
async def opened(client: AsyncHTTPClient | None) -> AsyncGenerator[AsyncHTTPClient]:
    """Yield ``client``, or one with default settings for the block."""
    if client is not None:
        yield client
    else:
        async with AsyncHTTPClient() as own:
            yield own


def _without_credentials(url: httpx.URL, auth: Any) -> tuple[httpx.URL, Any]:
    """Move user and password from a URL to where they are not in the way of cookies, redirects and logs."""
    if not url.userinfo:
        return url, auth
    if auth is None:
        auth = httpx.BasicAuth(url.username, url.password)
    return url.copy_with(userinfo=b""), auth


async def _close(native: httpx.AsyncClient) -> None:
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLOSE_SECONDS):
        await native.aclose()
