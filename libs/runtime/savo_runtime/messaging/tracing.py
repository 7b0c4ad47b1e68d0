"""W3C trace context across a record: written by whoever publishes, taken up by whoever consumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["consuming", "current_traceparent"]

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("savo_runtime.messaging")


def current_traceparent() -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def consuming(topic: str, traceparent: str | None) -> Iterator[None]:
    """A span for the work on one record, within the trace that the record came with."""
    parent = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    with _tracer.start_as_current_span(
        f"{topic} process", context=parent, kind=SpanKind.CONSUMER, attributes={"messaging.system": "kafka", "messaging.destination.name": topic}
    ):
        yield
