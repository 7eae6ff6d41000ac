from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from tests.async_core._moments import cancelled_when, until
from tests.async_core._server import (
    Behaviour,
    Exchange,
    File,
    Server,
    answer,
    break_off,
    chunked,
    hang_up,
    lie,
    serving,
    serving_elsewhere,
    stall,
    trickle,
)

from sentrio.async_core.http import AsyncHTTPClient, DownloadResult, RetryPolicy, async_download, async_upload
from sentrio.errors import (
    ChecksumError,
    HTTPRequestError,
    HTTPStatusError,
    HTTPTimeoutError,
    OptionValueError,
    UnknownOptionError,
)
from sentrio.testing import Backend, cancel_everywhere

QUICK = RetryPolicy(backoff_factor=0.001)
CONTENT = bytes(range(256)) * 400  # 102,400 bytes
OLD = b"the old content"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(OLD)
    return path


def only(path: Path) -> bytes:
    """The content of a file that is alone in its folder."""
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


async def test_saves_a_file_and_says_what_it_did(tmp_path: Path) -> None:
    path = tmp_path / "new.bin"
    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/f", File(CONTENT, headers={"Content-Type": "application/x-data"}))
        result = await async_download(url, path, client)
        assert result == DownloadResult(
            path=path,
            size=len(CONTENT),
            attempts=1,
            resumed=0,
            etag='"v1"',
            content_type="application/x-data",
        )
        assert only(path) == CONTENT
        assert server.requests[0].headers["accept-encoding"] == "identity"
        assert (await async_download(url, str(path), checksum=sha256(CONTENT))).size == len(CONTENT)


async def test_keeps_mode_and_links_of_what_it_replaces(old: Path) -> None:
    old.chmod(0o640)
    link = old.parent / "link"
    link.symlink_to(old)
    async with serving() as server:
        await async_download(server.on("/f", answer(200, b"new")), link)
    assert link.is_symlink()
    assert old.read_bytes() == b"new"
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


async def test_empty_and_large_content(tmp_path: Path) -> None:
    large = os.urandom(3_000_000)
    async with serving() as server, AsyncHTTPClient() as client:
        for name, content in (("empty", b""), ("large", large)):
            path = tmp_path / name / "file"
            path.parent.mkdir()
            url = server.on(f"/{name}", answer(200, content))
            result = await async_download(url, path, client, checksum=sha256(content), chunk_size=100_000)
            assert (only(path), result.size) == (content, len(content))


async def test_follows_redirects_unless_told_not_to(old: Path) -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        server.on("/there", answer(200, b"new"))
        url = server.on("/here", answer(302, Location="/there"))
        with pytest.raises(HTTPStatusError, match="the server answered 302 Found"):
            await async_download(url, old, client, follow_redirects=False)
        assert only(old) == OLD
        await async_download(url, old, client)
        assert only(old) == b"new"


# --- Whatever happens: the old content or the new one (PEERS B3c, issue point 5)


@pytest.mark.parametrize("status", [301, 304, 404, 410, 500, 503])
async def test_an_error_status_raises_and_is_not_saved(old: Path, status: int) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        with pytest.raises(HTTPStatusError, match=f"the server answered {status}") as caught:
            await async_download(server.on("/f", answer(status)), old, client)
        assert caught.value.attempts == server.count() == (4 if status >= 500 else 1)
        assert isinstance(caught.value, httpx.HTTPStatusError)
        assert only(old) == OLD


FAULTS: dict[str, Behaviour] = {
    "stall": stall(),
    "stall in the body": break_off(CONTENT, 1000, "stall"),
    "trickle": trickle(CONTENT, gap=0.01),
    "reset": hang_up(),
    "reset in the body": break_off(CONTENT, 50_000, "reset"),
    "close in the body": break_off(CONTENT, 50_000, "close"),
    "promise more": lie(b"abc", 5),
    "no end": chunked(b"abc", finish=False),
    "part unasked": break_off(b"", 0, "go on", status=206, Content_Range="bytes 5-9/10"),
}


