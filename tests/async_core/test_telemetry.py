from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sentrio.async_core import telemetry
from sentrio.async_core.telemetry import metric_counter, metric_histogram, span


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield provider
    provider.shutdown()


@pytest.fixture
def spans(tracing: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", provider)
    yield reader
    provider.shutdown()


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


class Boom(RuntimeError):
    pass


async def test_records_spans_as_they_nest(spans: InMemorySpanExporter) -> None:
    with span("outer", rows=3, source="a.csv", nothing=None, odd={"a": 1}) as outer:
        outer.set_attribute("later", 2.5)
        outer.set_attribute("odd_too", [1])
        outer.set_attribute("none", None)
        with span("inner"):
            await anyio.lowlevel.checkpoint()
    inner, first = spans.get_finished_spans()
    assert (inner.name, first.name) == ("inner", "outer")
    assert inner.parent is not None
    assert first.context is not None
    assert inner.parent.span_id == first.context.span_id
    assert dict(first.attributes or {}) == {
        "rows": 3,
        "source": "a.csv",
        "odd": "{'a': 1}",
        "later": 2.5,
        "odd_too": "[1]",
    }


async def test_records_the_type_of_an_error_and_not_its_text(spans: InMemorySpanExporter) -> None:
    with pytest.raises(Boom, match="hunter2"):
        with span("failing"):
            raise Boom("the password is hunter2")
    (failing,) = spans.get_finished_spans()
    assert failing.status.status_code is trace.StatusCode.ERROR
    assert dict(failing.attributes or {}) == {"error.type": "Boom"}
    assert "hunter2" not in failing.to_json()


async def test_a_cancellation_is_no_error(spans: InMemorySpanExporter) -> None:
    with anyio.move_on_after(0) as scope:
        with span("cancelled"):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    (cancelled,) = spans.get_finished_spans()
    assert cancelled.status.status_code is trace.StatusCode.UNSET
    assert dict(cancelled.attributes or {}) == {"sentrio.cancelled": True}


async def test_counts_and_measures(reader: InMemoryMetricReader) -> None:
    count = metric_counter("requests")
    count()
    count(2, {"method": "GET"})
    count(3, method="GET")
    metric_histogram("seconds")(0.25, host="h")
    seen = points(reader)
    assert {str(dict(p.attributes)): p.value for p in seen["requests"]} == {"{}": 1, "{'method': 'GET'}": 5}
    assert [p.sum for p in seen["seconds"]] == [0.25]


class Broken(SpanProcessor):
    def on_start(self, span: object, parent_context: object = None) -> None:
        raise Boom("start")

    def on_end(self, span: ReadableSpan) -> None:
        raise Boom("end")


class BrokenEnd(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise Boom("end")


@pytest.mark.parametrize("processor", [Broken(), BrokenEnd()])
async def test_a_broken_processor_changes_nothing(
    tracing: TracerProvider, processor: SpanProcessor, caplog: pytest.LogCaptureFixture
) -> None:
    tracing.add_span_processor(processor)
    telemetry._reported.clear()
    for _ in range(3):
        with span("work") as current:
            current.set_attribute("a", 1)
            result = 42
    assert result == 42
    with pytest.raises(KeyError):
        with span("work"):
            raise KeyError("its own")
    ours = [record for record in caplog.records if record.name == telemetry.__name__]
    assert [record.levelno for record in ours] == [logging.WARNING]  # said once
    assert "Boom" in ours[0].getMessage()


class BrokenProvider:
    def get_tracer(self, *args: object, **options: object) -> object:
        raise Boom

    def get_meter(self, *args: object, **options: object) -> object:
        raise Boom


async def test_broken_providers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", BrokenProvider)
    monkeypatch.setattr(metrics, "get_meter_provider", BrokenProvider)
    with span("work") as current:
        current.set_attribute("a", 1)
    metric_counter("never")(1, method="GET")
    metric_histogram("never")(1)


async def test_a_meter_that_refuses_its_arguments_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def add(self, amount: float) -> None: ...

        def get_meter(self, name: str) -> Refusing:
            return self

        def create_counter(self, name: str) -> Refusing:
            return self

    monkeypatch.setattr(metrics, "get_meter_provider", Refusing)
    metric_counter("refused")(1, priority="HIGH")  # a TypeError inside


async def test_does_nothing_without_a_provider() -> None:
    with span("work") as current:
        current.set_attribute("a", 1)
        assert not trace.get_current_span().is_recording()
    metric_counter("nobody listens")()


def test_never_imports_opentelemetry() -> None:
    program = """
import sys
from sentrio.async_core.telemetry import metric_counter, metric_histogram, span
with span("work", a=1) as current:
    current.set_attribute("b", 2)
metric_counter("c")(); metric_histogram("d")(1.0)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)
