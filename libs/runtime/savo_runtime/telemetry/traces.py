"""Configuration of OpenTelemetry traces, which are exported only when an endpoint is set.

OpenTelemetry's own variables apply as well: OTEL_SDK_DISABLED=true turns spans off, OTEL_TRACES_SAMPLER samples them,
and OTEL_EXPORTER_OTLP_HEADERS holds the collector's key.
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
"""Timeout of an export: an unavailable collector delays the end of a service by at most this time."""


def configure_traces(settings: RuntimeSettings, service: str) -> Callable[[], None]:
    """Set up tracing for the process; returns a function that flushes pending spans. Later calls have no effect."""
    resource = Resource.create({SERVICE_NAME: f"savo-{service}", SERVICE_NAMESPACE: "savo"})
    # Without an endpoint, spans are not recorded; only their ids appear in log lines and record headers.
    provider = TracerProvider(
        resource=resource, shutdown_on_exit=False, sampler=None if settings.otlp_endpoint else ALWAYS_OFF
    )
    if settings.otlp_endpoint:
        provider.add_span_processor(BatchSpanProcessor(_exporter(settings.otlp_endpoint)))
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(provider)
    return provider.shutdown


def _exporter(endpoint: str) -> SpanExporter:
    # Imported here, since the import takes half a second and is needed only where traces are exported.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
