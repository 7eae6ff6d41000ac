"""No secret of a URL in any log, error or repr, whatever the application logs."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.async_core._server import Server, answer, break_off, hang_up, serving, stall

from sentrio.async_core._http_privacy import shown
from sentrio.async_core.http import (
    AsyncHTTPClient,
    PrivateURL,
    RetryPolicy,
    async_batch_requests,
    async_download,
    async_upload,
)
from sentrio.errors import HTTPRequestError, HTTPStatusError

SECRET = "hunter2"
QUICK = RetryPolicy(max_retries=1, backoff_factor=0.001)


@pytest.fixture(params=[logging.INFO, logging.DEBUG], ids=["INFO", "DEBUG"])
def log(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """Everything that an application sees that logs everything."""
    caplog.set_level(request.param)
    for name in ("httpx", "httpcore", "sentrio"):
        caplog.set_level(request.param, logger=name)
    return iter([caplog])


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def secret_url(server: Server, path: str) -> str:
    return server.url(f"{path}?token={SECRET}&page=1#{SECRET}", userinfo=f"{SECRET}:{SECRET}")


async def test_nothing_that_works_or_fails_tells_a_secret(
    log: Iterator[pytest.LogCaptureFixture], spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    told: list[str] = []
    # Only where a server stalls may a busy machine not have the time that it needs.
    patient, hasty = (AsyncHTTPClient(QUICK, False, timeout, headers={"X": SECRET}) for timeout in (60, 0.1))
    async with serving() as server, patient, hasty:
        client = patient
        told.append(repr(client))
        cookie = f"session={SECRET}"
        server.on("/ok", answer(200, b"fine", Set_Cookie=cookie))
        server.on("/signed", answer(200, b"fine"))
        server.on("/go", answer(302, Location=f"/signed?signature={SECRET}", Set_Cookie=cookie))
        server.on("/missing", answer(404))
        server.on("/busy", answer(503))
        server.on("/gone", hang_up())
        server.on("/stall", stall())
        server.on("/lost", answer(302, Location=f"http://u:{SECRET}@host:{SECRET}/"))
        server.on("/half", break_off(b"abcd", 2, "close"))

        response = await client.get(secret_url(server, "/ok"), auth=(SECRET, SECRET))
        assert server.requests[0].headers["x"] == SECRET
        assert server.requests[0].target == f"/ok?token={SECRET}&page=1"
        told += [repr(response), repr(response.url), str(response.url), repr(response.request)]
        response = await client.get(secret_url(server, "/go"))
        assert response.next_request is not None
        told += [repr(response.next_request), str(response.next_request.url)]
        response = await client.get(secret_url(server, "/go"), follow_redirects=True)
        assert response.text == "fine"
        assert httpx.URL(response.url).params["signature"] == SECRET
        told += [str(response.url), *(str(hop.url) for hop in response.history)]

        response = await client.get(secret_url(server, "/missing"))
        with pytest.raises(httpx.HTTPStatusError) as status:
            response.raise_for_status()
        told += ["".join(traceback.format_exception(status.value))]
        for path in ("/busy", "/gone", "/stall", "/half", "/lost", "/missing"):
            url = secret_url(server, path)
            client = hasty if path == "/stall" else patient
            for coroutine in (
                client.get(url),
                client.post(url, content=b"x"),
                read_all(client, url),
                async_download(url, tmp_path / "file", client),
                async_upload(url, b"abc", client),
                async_batch_requests([url, url], client=client),
            ):
                try:
                    await coroutine
                except HTTPRequestError as exc:
                    told += [repr(exc), *traceback.format_exception(exc), repr(pickle.dumps(exc))]
    (records,) = log
    told += [record.getMessage() for record in records.records] + [records.text]
    told += [span.to_json() for span in spans.get_finished_spans()]
    assert len(spans.get_finished_spans()) > 20
    assert f'{server.url("/ok")}?token=[...]&page=[...] "HTTP/1.1 200' in records.text  # httpx's own line
    leaks = [text for text in told if SECRET in text]
    assert not leaks, leaks[0]


async def read_all(client: AsyncHTTPClient, url: str) -> None:
    async with client.stream("GET", url) as response:
        await response.aread()


async def test_other_clients_log_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as server, AsyncHTTPClient() as client, httpx.AsyncClient() as other:
        url = server.on("/", answer(200, Set_Cookie="a=b"))
        await client.get(url + "?q=mine")
        await other.get(url + "?q=theirs")
    assert "HTTP Request: GET" in caplog.text
    assert f"{url}?q=theirs" in caplog.text
    assert "mine" not in caplog.text
    assert "(b'Set-Cookie', b'a=b')" in caplog.text  # the other one's


async def test_an_own_trace_hook_sees_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[tuple[str, str]] = []

    async def hook(event: str, info: dict[str, Any]) -> None:
        seen.append((event, repr(info)))

    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/", answer(200, Set_Cookie=f"a={SECRET}"))
        response = await client.get(url, extensions={"trace": hook})
        assert response.headers["set-cookie"] == f"a={SECRET}"
    assert any(SECRET in info for event, info in seen if event == "http11.receive_response_headers.complete")
    assert SECRET not in caplog.text
    assert "http11" in "".join(event for event, _ in seen)


async def test_a_token_with_a_line_break_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as server, AsyncHTTPClient() as client:
        with pytest.raises(HTTPRequestError, match="look for line breaks") as caught:
            await client.get(server.url("/"), headers={"Authorization": f"Bearer {SECRET}\n"})
        assert server.count() == 0
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        f"api.example/x?token={SECRET}",
        f"//u:{SECRET}@host/",
        f"ftp://u:{SECRET}@host/?t={SECRET}",
        f"http://u:{SECRET}@host:8a/",
        f"http://u:{SECRET}@[::1/",
        f"http://host/\n{SECRET}",
        f"http:///x?t={SECRET}",
        "",
    ],
)
async def test_a_url_that_is_none_is_refused_without_its_secrets(url: str) -> None:
    async with AsyncHTTPClient() as client:
        with pytest.raises(ValueError, match="URL") as caught:
            await client.get(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_base_url_is_as_private() -> None:
    with pytest.raises(ValueError, match="no usable URL") as caught:
        AsyncHTTPClient(base_url=f"http://u:{SECRET}@host:8a/")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    client = AsyncHTTPClient(base_url=f"http://{SECRET}:{SECRET}@host/{SECRET}?a={SECRET}", hide_paths=True)
    assert SECRET not in repr(client)


async def test_hides_paths_where_they_are_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as server, AsyncHTTPClient(QUICK, hide_paths=True) as client:
        url = server.on(f"/services/{SECRET}", answer(404), hang_up())
        told = [repr(await client.get(url))]
        with pytest.raises(HTTPRequestError, match=r"GET http://127.0.0.1:\d+/\[\.\.\.\] failed") as failed:
            await client.get(url)
        with pytest.raises(HTTPStatusError) as status:
            await read_all(client, server.on(f"/x/{SECRET}", answer(404)))
        told += ["".join(traceback.format_exception(exc.value)) for exc in (failed, status)]
    assert SECRET not in "".join([*told, caplog.text])


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://host", "http://host/"),
        ("https://host:8443/a/b", "https://host:8443/a/b"),
        ("http://u:p@host/a", "http://host/a"),
        ("http://host/?a=1&b=&c&&=d#e", "http://host/?a=[...]&b=&[...]&&=[...]"),
        ("http://[::1]:80/ä", "http://[::1]/%C3%A4"),
        ("http://münchen.example/", "http://xn--mnchen-3ya.example/"),
        ("/relative?a=b", "/relative?a=[...]"),
    ],
)
def test_shows_urls_without_secrets(url: str, text: str) -> None:
    assert shown(httpx.URL(url)) == text
    assert str(PrivateURL(url)) == text
    assert repr(PrivateURL(url)) == f"PrivateURL({text!r})"


def test_a_private_url_is_its_url_in_all_but_its_text() -> None:
    plain = httpx.URL("http://u:p@host:8080/a/b?c=d")
    private = PrivateURL(plain)
    assert private == plain
    assert private == str(plain)
    assert private == PrivateURL(plain)
    assert private != PrivateURL("http://u:q@host:8080/a/b?c=d")
    assert private != 3
    assert hash(private) == hash(plain)
    assert str(httpx.URL(private)) == str(plain)
    assert (private.username, private.password, private.params["c"]) == ("u", "p", "d")
    joined = private.join("x?e=f")
    assert joined == "http://u:p@host:8080/a/x?e=f"
    assert str(joined) == "http://host:8080/a/x?e=[...]"
    again = pickle.loads(pickle.dumps(private))  # noqa: S301  # our own bytes
    assert (again, str(again)) == (private, str(private))


async def test_redirects_cookies_and_credentials_still_work() -> None:
    async with serving() as server, AsyncHTTPClient(follow_redirects=True) as client:
        server.on("/a/start", answer(302, Location="next?step=2", Set_Cookie="c=1; Path=/a"))
        server.on("/a/next", answer(200, b"end"))
        response = await client.get(server.url("/a/start?step=1", userinfo="me:pw"))
        first, second = server.requests
        assert (second.target, second.headers["cookie"]) == ("/a/next?step=2", "c=1")
        assert first.headers["authorization"] == second.headers["authorization"]
        assert response.url.params["step"] == "2"
        # What a response says of itself may be asked for again.
        assert (await client.get(response.url)).text == "end"
        assert server.requests[-1].target == "/a/next?step=2"
        with anyio.fail_after(30):
            digest = httpx.DigestAuth("me", "pw")
            server.on("/digest", answer(401, WWW_Authenticate='Digest realm="r", nonce="n"'), answer(200))
            assert (await client.get(server.url("/digest"), auth=digest)).status_code == 200
