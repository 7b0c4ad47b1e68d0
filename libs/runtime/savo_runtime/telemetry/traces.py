"""Traces by OpenTelemetry, with W3C trace context on HTTP and Kafka. They are sent only when an endpoint is set.

The standard's own variables hold too: OTEL_SDK_DISABLED=true makes no spans, OTEL_TRACES_SAMPLER takes a part of them, OTEL_EXPORTER_OTLP_HEADERS
carries a collector's key.
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from savo_runtime.settings import RuntimeSettings

__all__ = ["configure_traces"]

EXPORT_SECONDS = 5.0
"""A collector that is away may hold up the end of a service for so long."""


def configure_traces(settings: RuntimeSettings, service: str) -> Callable[[], None]:
    """Ids for spans from now on; returns what flushes them at the end. Once a process: a second call changes nothing."""
    resource = Resource.create({SERVICE_NAME: f"savo-{service}", SERVICE_NAMESPACE: "savo"})
    # Without an endpoint a trace is its id in the log lines and record headers, and nothing else is noted down.
    provider = TracerProvider(
        resource=resource, shutdown_on_exit=False, sampler=None if settings.otlp_endpoint else ALWAYS_OFF
    )
    if settings.otlp_endpoint:
        provider.add_span_processor(BatchSpanProcessor(_exporter(settings.otlp_endpoint)))
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(provider)
    return provider.shutdown


def _exporter(endpoint: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
        OTLPSpanExporter,
    )  # half a second of imports, where traces are sent

    return OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
