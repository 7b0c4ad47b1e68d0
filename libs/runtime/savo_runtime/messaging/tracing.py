"""W3C trace context in record headers: the producer's span writes it, the consumer's span continues it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog
from aiokafka import ConsumerRecord
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from savo_contracts.envelope import Event, RecordHeaders
from savo_runtime.telemetry.spans import span

__all__ = ["consumer_span", "current_traceparent", "producer_span", "scan_log_context", "traceparent_of"]

_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()


def current_traceparent() -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_HEADER)


def traceparent_of(record: ConsumerRecord) -> str | None:
    """The `traceparent` header of a record, or None. Does not fail for a record that cannot be decoded."""
    found = next((value for name, value in record.headers if name == _HEADER and value), None)
    return found.decode("ascii", errors="replace") if found else None


@contextmanager
def consumer_span(
    topic: str, traceparent: str | None, *, service: str = "", partition: int = -1, offset: int = -1
) -> Iterator[None]:
    """A span for processing one record, as a child of the span in its `traceparent`."""
    with span(
        f"{topic} process",
        kind=SpanKind.CONSUMER,
        parent=_context_of(traceparent),
        attributes={
            **_destination(topic),
            "savo.service": service,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": offset,
        },
    ):
        yield


@contextmanager
def producer_span(topic: str, headers: RecordHeaders | None = None) -> Iterator[RecordHeaders]:
    """A span for sending one record; yields the headers to send, with the span's `traceparent`.

    `headers` are those of a record that was stored earlier, in the outbox: then the span belongs to their trace.
    """
    sent = dict(headers or ())
    parent = None if headers is None else _context_of(sent[_HEADER].decode()) if _HEADER in sent else Context()
    with span(f"{topic} publish", kind=SpanKind.PRODUCER, parent=parent, attributes=_destination(topic)):
        if traceparent := current_traceparent():
            sent[_HEADER] = traceparent.encode()
        yield list(sent.items())


@contextmanager
def scan_log_context(event: Event) -> Iterator[None]:
    """Adds the event's `scan_id`, where it has one, to every log line inside the block."""
    scan_id = getattr(event, "scan_id", None)
    with ExitStack() as stack:
        if scan_id:
            stack.enter_context(structlog.contextvars.bound_contextvars(scan_id=scan_id))
        yield


def _destination(topic: str) -> dict[str, str]:
    return {"messaging.system": "kafka", "messaging.destination.name": topic}


def _context_of(traceparent: str | None) -> Context | None:
    return _propagator.extract({_HEADER: traceparent}) if traceparent else None
