"""What streams, files, pools and the runner report, seen by OpenTelemetry's own in-memory exporters."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.async_core._moments import cancelled_when

from sentrio.async_core import (
    AsyncDirectoryWatcher,
    AsyncFileReader,
    AsyncFileWriter,
    AsyncPipeline,
    AsyncQueue,
    AsyncRunner,
    AsyncStream,
    ResourcePool,
    async_copy_file,
    async_map,
    async_merge,
    async_read_file,
    async_write_file,
    span,
    telemetry,
    walk_async,
)


class Seen:
    """What was exported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        self.metering = MeterProvider([self._metrics])
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: self.tracing)
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: self.metering)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._spans.get_finished_spans() if span.name == name]

    def attributes(self, name: str) -> list[dict[str, Any]]:
        return [dict(span.attributes or {}) for span in self.spans(name)]

    def sums(self) -> dict[str, float]:
        """The counters: names, with their attributes' values behind."""
        data: Any = self._metrics.get_metrics_data()
        return {
            " ".join([metric.name, *map(str, point.attributes.values())]): point.value
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    seen = Seen(monkeypatch)
    yield seen
    seen.metering.shutdown()


async def double(number: int) -> int:
    with span("inside"):
        await anyio.lowlevel.checkpoint()
    return 2 * number


def fail(number: int) -> int:
    raise LookupError("the password is hunter2")


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


# --- Streams


@pytest.mark.parametrize(
    ("run", "items"),
    [
        (lambda: AsyncStream(range(10)).map(double).filter(lambda x: x > 4).collect(), 7),
        (lambda: AsyncStream(numbers(10)).batch(4).count(), 3),
        (lambda: AsyncStream(range(10)).take(3).for_each(double), 3),
        (lambda: async_merge(numbers(4), [1, 2]).map(double, max_concurrency=2).collect(), 6),
        (lambda: AsyncPipeline(async_map(double)).process(range(5)), 5),
    ],
    ids=["collect", "count", "for_each", "merge", "process"],
)
async def test_a_pass_over_a_stream_is_one_span_with_its_items(
    run: Callable[[], Any], items: int, seen: Seen
) -> None:
    await run()
    (outer,) = seen.spans("sentrio.stream")
    assert dict(outer.attributes or {}) == {"sentrio.stream.items": items, "sentrio.stream.outcome": "finished"}
    assert seen.sums() == {"sentrio.stream.items": items, "sentrio.stream.passes finished": 1}
    # What its functions do belongs to it.
    for inner in seen.spans("inside"):
        assert inner.parent is not None
        assert outer.context is not None
        assert inner.parent.span_id == outer.context.span_id


async def test_a_loop_over_a_stream_is_a_span_that_is_nobodys_parent(seen: Seen) -> None:
    async for _ in AsyncStream(range(3)):
        with span("body"):
            pass
    async with AsyncStream(range(3)) as items:
        await anext(items)
    queue = AsyncQueue[int]()
    await queue.put(1)
    await queue.close()
    async for _ in queue:
        pass
    assert [body.parent for body in seen.spans("body")] == [None] * 3
    assert seen.attributes("sentrio.stream") == [
        {"sentrio.stream.items": 3, "sentrio.stream.outcome": "finished"},
        {"sentrio.stream.items": 1, "sentrio.stream.outcome": "left"},
        {"sentrio.stream.items": 1, "sentrio.stream.outcome": "finished"},
    ]
    assert seen.sums()["sentrio.stream.passes left"] == 1


async def test_how_a_stream_ends_is_told(seen: Seen) -> None:
    with pytest.raises(LookupError):
        await AsyncStream(range(3)).map(fail).collect()
    with pytest.raises(LookupError):
        async for _ in AsyncStream(range(3)).map(fail):
            pass
    async with cancelled_when():
        await AsyncQueue[int]().stream().collect()
    items = aiter(AsyncStream(range(3)))
    await anext(items)
    del items  # a bare loop that was left
    gc.collect()
    assert [each["sentrio.stream.outcome"] for each in seen.attributes("sentrio.stream")] == [
        "failed",
        "failed",
        "cancelled",
        "left",
    ]
    for failed in seen.spans("sentrio.stream")[:2]:
        assert failed.status.status_code is trace.StatusCode.ERROR
        assert dict(failed.attributes or {})["error.type"] == "LookupError"
        assert "hunter2" not in failed.to_json()


async def test_a_stream_that_nobody_watches_has_no_meter() -> None:
    assert not telemetry.is_active()
    assert aiter(AsyncStream([1]))._meter is None


# --- Files


async def test_reading_and_writing(seen: Seen, tmp_path: Path) -> None:
    path = tmp_path / "file"
    await async_write_file(path, "abc\n" * 1000)
    assert await async_read_file(path) == "abc\n" * 1000
    assert seen.attributes("sentrio.file.write") == [{"file.path": str(path), "file.size": 4000}]
    assert seen.attributes("sentrio.file.read") == [{"file.path": str(path), "file.size": 4000}]
    assert await AsyncStream(AsyncFileReader(path, chunk_size=300).stream_lines()).count() == 1000
    assert seen.attributes("sentrio.file.read")[1] == {"file.path": str(path), "file.size": 4000}
    async with AsyncFileReader(path, chunk_size=300).stream_bytes() as pieces:
        await anext(pieces)
    assert seen.attributes("sentrio.file.read")[2] == {"file.path": str(path), "file.size": 300}
    sums = seen.sums()
    assert (sums["sentrio.file.write.bytes"], sums["sentrio.file.read.bytes"]) == (4000, 8300)


async def write_and_fail(path: Path) -> None:
    async with AsyncFileWriter(path) as writer:
        await writer.write("text")
        raise LookupError


async def test_a_file_that_fails(seen: Seen, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await async_read_file(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        await anext(aiter(AsyncFileReader(tmp_path / "missing").stream()))
    with pytest.raises(FileNotFoundError):
        await async_write_file(tmp_path / "missing" / "file", "text")
    with pytest.raises(FileNotFoundError):
        await async_copy_file(tmp_path / "missing", tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        await anext(aiter(walk_async(tmp_path / "missing")))
    with pytest.raises(LookupError):
        await write_and_fail(tmp_path / "file")
    spans = [span for name in ("read", "write", "copy", "walk") for span in seen.spans(f"sentrio.file.{name}")]
    assert [dict(span.attributes or {})["error.type"] for span in spans] == [
        "FileNotFoundError",
        "FileNotFoundError",
        "FileNotFoundError",
        "LookupError",
        "FileNotFoundError",
        "FileNotFoundError",
    ]


async def test_forgotten_iterations_end_their_spans(seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_text("text")
    for make in (AsyncFileReader(tmp_path / "a", chunk_size=1).stream, lambda: walk_async(tmp_path)):
        items: Any = aiter(make())
        await anext(items)
        del items
    gc.collect()
    assert len(seen.spans("sentrio.file.read")) == len(seen.spans("sentrio.file.walk")) == 1


async def test_copying_walking_and_watching(seen: Seen, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"x" * 5000)
    await async_copy_file(source, copy)
    (copied,) = seen.attributes("sentrio.file.copy")
    assert copied == {"file.path": str(copy), "sentrio.file.source": str(source), "file.size": 5000}

    assert {path.name async for path in walk_async(tmp_path)} == {"source", "copy"}
    assert seen.attributes("sentrio.file.walk") == [
        {"file.path": str(tmp_path), "sentrio.file.pattern": "*", "sentrio.file.walk.files": 2}
    ]

    async with AsyncDirectoryWatcher(tmp_path, include_existing=True).watch() as changes:
        for _ in range(2):
            await anext(changes)
    sums = seen.sums()
    assert sums["sentrio.file.copy.bytes"] == 5000
    assert sums["sentrio.file.walk.files"] == 2
    assert sums["sentrio.file.watch.changes created"] == 2


# --- Runner and pool


async def test_gather_and_stream_are_the_parents_of_their_tasks(seen: Seen) -> None:
    async with AsyncRunner(2) as runner:
        assert await runner.gather([double(1), double(2)]) == [2, 4]
        async with runner.stream(double, [1, 2]) as results:
            assert sorted([result async for result in results]) == [2, 4]
        with pytest.raises(LookupError):
            await runner.gather([AsyncStream([1]).map(fail).count()])
    (gathered, failed), (streamed,) = seen.spans("sentrio.runner.gather"), seen.spans("sentrio.runner.stream")
    parents = [inner.parent and inner.parent.span_id for inner in seen.spans("inside")]
    assert parents == [outer.context and outer.context.span_id for outer in (gathered, gathered, streamed, streamed)]
    assert dict(gathered.attributes or {}) == {"tasks": 2}
    assert dict(failed.attributes or {}) == {"tasks": 1, "error.type": "LookupError"}


async def test_a_pool_counts_what_it_makes_and_cleans(seen: Seen) -> None:
    async with ResourcePool(2, object) as pool:
        async with pool.acquire(), pool.acquire():
            pass
    assert seen.sums() == {"sentrio.pool.created": 2, "sentrio.pool.cleaned": 2}


# --- Whatever is wrong with it


async def test_broken_telemetry_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Any:
        raise TypeError("the exporter is broken")

    class Halfway:
        """Has a tracer whose spans can do nothing."""

        def get_tracer(self, *args: object) -> Halfway:
            return self

        def start_span(self, *args: object, **options: object) -> object:
            return object()

        start_as_current_span = start_span

    async def work() -> None:
        assert await AsyncStream(range(3)).map(double).collect() == [0, 2, 4]
        assert [item async for item in AsyncStream(range(3))] == [0, 1, 2]
        await async_write_file(tmp_path / "file", "text")
        assert await async_read_file(tmp_path / "file") == "text"
        await async_copy_file(tmp_path / "file", tmp_path / "copy")
        assert [path.name async for path in walk_async(tmp_path, "c*")] == ["copy"]
        async with AsyncRunner() as runner, ResourcePool(1, object) as pool:
            assert await runner.gather([double(1)]) == [2]
            async with pool.acquire():
                pass

    for provider in (broken, Halfway):
        monkeypatch.setattr(trace, "get_tracer_provider", provider)
        monkeypatch.setattr(metrics, "get_meter_provider", broken)
        await work()
