"""One call of a client: its tries, their limits, and when to try again."""

from __future__ import annotations

__all__ = ("Answer", "Call", "open_stream", "retry_after_seconds", "status_error")

import logging
import math
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import httpx

from sentrio.async_core._http_body import RequestBody, ResponseBody, require_decoded, track_iterators
from sentrio.async_core._http_errors import (
    CircuitRefused,
    ErrorStatus,
    PoolExhausted,
    TimedOut,
    translate,
    transport_errors,
    worth_retrying,
)
from sentrio.async_core._http_privacy import PrivateURL, make_private
from sentrio.async_core.circuit import Attempt, CircuitBreaker, CircuitState
from sentrio.async_core.retry import RetryPolicy
from sentrio.async_core.telemetry import metric_counter
from sentrio.errors import CircuitOpenError, HTTPRequestError

if TYPE_CHECKING:
    from sentrio.async_core._http_client import AsyncHTTPClient

logger = logging.getLogger("sentrio.async_core.http")

# A server may ask for any patience. Without a total deadline this much is granted; beyond it the answer is
# returned, because a caller would rather know.
_LONGEST_UNBOUNDED_WAIT = 600.0

_CLEANUP_SECONDS = 2.0

_tries = metric_counter("sentrio.http.tries")
_retries = metric_counter("sentrio.http.retries")


@attrs.define(eq=False)
class Call:
    """What a caller asked for. Tries are made by :meth:`attempt`, one after another."""

    client: AsyncHTTPClient
    native: httpx.AsyncClient
    method: str
    url: httpx.URL
    options: dict[str, Any]
    timeout: float | None
    policy: RetryPolicy
    first: httpx.Request | None  #: the request of the first try, which shows where it goes
    shown: PrivateURL
    breaker: CircuitBreaker | None
    deadline: float  #: of all tries together, in the time of the loop
    replayable: bool
    attempts: int = 0
    #: the last outcome but one, for the case that the circuit opens while this call waits
    last: httpx.Response | HTTPRequestError | None = None
    patient: bool = False  #: whether a try's deadline moves on as its request body does
    #: what the caller was handling when he made the call; errors of the tries have it as their context
    handled: BaseException | None = attrs.field(factory=sys.exception)

    async def response(self) -> httpx.Response:
        """Try until there is an answer to return or an error to raise; the body has been read."""
        while True:
            outcome = await self.attempt(stream=False)
            result = outcome.response if isinstance(outcome, Answer) else outcome
            if not await self.wait_to_retry(result):
                break
        self.last = None
        if isinstance(result, HTTPRequestError):
            try:
                raise result
            finally:
                del result, outcome  # the traceback refers to this frame
        return result

    async def attempt(self, *, stream: bool, headers: dict[str, str] | None = None) -> Answer | HTTPRequestError:
        """Make one try.

        :param stream: leave the body unread; the answer must be closed
        :param headers: headers of this try, besides those of the call
        :raises CircuitOpenError: if the circuit is open; after the first try, its outcome takes the place
        """
        self.attempts += 1
        _tries(1, method=self.method)
        answer = Answer(self)
        try:
            # `CancelScope()` itself makes two scopes of the backend's.
            with anyio.move_on_at(self._until(self.timeout)) as answer.scope:
                await answer.open(stream=stream, headers=headers)
            if answer.scope.cancelled_caught:
                return await answer.timed_out()
        except transport_errors as exc:
            if answer.body is not None and exc is answer.body.error:
                await answer.abandon(failed=None)
                raise
            await answer.abandon(failed=_is_their_fault(exc))
            return self.translated(exc)
        except CircuitOpenError as exc:
            await answer.abandon(failed=None)
            if self.last is None:
                raise CircuitRefused(self.method, str(self.shown), self.attempts, exc.circuit, exc.retry_in) from None
            self.attempts -= 1
            self.replayable = False
            # The first try met the closed circuit, so what it met is what the caller wants to know.
            return Answer(self, response=self.last) if isinstance(self.last, httpx.Response) else self.last
        except BaseException:
            await answer.abandon(failed=None)
            raise
        if not stream:
            answer.release()
        return answer

    async def close_content(self) -> None:
        """Close the async generator that a body was read from, wherever the tries have left it."""
        content = self.options.get("content")
        if isinstance(content, AsyncGenerator):
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLEANUP_SECONDS):
                await content.aclose()

    def translated(self, exc: Exception) -> HTTPRequestError:
        """Return our error for what a try raised."""
        return translate(exc, self.method, str(self.shown), self.attempts, self.handled)

    def _until(self, seconds: float | None) -> float:
        return min(self.deadline, anyio.current_time() + (math.inf if seconds is None else seconds))

    def out_of_time(self, doing: str) -> HTTPRequestError:
        """Return the error for a limit that was reached."""
        if anyio.current_time() >= self.deadline:
            problem = f"its total of {self.policy.total_timeout:g} s ran out while {doing}"
        else:
            problem = f"{doing} took longer than {self.timeout:g} s"
        return TimedOut(self.method, str(self.shown), self.attempts, problem)

    async def wait_to_retry(self, outcome: httpx.Response | HTTPRequestError) -> bool:
        """Wait until the next try is due, or tell that there is none: the outcome is final."""
        delay = self._delay_after(outcome)
        if delay is None:
            return False
        self.last = outcome
        _retries(1, method=self.method)
        if logger.isEnabledFor(logging.INFO):
            problem = outcome.problem if isinstance(outcome, HTTPRequestError) else f"status {outcome.status_code}"
            logger.info(
                "%s %s failed at attempt %d: %s; the next one in %.3g s",
                self.method,
                self.shown,
                self.attempts,
                problem,
                delay,
            )
        await anyio.sleep(delay)
        return True

    def _delay_after(self, outcome: httpx.Response | HTTPRequestError) -> float | None:
        policy = self.policy
        if self.attempts > policy.max_retries or not self.replayable:
            return None
        if self.method not in policy.retry_methods:
            return None
        delay = None
        if isinstance(outcome, HTTPRequestError):
            if not worth_retrying(outcome, policy.retry_exceptions):
                return None
        else:
            if outcome.status_code not in policy.retry_statuses:
                return None
            delay = retry_after_seconds(outcome)
            if delay is not None and delay > _LONGEST_UNBOUNDED_WAIT and self.deadline == math.inf:
                return None
        if self.breaker is not None and self.breaker.state is CircuitState.OPEN:
            logger.info("%s %s: not tried again, the circuit is open", self.method, self.shown)
            return None
        if delay is None:
            delay = policy.next_delay(self.attempts - 1)
        return delay if anyio.current_time() + delay < self.deadline else None


