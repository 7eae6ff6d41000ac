"""Files behind URLs: ranges, patterns, changes and secrets, against a server on loopback."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from _web import Web, serving

import sentrio
from sentrio.testing import BACKENDS, cancel_everywhere

FRAME = pl.DataFrame({"id": range(40_000)}).with_columns(
    noise=pl.col("id").hash(7), text=pl.format("t{}", pl.col("id") % 7), odd=pl.when(pl.col("id") % 10 > 0).then(1)
)
CHECKS: list[Any] = [{"range": {"column": "id", "max": 39_998}}, {"not_null": {"column": "odd"}}]


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as found:
        yield found


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


PARQUET = written(lambda file: FRAME.write_parquet(file, row_group_size=4000))
CONTENTS = {
    "a.parquet": PARQUET,
    "a.csv": FRAME.write_csv().encode(),
    "a.csv.gz": gzip.compress(FRAME.write_csv().encode()),
    "a.ndjson": FRAME.write_ndjson().encode(),
    "a.arrow": written(FRAME.write_ipc),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_of_a_web_server(name: str, web: Web) -> None:
    web.files[name] = CONTENTS[name]
    result = sentrio.check(f"{web.url}/{name}?signature=hunter2", CHECKS)
    assert result.error is None
    assert (result.data_asset, result.report.row_count) == (f"{web.url}/{name}", 40_000)
    assert [check.failed_count for check in result.report.checks] == [1, 4000]
    assert [item.row for item in result.report.checks[0].sample] == [39_999]
    assert all("signature=hunter2" in path for _, path, _ in web.asked)


def test_only_what_is_needed_is_fetched(web: Web) -> None:
    web.files["a.parquet"] = PARQUET
    assert sentrio.check(f"{web.url}/a.parquet", [{"range": {"column": "id", "min": 0}}]).passed
    ranges = [wanted for method, _, wanted in web.asked if method == "GET"]
    assert ranges
    assert all(wanted is not None for wanted in ranges)


def test_options_go_with_a_url(web: Web) -> None:
    web.files["a"] = FRAME.write_csv(separator=";").encode()
    source = {"url": f"{web.url}/a", "format": "csv", "separator": ";", "schema": {"id": "integer"}}
    assert sentrio.check(source, CHECKS).report.row_count == 40_000
    web.files["b.csv"] = b"x\n" + b"1\n" * 20_000 + b"one\n"
    result = sentrio.check(f"{web.url}/b.csv", ["not_null"])
    assert [(item.row, item.values) for item in result.report.checks[1].sample] == [(20_000, {"x": "one"})]
    web.files["c.csv"] = b"x,y\n" + b"1,2\n" * 20_000 + b"1\n"
    assert "c.csv: line 20002 has 1 field where 2 are expected" in str(
        sentrio.check(f"{web.url}/c.csv", ["not_null"]).error
    )


@pytest.mark.parametrize("refuses", [frozenset[str](), frozenset({"HEAD"})])
def test_a_file_that_changes_meanwhile(web: Web, refuses: frozenset[str]) -> None:
    web.files["a.parquet"], web.refuses = PARQUET, refuses

    def change(progress: object) -> None:
        web.version = 2

    checkpoint = sentrio.Checkpoint("a", f"{web.url}/a.parquet", ["not_null"], morsel_rows=10_000)
    assert checkpoint.run().error is None
    import anyio

    async def run() -> Any:
        return await checkpoint.run_async(on_progress=change)

    assert "changed while it was read" in str(anyio.run(run).error)


def test_user_and_password_are_sent_and_not_shown(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    web.files["a.parquet"] = PARQUET
    result = sentrio.check(f"http://me:hun%24ter2@127.0.0.1:{web.port}/a.parquet", ["not_null"])
    assert result.error is None
    assert web.authorization[0] == "Basic bWU6aHVuJHRlcjI="
    for path, error in (("none.parquet", "404"), ("a.csv", "404")):
        url = f"http://me:hun%24ter2@127.0.0.1:{web.port}/{path}?sig=hunter3"
        result = sentrio.check(url, ["not_null"])
        assert error in str(result.error)
        assert not [secret for secret in ("hun", "sig=") if secret in str(result.to_dict()) + caplog.text]


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.ndjson", "a.arrow"])
def test_what_a_scanner_says_shows_no_secret(name: str, web: Web) -> None:
    web.files[name] = b"garbage, and no table\0" * 1000
    result = sentrio.check(f"http://me:hunter2@127.0.0.1:{web.port}/{name}?sig=hunter3", ["not_null"])
    assert result.status == "error"
    assert "hunter" not in str(result.to_dict())


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentrio.validation.sources.remote._ASK_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://u:hunter2@127.0.0.1:{silent.getsockname()[1]}/a.parquet"
        assert "no answer from the server: timed out" in str(sentrio.check(url, ["not_null"]).error)
        port = silent.getsockname()[1]
    result = sentrio.check(f"http://127.0.0.1:{port}/a.parquet", ["not_null"])
    assert "no answer from the server" in str(result.error)


@pytest.mark.chaos
@pytest.mark.usefixtures("patient")
def test_cancelled_anywhere_a_check_of_a_url_leaves_nothing(web: Web, large_counts: int) -> None:
    backends = BACKENDS if large_counts > 1 else BACKENDS[-1:]
    web.files["a.csv"] = b"x\n1\n2\n"

    def run() -> Awaitable[object]:
        return sentrio.check_async(f"{web.url}/a.csv", ["not_null"])

    # The server and the scanner keep their connections for a while.
    for backend in backends:
        assert cancel_everywhere(run, backend=backend, ignore_open_files=True).points > 3


@pytest.fixture(params=["s3", "gs", "az"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bucket(web: Web, scheme: str, monkeypatch: pytest.MonkeyPatch) -> Web:
    """A store of files by range, and of lists of them; Google's are like those of S3."""
    if scheme == "gs":
        account = {"gcs_base_url": web.url, "disable_oauth": True, "client_email": "a@example.org"}
        secrets = {"private_key": "hunter2", "private_key_id": "1"}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account | secrets))
        monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
        return web
    if scheme == "az":
        values = {"ACCOUNT_NAME": "shop", "ACCOUNT_KEY": "aHVudGVyMg==", "ENDPOINT": web.url}
        for name, value in values.items():
            monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
        monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
        return web
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    return web


