"""The HTTP of the gateway, put together."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from savo_gateway.http import admin_routes, page_routes, problems, scan_routes, training_routes
from savo_gateway.http.dependencies import Gateway
from savo_gateway.http.documents import BoundedDocuments

__all__ = ["http_app"]

TAGS = [
    {"name": "scans", "description": "Photos in, ingredients out, corrections back."},
    {"name": "training", "description": "How much there is to learn from."},
    {"name": "recipes", "description": "What to cook."},
    {"name": "users", "description": "People and what is kept of them."},
    {"name": "admin", "description": "Operators' desk."},
]

OURS_ALONE = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False)
"""`Measured` has each request's span and time; FastAPI's own would be there a second time, with what the request held."""


def http_app(gateway: Gateway) -> FastAPI:
    app = FastAPI(
        title="Savo",
        summary="What is in the kitchen",
        version=version("savo-gateway"),
        openapi_tags=TAGS,
        telemetry=OURS_ALONE,
        # FastAPI's own pages load their scripts from elsewhere; ours are in `page_routes`.
        docs_url=None,
        redoc_url=None,
    )
    app.state.gateway = gateway
    app.add_middleware(BoundedDocuments)
    problems.install(app)
    for routes in (scan_routes, training_routes, admin_routes, page_routes):
        app.include_router(routes.router)
    return app
