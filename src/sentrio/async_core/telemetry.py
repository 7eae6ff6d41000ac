"""Spans, counters and histograms for OpenTelemetry, if the application uses it; otherwise nothing at all.

OpenTelemetry is never imported from here: an application that configured it has imported it already, and one
that has not should not pay for it. Whatever a tracer, a meter or an exporter does wrong is logged, once for
each kind of fault, and never changes the outcome of what is measured. Messages of exceptions are not
recorded, because they may hold what should not leave the process; their types are.
"""

from __future__ import annotations

__all__ = ("Span", "is_active", "metric_counter", "metric_histogram", "span")

import logging
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import attrs

logger = logging.getLogger("sentrio.async_core.telemetry")

_SCOPE = "sentrio"

# What OpenTelemetry accepts as the value of an attribute; anything else is sent as its text.
_PLAIN = (bool, int, float, str)

_reported: set[tuple[str, type[BaseException]]] = set()


class _Measure(Protocol):
    """What :func:`metric_counter` and :func:`metric_histogram` return."""

    def __call__(self, value: float = 1, attributes: Mapping[str, object] | None = None, **more: object) -> None: ...


def _report(doing: str, exc: Exception) -> None:
    """Log a fault of the telemetry once; a broken exporter must not fill the log as well."""
    key = (doing, type(exc))
    if key not in _reported:
        _reported.add(key)
        # Without its message and traceback: they belong to foreign code and may quote attributes.
        logger.warning("telemetry: %s failed with %s; the work goes on", doing, type(exc).__name__)


def _attributes(values: Mapping[str, object]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, _PLAIN) else str(value)
        for name, value in values.items()
        if value is not None
    }


def _tracer() -> Any:
    """Return a tracer if the application has configured tracing, else ``None``."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    # The proxy stands there as long as nobody has set a provider.
    if isinstance(provider, trace.ProxyTracerProvider):
        return None
    return _cached(provider, "tracer", lambda: provider.get_tracer(_SCOPE))


def _meter_provider() -> Any:
    """Return the meter provider if the application has configured metrics, else ``None``."""
    metrics = sys.modules.get("opentelemetry.metrics")
    if metrics is None:
        return None
    provider = metrics.get_meter_provider()
    # The API's own ones do nothing: they stand there as long as nobody has set a provider.
    return None if type(provider).__module__.startswith("opentelemetry.metrics.") else provider


def is_active() -> bool:
    """Tell whether anybody listens: whether the application has configured tracing or metrics."""
    try:
        return _tracer() is not None or _meter_provider() is not None
    except Exception as exc:  # noqa: BLE001  # a hook never changes an outcome
        _report("looking for a provider", exc)
        return False


def _instrument(kind: str, name: str) -> Any:
    """Return a counter or histogram if the application has configured metrics, else ``None``."""
    provider = _meter_provider()
    if provider is None:
        return None
    return _cached(provider, f"{kind} {name}", lambda: getattr(provider.get_meter(_SCOPE), f"create_{kind}")(name))


@attrs.define
class _Cache:
    """Instruments of the present providers: making one anew for each use costs more than using it."""

    providers: dict[str, Any] = attrs.field(factory=dict)
    made: dict[str, Any] = attrs.field(factory=dict)


_cache = _Cache()


def _cached(provider: Any, what: str, make: Callable[[], Any]) -> Any:
    if _cache.providers.get(what) is not provider:
        _cache.made[what] = make()
        _cache.providers[what] = provider
    return _cache.made[what]


class Span:
    """A span as a context manager; what it measures is never affected by it.

    A cancellation is not an error: the span ends with the attribute ``sentrio.cancelled``.
    """

    __slots__ = ("_attributes", "_manager", "_name", "_native")

    def __init__(self, name: str, attributes: Mapping[str, object]) -> None:
        self._name = name
        self._attributes = attributes
        self._manager: Any = None
        self._native: Any = None

    def set_attribute(self, name: str, value: object) -> None:
        """Add an attribute to the span; ``None`` adds nothing."""
        if self._native is not None and value is not None:
            try:
                self._native.set_attribute(name, value if isinstance(value, _PLAIN) else str(value))
            except Exception as exc:  # noqa: BLE001  # a hook never changes an outcome
                _report("setting an attribute", exc)

    def start(self) -> Self:
        """Begin, without becoming the parent of what happens meanwhile; :meth:`end` ends it.

        For what ends in another place than it began in, such as an iteration. Everything else uses ``with``.
        """
        try:
            tracer = _tracer()
            if tracer is not None:
                self._native = tracer.start_span(self._name, attributes=_attributes(self._attributes))
        except Exception as exc:  # noqa: BLE001  # a hook never changes an outcome
            _report("starting a span", exc)
        return self

    def end(self, kind: type[BaseException] | None = None) -> None:
        """End what :meth:`start` began; ending it again does nothing.

        :param kind: the type of the exception that ended it, if one did
        """
        native = self._native
        if native is None:
            return
        try:
            if kind is not None:
                self._describe(kind)
            self._native = None
            native.end()
        except Exception as exc:  # noqa: BLE001  # a hook never changes an outcome
            _report("ending a span", exc)

    def __enter__(self) -> Self:
        try:
            tracer = _tracer()
            if tracer is not None:
                manager = tracer.start_as_current_span(
                    self._name,
                    attributes=_attributes(self._attributes),
                    record_exception=False,
                    set_status_on_exception=False,
                )
                self._native = manager.__enter__()
                self._manager = manager
        except Exception as exc:  # noqa: BLE001  # a hook never changes an outcome
            _report("starting a span", exc)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._manager is None:
            return
        manager, self._manager = self._manager, None
        try:
            if kind is not None:
                self._describe(kind)
            # Told of no exception: a manager may answer true to one, which would swallow it.
            manager.__exit__(None, None, None)
        except Exception as exc:  # noqa: BLE001  # a hook never changes an outcome
            _report("ending a span", exc)

    def _describe(self, kind: type[BaseException]) -> None:
        if not issubclass(kind, Exception):
            self._native.set_attribute("sentrio.cancelled", True)
            return
        api = sys.modules["opentelemetry.trace"]
        self._native.set_attribute("error.type", kind.__qualname__)
        self._native.set_status(api.StatusCode.ERROR)


def span(name: str, /, **attributes: object) -> Span:
    """Return a context manager that records a span around its block.

    Without a configured tracer provider it does nothing.

    :param name: name of the span
    :param attributes: what to note with it; ``None`` is left out, and what OpenTelemetry does not know is
        noted as text
    """
    return Span(name, attributes)


def metric_counter(name: str) -> _Measure:
    """Return a function that adds to the counter ``name``: ``metric_counter("rows")(12, source="a.csv")``.

    Without a configured meter provider it does nothing.
    """
    return _measure("counter", "add", name)


def metric_histogram(name: str) -> _Measure:
    """Return a function that records a value in the histogram ``name``; durations are in seconds.

    Without a configured meter provider it does nothing.
    """
    return _measure("histogram", "record", name)


def _measure(kind: str, method: str, name: str) -> _Measure:
    def note(value: float = 1, attributes: Mapping[str, object] | None = None, **more: object) -> None:
        try:
            instrument = _instrument(kind, name)
            if instrument is not None:
                getattr(instrument, method)(value, _attributes({**(attributes or {}), **more}))
        except Exception as exc:  # noqa: BLE001  # a hook never changes an outcome
            _report(f"writing to a {kind}", exc)

    return note