@attrs.define(eq=False)
class Answer:
    """What one try has got hold of so far: a connection's slot, a place in the circuit, a response."""

    call: Call
    response: httpx.Response = attrs.field(default=None)
    scope: anyio.CancelScope = attrs.field(default=None)
    body: RequestBody | None = None
    _slot: bool = False
    _attempt: Attempt | None = None
    _close_iterators: Any = None

    async def open(self, *, stream: bool, headers: dict[str, str] | None) -> None:
        """Send the request and take the answer, whole or without its body."""
        call = self.call
        # A limit that was over before the try began must not be blamed on connections that are free.
        try:
            call.client.slots.acquire_nowait()
        except anyio.WouldBlock:
            await call.client.slots.acquire()
        self._slot = True
        if call.breaker is not None:
            self._attempt = call.breaker.attempt()
        request = self._request(headers)
        options: dict[str, Any] = {
            name: call.options[name] for name in ("auth", "follow_redirects") if name in call.options
        }
        self.response = await call.native.send(request, stream=True, **options)
        if not stream:
            await self._read_whole()
        if self.response.next_request is not None:
            make_private(self.response.next_request, hide_path=call.client.hide_paths)
        if self._attempt is not None:
            if self.response.status_code >= 500:
                self._attempt.failed()
            elif not stream or self._attempt.probe:
                # A probe is over with its headers, lest a long stream keep all others out.
                self._attempt.succeeded()
        if stream:
            self._guard_body()

    def _request(self, headers: dict[str, str] | None) -> httpx.Request:
        call = self.call
        request, call.first = call.first, None
        if request is None:
            request = call.client.build(call.native, call.method, call.url, call.options)
        if headers:
            request.headers.update(headers)
        self.body = RequestBody.wrap(request, self._move_deadline if call.patient else None)
        return request

    def _move_deadline(self) -> None:
        self.scope.deadline = self.call._until(self.call.timeout)

    async def _read_whole(self) -> None:
        """Read the body as httpx does; but where it can not be decoded, to its end, leave no iterator halfway."""
        response = self.response
        close: Any = None
        if "content-encoding" in response.headers:
            assert isinstance(response.stream, httpx.AsyncByteStream)  # httpx's own claim
            response.stream = ResponseBody(response.stream, anext)
            close = track_iterators(response)
        try:
            await response.aread()
            if close is not None:
                require_decoded(response)
        except BaseException:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLEANUP_SECONDS):
                try:
                    if close is not None:
                        await close()
                finally:
                    await response.aclose()
            raise

    def _guard_body(self) -> None:
        assert isinstance(self.response.stream, httpx.AsyncByteStream)  # httpx's own claim
        self.response.stream = ResponseBody(self.response.stream, self._read)
        self._close_iterators = track_iterators(self.response, self.call.translated)

    async def _read(self, iterator: AsyncIterator[bytes]) -> bytes:
        call = self.call
        try:
            with anyio.CancelScope(deadline=call._until(call.timeout)):
                return await anext(iterator)
        except transport_errors as exc:
            self._report(failed=True)
            error = call.translated(exc)
            raise error from error.__cause__
        self._report(failed=True)
        raise call.out_of_time("waiting for more of the body")

    def _report(self, *, failed: bool | None) -> None:
        if self._attempt is None:
            return
        if failed is None:
            self._attempt.dropped()
        elif failed:
            self._attempt.failed()
        else:
            self._attempt.succeeded()

    async def timed_out(self) -> HTTPRequestError:
        """Clean up after the try's deadline and return the error."""
        if self._slot:
            await self.abandon(failed=True)
            return self.call.out_of_time("waiting for the answer")
        await self.abandon(failed=None)
        call = self.call
        problem = (
            f"all {call.client.max_connections} connections of the client were in use for too long; "
            f"close streams that are no longer needed, or raise max_connections"
        )
        return PoolExhausted(call.method, str(call.shown), call.attempts, problem)

    async def abandon(self, *, failed: bool | None) -> None:
        """End a try that has come to nothing; httpx has given its connection back.

        :param failed: whether the other side is to blame, ``None`` if the try tells nothing about it
        """
        self._report(failed=failed)
        self.release()
        if self.body is not None:
            await self.body.aclose()

    def release(self) -> None:
        """Give the connection's slot back; harmless when done again."""
        if self._slot:
            self._slot = False
            self.call.client.slots.release()

    async def aclose(self, *, failed: bool | None = False) -> None:
        """End a stream, wherever its reader stopped.

        :param failed: whether the other side is to blame for how it ended
        """
        self._report(failed=failed)
        try:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLEANUP_SECONDS):
                try:
                    if self._close_iterators is not None:
                        await self._close_iterators()
                finally:
                    await self.response.aclose()
                    if self.body is not None:
                        await self.body.aclose()
        finally:
            self.release()


