"""TLS with a real server on loopback and an authority made for the test: who is trusted, and what is said of others."""

from __future__ import annotations

import pickle
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import httpx
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute
from tests.async_core._server import answer, break_off, serving, serving_elsewhere

from sentrio.async_core.http import (
    AsyncHTTPClient,
    RetryPolicy,
    async_batch_requests,
    async_download,
    async_upload,
)
from sentrio.errors import HTTPRequestError, HTTPTimeoutError
from sentrio.testing import Backend, cancel_everywhere

# Waits that no test survives: a refused certificate must not be tried again.
PATIENT = RetryPolicy(max_retries=3, backoff_factor=100)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def serving_context(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority)


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def _get(client: AsyncHTTPClient, url: str, folder: Path) -> bytes:
    return (await client.get(url)).content


async def _stream(client: AsyncHTTPClient, url: str, folder: Path) -> bytes:
    async with client.stream("GET", url) as response:
        return b"".join([piece async for piece in response.aiter_bytes()])


async def _download(client: AsyncHTTPClient, url: str, folder: Path) -> bytes:
    await async_download(url, folder / "file", client)
    return (folder / "file").read_bytes()


async def _upload(client: AsyncHTTPClient, url: str, folder: Path) -> bytes:
    return (await async_upload(url, b"content", client, method="PUT")).content


async def _batch(client: AsyncHTTPClient, url: str, folder: Path) -> bytes:
    (response,) = await async_batch_requests([url], client=client)
    return response.content


Use = Callable[[AsyncHTTPClient, str, Path], Awaitable[bytes]]
USES = pytest.mark.parametrize("use", [_get, _stream, _download, _upload, _batch])


@USES
async def test_a_context_that_trusts_the_server_is_used(
    use: Use, serving_context: ssl.SSLContext, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    async with serving(serving_context) as server, AsyncHTTPClient(verify=trusting) as client:
        assert await use(client, server.on("/f", answer(200, b"secret content")), tmp_path) == b"secret content"


@USES
async def test_an_unknown_authority_is_refused_at_once_by_name(
    use: Use, serving_context: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    async with serving(serving_context) as server, AsyncHTTPClient(PATIENT) as client:
        server.on("/f", answer(200, b"not for us"))
        with anyio.fail_after(20):
            with pytest.raises(HTTPRequestError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await use(client, server.url("/f?token=hunter2", userinfo="me:hunter2"), tmp_path)
        error = caught.value
        assert isinstance(error, httpx.ConnectError)
        assert f"{server.url('/f')}?token=[...] failed at attempt 1: ConnectError: [SSL: CERT" in str(error)
        assert "local issuer certificate" in str(error)
        assert "verify=ssl.create_default_context(cafile=...)" in str(error)
        assert error.__cause__ is not None
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
        assert (type(again), str(again)) == (type(error), str(error))
        # It found out before it told the server anything.
        assert server.count() == 0
        assert client.statistics().in_use == 0
    assert (tmp_path / "file").read_bytes() == b"old"


async def test_a_certificate_of_another_host_is_refused(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    async with serving(server_context(authority, "example.org")) as server:
        async with AsyncHTTPClient(PATIENT, verify=trusting) as client:
            with pytest.raises(HTTPRequestError, match="not valid for '127.0.0.1'"):
                await client.get(server.url("/f"))


async def test_verification_can_be_turned_off(serving_context: ssl.SSLContext) -> None:
    async with serving(serving_context) as server, AsyncHTTPClient(verify=False) as client:
        assert (await client.get(server.on("/", answer(200, b"fine")))).text == "fine"


async def test_the_authorities_of_the_environment_count(
    authority: trustme.CA, serving_context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with serving(serving_context) as server:
        url = server.on("/", answer(200, b"fine"))
        async with AsyncHTTPClient() as client:
            assert (await client.get(url)).text == "fine"
        async with AsyncHTTPClient(PATIENT, trust_env=False) as client:
            with pytest.raises(HTTPRequestError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(url)


async def test_the_cause_is_not_what_the_caller_was_handling(serving_context: ssl.SSLContext) -> None:
    """Python chains whatever is raised to what is being handled: a look at the causes must stop there."""
    policy = RetryPolicy(max_retries=1, backoff_factor=0.001)
    async with serving() as gone:
        pass
    async with serving(serving_context) as server, AsyncHTTPClient(policy) as client:

        async def falls_back(first: str, second: str) -> None:
            try:
                await client.get(first)
            except HTTPRequestError:
                await client.get(second)

        with pytest.raises(HTTPRequestError) as caught:
            await falls_back(server.url("/"), gone.url("/"))
        assert "CERTIFICATE" not in str(caught.value)
        assert caught.value.attempts == 2
        with pytest.raises(HTTPRequestError) as caught:
            await falls_back(gone.url("/"), server.url("/"))
        assert "refused" not in str(caught.value)


@asynccontextmanager
async def listening(handle: Callable[[ByteStream], Awaitable[None]]) -> AsyncGenerator[str]:
    """Serve whatever ``handle`` makes of a connection; yield an https URL for it."""

    async def serve(stream: ByteStream) -> None:
        async with stream:
            await handle(stream)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tg:
        tg.start_soon(listener.serve, serve)
        yield f"https://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/f"  # noqa: S610
        tg.cancel_scope.cancel()


async def test_https_to_a_server_without_tls_is_an_error_that_says_so() -> None:
    async def answers_in_clear(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with listening(answers_in_clear) as url, AsyncHTTPClient(RetryPolicy(max_retries=0)) as client:
        with pytest.raises(HTTPRequestError, match=f"GET {url} failed at attempt 1: .*WRONG_VERSION_NUMBER"):
            await client.get(url)


async def test_a_handshake_that_stalls_ends_in_time_and_its_connection_with_it() -> None:
    opened = closed = 0

    async def silent(stream: ByteStream) -> None:
        nonlocal opened, closed
        opened += 1
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await stream.receive()
        closed += 1

    policy = RetryPolicy(max_retries=1, backoff_factor=0.001, total_timeout=5)
    async with listening(silent) as url, AsyncHTTPClient(policy, timeout=0.1) as client:
        with anyio.fail_after(30):
            with pytest.raises(HTTPTimeoutError, match=f"GET {url} failed at attempt 2: .* took longer than 0.1 s"):
                await client.get(url)
            while closed < opened:  # before the client is; a busy machine may not come to open both
                await anyio.sleep(0.01)


async def test_a_connection_that_breaks_under_tls_is_tried_again(
    serving_context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    policy = RetryPolicy(max_retries=1, backoff_factor=0.001)
    async with serving(serving_context) as server, AsyncHTTPClient(policy, verify=trusting) as client:
        url = server.on("/", break_off(b"whole", 2, "reset"), answer(200, b"whole"))
        assert (await client.get(url)).text == "whole"


def test_cancelled_anywhere_it_leaves_nothing(
    backend: Backend, serving_context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    with serving_elsewhere(serving_context) as server:
        url = server.on("/", answer(200, b"x" * 1000))

        async def operation() -> None:
            async with AsyncHTTPClient(verify=trusting) as client:
                await client.get(url)

        assert cancel_everywhere(operation, backend=backend).points > 5