@pytest.mark.parametrize("name", list(FAULTS))
async def test_any_fault_ends_in_time_with_the_old_file(old: Path, name: str) -> None:
    policy = RetryPolicy(max_retries=1, backoff_factor=0.001)
    takes_all_time = name.startswith(("stall", "trickle"))
    timeout = 0.4 if takes_all_time else 60
    async with serving() as server, AsyncHTTPClient(policy, timeout=timeout) as client:
        server.on("/f", FAULTS[name])
        with anyio.fail_after(30):
            with pytest.raises(HTTPRequestError, match=r"GET http:.*/f\?sig=\[\.\.\.\] failed at attempt 2: \w"):
                await async_download(server.url("/f?sig=hunter2"), old, client)
        # On a busy machine a try may take all its time before it has come to the server.
        assert server.count() in ({0, 1, 2} if takes_all_time else {2})
        assert only(old) == OLD
        assert client.statistics().in_use == 0


async def test_its_total_bounds_everything(old: Path) -> None:
    policy = RetryPolicy(total_timeout=0.3)
    async with serving() as server, AsyncHTTPClient(policy) as client:
        url = server.on("/f", trickle(CONTENT, gap=0.01, size=100))
        with anyio.fail_after(30), pytest.raises(HTTPTimeoutError, match=r"its total of 0\.3 s ran out"):
            await async_download(url, old, client)
    assert only(old) == OLD


async def test_an_error_of_its_own_leaves_the_old_file(old: Path) -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        url = server.on("/f", File(CONTENT))

        def progress(received: int, total: int | None) -> None:
            raise KeyError("enough")

        with pytest.raises(KeyError):
            await async_download(url, old, client, progress=progress)
        assert only(old) == OLD
        with pytest.raises(FileNotFoundError):
            await async_download(url, old.parent / "no" / "file", client)
        with pytest.raises(IsADirectoryError):
            await async_download(url, old.parent, client)
        assert client.statistics().in_use == 0


async def test_cancelled_it_leaves_the_old_file(old: Path) -> None:
    async with serving() as server, AsyncHTTPClient() as client:
        async with cancelled_when(lambda: until(server.count)) as scope:
            await async_download(server.on("/f", break_off(CONTENT, 5000, "stall")), old, client)
        assert scope.cancelled_caught
        assert only(old) == OLD


# --- Resuming


@pytest.mark.parametrize("how", ["reset", "close", "stall"])
async def test_goes_on_where_it_stopped(old: Path, how: str) -> None:
    # A busy machine may let more tries run out of time than those in which the server stalls.
    policy, timeout = (
        (RetryPolicy(max_retries=20, backoff_factor=0.001, max_delay=0.01), 0.3) if how == "stall" else (QUICK, 30)
    )
    async with serving() as server, AsyncHTTPClient(policy, timeout=timeout) as client:
        url = server.on("/f", File(CONTENT, drops=[40_000, 30_000], how=how))
        result = await async_download(url, old, client, checksum=sha256(CONTENT))
        assert only(old) == CONTENT
        if how == "stall" and result.attempts > 3:
            return
        assert (result.attempts, result.resumed) == (3, 2)
        first, second, third = (request.headers for request in server.requests)
        assert "range" not in first
        assert (second["range"], second["if-range"]) == ("bytes=40000-", '"v1"')
        assert third["range"] == "bytes=70000-"


@pytest.mark.parametrize(
    "file",
    [
        pytest.param({"etag": None}, id="without an ETag"),
        pytest.param({"etag": 'W/"v1"'}, id="with a weak one"),
        pytest.param({"ranges": False}, id="without ranges"),
        pytest.param({"headers": {"Content-Encoding": "x-unknown"}}, id="encoded"),
    ],
)
async def test_starts_over_where_it_can_not_go_on(old: Path, file: dict[str, Any]) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/f", File(CONTENT, drops=[40_000], **file))
        result = await async_download(url, old, client)
        assert only(old) == CONTENT
        assert (result.attempts, result.resumed) == (2, 0)


