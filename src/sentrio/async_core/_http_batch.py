"""Many requests at once, within a limit."""

from __future__ import annotations

__all__ = ("async_batch_requests",)

from collections.abc import Iterable, Iterator
from typing import Literal, Unpack, overload

import anyio
import httpx

from sentrio.async_core._checks import check_count
from sentrio.async_core._http_client import AsyncHTTPClient, opened
from sentrio.async_core._http_settings import RequestOptions, check_options

URLs = Iterable[httpx.URL | str]


@overload
async def async_batch_requests(
    urls: URLs,
    method: str = "GET",
    max_concurrent: int = 10,
    return_exceptions: Literal[False] = False,
    client: AsyncHTTPClient | None = None,
    **options: Unpack[RequestOptions],
) -> list[httpx.Response]: ...


@overload
async def async_batch_requests(
    urls: URLs,
    method: str = "GET",
    max_concurrent: int = 10,
    *,
    return_exceptions: bool,
    client: AsyncHTTPClient | None = None,
    **options: Unpack[RequestOptions],
) -> list[httpx.Response | Exception]: ...


async def async_batch_requests(
    urls: URLs,
    method: str = "GET",
    max_concurrent: int = 10,
    return_exceptions: bool = False,
    client: AsyncHTTPClient | None = None,
    **options: Unpack[RequestOptions],
) -> list[httpx.Response] | list[httpx.Response | Exception]:
    """Send one request to each URL, some at a time, and return the responses in the order of the URLs.

    :param urls: where to; the same URL may occur more than once
    :param method: the method of all requests
    :param max_concurrent: requests that are on their way at once, at most the client's connections
    :param return_exceptions: have errors in the list, in the place of the response that there is not;
        otherwise the first error cancels what is on its way and is raised
    :param client: an open client; ``None`` makes one with default settings for this call
    :param options: what :meth:`AsyncHTTPClient.request` takes
    :raises HTTPRequestError: if a request fails and ``return_exceptions`` is false
    :raises ValueError: if ``max_concurrent`` is out of range, or (without ``return_exceptions``) a URL is
        none
    :raises TypeError: if ``urls`` is a single one, or an option is unknown
    """
    check_count("max_concurrent", max_concurrent)
    check_options("async_batch_requests", options)
    if isinstance(urls, str | httpx.URL):
        raise TypeError("urls must be several URLs; put the one that you have into a list")
    wanted = list(urls)
    async with opened(client) as sending:
        return await _batch(sending, wanted, method, max_concurrent, return_exceptions, options)


async def _batch(
    client: AsyncHTTPClient,
    urls: list[httpx.URL | str],
    method: str,
    max_concurrent: int,
    return_exceptions: bool,
    options: RequestOptions,
) -> list[httpx.Response | Exception]:
    answers: dict[int, httpx.Response | Exception] = {}
    failures: list[Exception] = []

    async def work(waiting: Iterator[tuple[int, httpx.URL | str]]) -> None:
        for index, url in waiting:
            try:
                answers[index] = await client.request(method, url, **options)
            except Exception as exc:  # noqa: BLE001  # a value, or raised below as itself
                answers[index] = exc
                if not return_exceptions:
                    failures.append(exc)
                    tg.cancel_scope.cancel()
                    return

    # More would only queue for a connection, and a queue has its timeout.
    width = min(max_concurrent, client.max_connections, len(urls))
    shared = enumerate(urls)
    async with anyio.create_task_group() as tg:
        for number in range(width):
            tg.start_soon(work, shared, name=f"sentrio: batch worker {number + 1}")
    if failures:
        first, *others = failures
        for other in others:
            first.add_note(f"at the same time: {other}")
        try:
            raise first
        finally:
            del first, others, failures, answers  # the traceback refers to this frame
    return [answers[index] for index in range(len(urls))]
