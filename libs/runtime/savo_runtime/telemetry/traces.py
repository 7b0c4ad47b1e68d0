"""Traces by OpenTelemetry, with W3C trace context on HTTP and Kafka. They are exported only when an endpoint is set."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from savo_runtime.settings import RuntimeSettings

__all__ = ["configure_traces"]

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"

log = structlog.get_logger()


def configure_traces(settings: RuntimeSettings, service: str) -> Callable[[], None]:
    """Ids for spans from now on; returns what flushes them at the end. Once a process: a second call changes nothing."""
    provider = TracerProvider(resource=Resource({SERVICE_NAME: f"savo-{service}"}), shutdown_on_exit=False)
    if settings.otlp_endpoint and _exporter_is_installed():
        exporter = import_module(f"{_EXPORTER}.trace_exporter").OTLPSpanExporter(f"{settings.otlp_endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(provider)
    return provider.shutdown


def _exporter_is_installed() -> bool:
    try:
        return find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        log.warning("traces.not_exported", reason="OTEL_EXPORTER_OTLP_ENDPOINT is set, but opentelemetry-exporter-otlp-proto-http is not installed")
        return False