async def test_starts_over_when_the_content_has_changed(old: Path) -> None:
    new = b"n" * 90_000

    def change(file: File, exchange: Exchange) -> None:
        if exchange.number == 2:
            file.content, file.etag = new, '"v2"'

    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/f", File(CONTENT, drops=[40_000], on_request=change))
        result = await async_download(url, old, client)
        assert only(old) == new
        assert (result.etag, result.resumed) == ('"v2"', 0)


async def careless(exchange: Exchange) -> None:
    """Answers a range with another version, without a look at If-Range."""
    start = int(exchange.headers.get("range", "bytes=0-").removeprefix("bytes=")[:-1])
    if exchange.number == 1:
        await break_off(CONTENT, 40_000, "close", ETag='"v1"')(exchange)
    elif start:
        body = (b"n" * 90_000)[start:]
        await exchange.answer(206, body, ETag='"v2"', Content_Range=f"bytes {start}-89999/90000")
    else:
        await exchange.answer(200, b"n" * 90_000, ETag='"v2"')


async def gone_short(exchange: Exchange) -> None:
    """The second version is shorter than what was received of the first."""
    if exchange.number == 1:
        await break_off(CONTENT, 40_000, "close", ETag='"v1"')(exchange)
    elif "range" in exchange.headers:
        await exchange.answer(416, b"", Content_Range="bytes */5")
    else:
        await exchange.answer(200, b"short", ETag='"v2"')


@pytest.mark.parametrize(
    ("behaviour", "content"),
    [
        pytest.param(lambda: careless, b"n" * 90_000, id="other ETag"),
        pytest.param(lambda: gone_short, b"short", id="416"),
        pytest.param(lambda: File(CONTENT, drops=[40_000], shift=7), CONTENT, id="other range"),
        pytest.param(lambda: File(CONTENT, drops=[40_000], total=99), CONTENT, id="other total"),
    ],
)
async def test_parts_that_do_not_belong_together_are_not_put_together(
    old: Path, behaviour: Callable[[], Behaviour], content: bytes
) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        result = await async_download(server.on("/f", behaviour()), old, client)
        assert only(old) == content
        assert (result.attempts, result.resumed) == (3, 0)


async def test_a_checksum_finds_parts_of_a_careless_server(old: Path) -> None:
    """Same ETag, other content: only the whole in one piece is right."""
    new = b"n" * len(CONTENT)

    def change(file: File, exchange: Exchange) -> None:
        if exchange.number == 2:
            file.content = new

    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/f", File(CONTENT, drops=[40_000], on_request=change))
        result = await async_download(url, old, client, checksum=sha256(new))
        assert only(old) == new
        assert result.attempts == 3


# --- Checksums, encodings, progress


async def test_a_wrong_checksum_leaves_the_old_file(old: Path) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/f", File(CONTENT))
        with pytest.raises(ChecksumError, match=r"its sha256 is [0-9a-f]{64}, expected .* was not saved") as caught:
            await async_download(url, old, client, checksum=sha256(b"else"))
        assert server.count() == 1
        assert only(old) == OLD
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own bytes
        assert (str(again), again.actual) == (str(caught.value), sha256(CONTENT)[7:])
        for algorithm in ("md5", "sha512", "blake2b"):
            digest = hashlib.new(algorithm, CONTENT).hexdigest()
            await async_download(url, old, client, checksum=f"{algorithm.upper()}: {digest.upper()}")
        assert only(old) == CONTENT


