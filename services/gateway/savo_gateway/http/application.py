"""The gateway's FastAPI application."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from savo_gateway.http import (
    admin_routes,
    export_routes,
    page_routes,
    problems,
    review_routes,
    scan_routes,
    training_routes,
    user_routes,
)
from savo_gateway.http.admin_routes import AdminUseCases
from savo_gateway.http.body_limit import BodyLimit
from savo_gateway.http.dependencies import CallerAuthentication
from savo_gateway.http.export_routes import ExportUseCases
from savo_gateway.http.page_routes import PageOptions
from savo_gateway.http.review_routes import ReviewUseCases
from savo_gateway.http.scan_routes import ScanUseCases
from savo_gateway.http.training_routes import TrainingUseCases
from savo_gateway.http.user_routes import UserUseCases
from savo_gateway.owner_app.first import routes as first
from savo_gateway.owner_app.first.routes import FirstGenerationUseCases
from savo_gateway.owner_app.open_access import OpenAccess
from savo_gateway.owner_app.second import routes as second
from savo_gateway.owner_app.second.routes import ScanningUseCases

__all__ = ["http_app"]

TAGS = [
    {"name": "scans", "description": "Photos in, ingredients out, corrections back."},
    {"name": "training", "description": "Training data: statistics, progress, and the app's photos and corrections."},
    {"name": "recipes", "description": "Recipes for ingredients. Planned: no route yet."},
    {"name": "users", "description": "Users: their consent to training."},
    {"name": "app", "description": "The owner's app: its own paths and forms, over the same use cases as /v1."},
    {"name": "admin", "description": "For operators: rollout, audit log, digests, review of doubtful labels."},
]

NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False)
"""`Measured` records each request's span and time; FastAPI's own would repeat that, with the request's content."""


def http_app(
    *,
    callers: CallerAuthentication,
    scans: ScanUseCases,
    training: TrainingUseCases,
    exports: ExportUseCases,
    admin: AdminUseCases,
    review: ReviewUseCases,
    users: UserUseCases,
    scanning: ScanningUseCases,
    page: PageOptions,
    first_generation: FirstGenerationUseCases,
    open_access: OpenAccess,
    trusted_proxies: str,
) -> FastAPI:
    """The application, given the use cases of each module of routes. `trusted_proxies`: addresses, by commas."""
    app = FastAPI(
        title="Savo",
        summary="What is in the kitchen",
        version=version("savo-gateway"),
        openapi_tags=TAGS,
        telemetry=NO_TELEMETRY,
        # FastAPI's documentation pages load scripts from other hosts; `page_routes` serves them from here.
        docs_url=None,
        redoc_url=None,
    )
    parts = (callers, scans, training, exports, admin, review, users, scanning, page, first_generation, open_access)
    app.state.provided = {type(part): part for part in parts}
    app.add_middleware(BodyLimit)
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=trusted_proxies)
    problems.install(app)
    own = (scan_routes, user_routes, training_routes, export_routes, admin_routes, review_routes)
    for routes in (*own, first, second, page_routes):
        app.include_router(routes.router)
    return app