async def open_stream(call: Call) -> Answer:
    """Try until there is an answer that is no error; the body is unread."""
    while True:
        outcome = await call.attempt(stream=True)
        if not isinstance(outcome, Answer):
            if await call.wait_to_retry(outcome):
                continue
            try:
                raise outcome
            finally:
                del outcome  # the traceback refers to this frame
        response = outcome.response
        if response.status_code < 400:
            return outcome
        await outcome.aclose(failed=response.status_code >= 500)
        if not await call.wait_to_retry(response):
            raise status_error(call, response)


def status_error(call: Call, response: httpx.Response) -> ErrorStatus:
    """Return the error for a response with an error status."""
    error = ErrorStatus(call.method, str(call.shown), call.attempts, response.status_code, response.reason_phrase)
    error.response = response
    return error


def _is_their_fault(exc: Exception) -> bool | None:
    """Tell whether an error says something about the other side; ``None`` if it says nothing."""
    if isinstance(exc, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.PoolTimeout):
        return None
    # It answered, though not to our liking.
    return not isinstance(exc, httpx.TooManyRedirects | httpx.DecodingError | UnicodeError)


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Return how long a response asks to wait, or ``None`` if it does not, or not intelligibly.

    A date is compared with the server's own clock where it shows one, as the two need not agree with ours.
    """
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(response.headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year or a zone of twenty digits
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
