"""HTTP middleware: the duration of each request by route template, and a span in the caller's trace."""

from __future__ import annotations

import time

import structlog
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from savo_runtime.telemetry.metrics import HTTP_DURATION
from savo_runtime.telemetry.spans import span

__all__ = ["RequestTelemetry"]

log = structlog.get_logger()

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_propagator = TraceContextTextMapPropagator()


class RequestTelemetry:
    """ASGI middleware. The duration ends with the last byte of the response, including streams."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in _METHODS else "other"
        began = time.perf_counter()
        try:
            with span(
                method,
                parent=_propagator.extract(_headers(scope)),
                kind=SpanKind.SERVER,
                attributes={"http.request.method": method},
            ) as request:
                try:
                    await self._run(scope, receive, send_and_note_status)
                finally:
                    request.update_name(f"{method} {_route(scope)}")
                    request.set_attributes({"http.route": _route(scope), "http.response.status_code": status})
        finally:
            HTTP_DURATION.labels(_route(scope), method, str(status)).observe(time.perf_counter() - began)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:
            log.exception("http.failed", method=scope["method"], route=_route(scope))
            raise


def _headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in (b"traceparent", b"tracestate")
    }


def _route(scope: Scope) -> str:
    """The route's template, not the path: ids must not become metric labels."""
    route = scope.get("route")
    if route is None or isinstance(route, Mount):
        return "unmatched"
    return str(getattr(route, "path", "unmatched"))
