"""The documented snippets of streams, HTTP, files and telemetry, as people type them, on every backend."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.async_core._server import Server, answer, serving

from sentrio.async_core import (
    AsyncHTTPClient,
    AsyncPipeline,
    AsyncRunner,
    AsyncStream,
    CircuitBreaker,
    CircuitState,
    RetryPolicy,
    TaskPriority,
    async_filter,
    async_map,
    async_read_file,
    async_write_file,
)
from sentrio.async_core.telemetry import span


async def test_runner_example() -> None:
    async def task() -> int:
        return 42

    runner = AsyncRunner(max_workers=10)
    async with runner:
        result = await runner.submit(task(), priority=TaskPriority.HIGH)
    assert result == 42


async def test_stream_example() -> None:
    stream = AsyncStream([1, 2, 3, 4, 5])
    result = await stream.map(lambda x: x * 2).filter(lambda x: x > 5).collect()
    assert result == [6, 8, 10]


def test_stream_example_under_bare_asyncio() -> None:
    async def process_stream() -> list[int]:
        stream = AsyncStream([1, 2, 3, 4, 5])
        return await stream.map(lambda x: x * 2).filter(lambda x: x > 5).collect()

    assert asyncio.run(process_stream()) == [6, 8, 10]


async def test_composed_transformations() -> None:
    def transform(value: int) -> int:
        return value + 1

    def predicate(value: int) -> bool:
        return value % 2 == 0

    stream = AsyncStream(range(1000))
    result = await stream.map(transform).filter(predicate).batch(100).collect()
    assert [len(batch) for batch in result] == [100] * 5
    assert result[0][:3] == [2, 4, 6]


async def test_pipeline_composition() -> None:
    data = range(50)
    pipeline = AsyncPipeline()
    pipeline.add_stage(async_map(lambda x: x * 2))
    pipeline.add_stage(async_filter(lambda x: x > 50))
    results = await pipeline.process(data)
    assert results == [x * 2 for x in range(50) if x * 2 > 50]


@pytest.fixture
async def server() -> Any:
    async with serving() as running:
        yield running


async def test_http_example(server: Server) -> None:
    url = server.on("/", answer(503), answer(200, b'{"fine": true}'))
    retry = RetryPolicy(max_retries=3, backoff_factor=0.001)
    async with AsyncHTTPClient(retry_policy=retry) as client:
        response = await client.get(url)
    assert response.json() == {"fine": True}
    assert server.count("/") == 2


async def test_http_client_without_arguments(server: Server) -> None:
    url = server.on("/data", answer(200, b"[1, 2]"))

    async def fetch_data() -> Any:
        async with AsyncHTTPClient() as client:
            response = await client.get(url)
            return response.json()

    assert await fetch_data() == [1, 2]


async def test_circuit_breaker_example(server: Server) -> None:
    url = server.on("/", answer(200, b"ok"))
    breaker = CircuitBreaker(failure_threshold=5, recovery_timeout=60.0)
    async with AsyncHTTPClient(circuit_breaker=breaker) as client:
        response = await client.get(url)
    assert response.text == "ok"
    assert breaker.state is CircuitState.CLOSED


async def test_file_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("input.txt").write_text("content\n")
    content = await async_read_file("input.txt")
    await async_write_file("output.txt", content)
    assert Path("output.txt").read_text() == "content\n"


async def test_telemetry_example() -> None:
    async def async_function() -> str:
        return "done"

    async def monitored_operation() -> str:
        with span("operation.name", operation_type="async"):
            return await async_function()

    assert await monitored_operation() == "done"