async def test_decodes_what_is_encoded_all_the_same(old: Path) -> None:
    packed = gzip.compress(CONTENT)
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/f", File(packed, headers={"Content-Encoding": "gzip"}, drops=[50]))
        result = await async_download(url, old, client, checksum=sha256(CONTENT))
        assert only(old) == CONTENT
        assert (result.size, result.resumed) == (len(CONTENT), 0)


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        (gzip.compress(CONTENT)[:-9], "the compressed content breaks off"),
        (gzip.compress(CONTENT) * 2, "has several parts, of which only the first can be read"),
        (b"no gzip at all", "DecodingError"),
    ],
    ids=["half", "twice", "none"],
)
async def test_a_compressed_content_that_httpx_reads_half_of_leaves_the_old_file(
    old: Path, packed: bytes, problem: str
) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/f", File(packed, headers={"Content-Encoding": "gzip"}))
        with pytest.raises(HTTPRequestError, match=rf"GET http://.*/f failed at attempt \d: .*{problem}"):
            await async_download(url, old, client)
        assert only(old) == OLD


async def test_tells_its_progress(old: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    async def progress(received: int, total: int | None) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append((received, total))

    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        await async_download(server.on("/f", File(CONTENT)), old, client, progress=progress)
        assert seen[-1] == (len(CONTENT), len(CONTENT))
        assert [received for received, _ in seen] == sorted({received for received, _ in seen})
        seen.clear()
        await async_download(server.on("/c", chunked(b"abc")), old, client, progress=progress)
        assert seen == [(3, None)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"checksum": "sha256"}, "checksum must be like 'sha256:9f86d0...', got 'sha256'"),
        ({"checksum": "sha255:00"}, "checksum must be like"),
        ({"checksum": "shake_128:00"}, "checksum must be like"),
        ({"checksum": "sha256:00"}, "checksum must have 64 hexadecimal digits for sha256"),
        ({"checksum": "md5:" + "x" * 32}, "checksum must have 32 hexadecimal digits for md5"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"min_bytes_per_second": -1}, "min_bytes_per_second must be"),
        ({"min_bytes_per_second": float("nan")}, "min_bytes_per_second must be"),
        ({"timeout": -1}, "timeout must be"),
    ],
)
async def test_refuses_values_out_of_range(old: Path, options: dict[str, Any], problem: str) -> None:
    async with AsyncHTTPClient() as client:
        with pytest.raises(ValueError, match=problem):
            await async_download("http://127.0.0.1:1/", old, client, **options)
    assert only(old) == OLD


async def test_names_the_nearest_option(old: Path) -> None:
    with pytest.raises(UnknownOptionError, match="async_download: unknown option 'header'; did you mean 'headers'"):
        await async_download("http://127.0.0.1:1/", old, header={})  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Server]:
    with serving_elsewhere() as server:
        yield server


@pytest.mark.parametrize("case", ["whole", "resumed", "failing"])
def test_cancelled_anywhere_it_leaves_old_or_new(backend: Backend, elsewhere: Server, old: Path, case: str) -> None:
    content = CONTENT[:30_000]

    async def operation() -> None:
        old.write_bytes(OLD)
        async with AsyncHTTPClient(QUICK) as client:
            if case == "failing":
                with pytest.raises(HTTPStatusError):
                    await async_download(elsewhere.on("/f", answer(404)), old, client)
            else:
                drops = [10_000] if case == "resumed" else []
                url = elsewhere.on("/f", File(content, drops=drops, how="close"))
                await async_download(url, old, client, chunk_size=8000)

    def check() -> None:
        assert only(old) in (OLD, content)

    report = cancel_everywhere(operation, backend=backend, check=check, allow_abandoned=True)
    assert report.points > 8


async def test_a_progress_that_is_no_function_is_refused_before_anything_is_sent(old: Path) -> None:
    async with serving() as server, AsyncHTTPClient(QUICK) as client:
        url = server.on("/f", File(CONTENT))
        with pytest.raises(OptionValueError, match="async_download: progress must be a function, got 3"):
            await async_download(url, old, client, progress=3)  # type: ignore[arg-type]
        with pytest.raises(OptionValueError, match="async_upload: progress must be a function, got 'x'"):
            await async_upload(url, b"x", client, progress="x")  # type: ignore[arg-type]
        assert server.count() == 0
    assert only(old) == OLD