def test_buckets(bucket: Web, scheme: str) -> None:
    bucket.files["shop/one.parquet"] = PARQUET
    for year in (2025, 2026):
        bucket.files[f"shop/orders/year={year}/a.parquet"] = PARQUET
    bucket.files["shop/lines/a.csv"] = bucket.files["shop/lines/b.csv"] = CONTENTS["a.csv"]
    assert [check.failed_count for check in sentrio.check(f"{scheme}://shop/one.parquet", CHECKS).report.checks] == [
        1,
        4000,
    ]
    result = sentrio.check(
        f"{scheme}://shop/orders/*/*.parquet",
        [*CHECKS, {"in_set": {"column": "year", "values": [2025, 2026]}}, {"range": {"column": "year", "max": 2025}}],
    )
    assert result.error is None
    assert result.report.row_count == 80_000
    assert [check.failed_count for check in result.report.checks] == [2, 8000, 0, 40_000]
    assert [item.row for item in result.report.checks[0].sample] == [39_999, 79_999]
    lines = sentrio.check(f"{scheme}://shop/lines/*.csv", CHECKS)
    assert (lines.error, lines.report.row_count) == (None, 80_000)
    missing = sentrio.check(f"{scheme}://shop/none.parquet", ["not_null"])
    assert missing.status == "error"
    assert any("one.parquet" in unquote(path) and wanted for _, path, wanted in bucket.asked)
    assert "hunter2" not in str(missing.to_dict())
    assert "aHVudGVyMg" not in str(missing.to_dict())


def test_a_real_imitation_of_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against moto, which is installed by the dependency group ``s3``."""
    pytest.importorskip("moto", reason="moto is a cloud of 40 packages; it has the dependency group `s3` for itself")
    boto3, moto = importlib.import_module("boto3"), importlib.import_module("moto.server")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        values = {
            "ENDPOINT_URL": f"http://{host}:{port}",
            "ACCESS_KEY_ID": "key",
            "SECRET_ACCESS_KEY": "x",
            "REGION": "us-east-1",
        }
        for name, value in {**values, "ALLOW_HTTP": "true"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
        client.create_bucket(Bucket="shop")
        for year in (2025, 2026):
            client.put_object(Bucket="shop", Key=f"orders/year={year}/a.parquet", Body=PARQUET)
        client.close()
        result = sentrio.check("s3://shop/orders/*/*.parquet", CHECKS)
        assert (result.error, result.report.row_count) == (None, 80_000)
    finally:
        server.stop()
