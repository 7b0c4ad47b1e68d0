"""How spans are made: one door, so that none can carry a secret.

An error leaves only its class on a span: its message may hold a password or somebody's words. The log line of the same trace has the message, masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

__all__ = ["span", "step"]

_tracer = trace.get_tracer("savo_runtime")


@contextmanager
def span(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, parent: Context | None = None, attributes: Mapping[str, AttributeValue] | None = None
) -> Iterator[Span]:
    """A span that what happens inside belongs to; `parent` None: the current one's child, or the first of a new trace."""
    started = _tracer.start_span(name, context=parent, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False)
    token = otel.attach(trace.set_span_in_context(started, parent))
    try:
        with _ending(started):
            yield started
    finally:
        otel.detach(token)


@contextmanager
def step(name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, AttributeValue] | None = None) -> Iterator[Span]:
    """One step of something that is traced, such as a database transaction. Outside of a trace it makes no span: polling would fill the collector."""
    if not trace.get_current_span().get_span_context().is_valid:
        yield trace.INVALID_SPAN
        return
    started = _tracer.start_span(name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False)
    with _ending(started):
        yield started


@contextmanager
def _ending(started: Span) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        started.set_attribute("error.type", type(error).__name__)
        started.set_status(StatusCode.ERROR)
        raise
    finally:
        started.end()
