"""Health routes of every service: /metrics, /livez and /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from savo_runtime.telemetry.redaction import Redaction

__all__ = ["HEALTH_PATHS", "Check", "failing_checks", "health_app"]

HEALTH_PATHS = ("/metrics", "/livez", "/readyz")
CHECK_SECONDS = 3.0

Check = Callable[[], Awaitable[None]]
"""A readiness check: raises an error with the reason while the service is not ready."""


def health_app(service: str, checks: Callable[[], Mapping[str, Check]], redaction: Redaction) -> Starlette:
    """The app of the health routes. `checks` is called for each request.

    While a check fails, /readyz answers 503 with the reason of each failed check.
    """

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def livez(_request: Request) -> Response:
        return JSONResponse({"service": service, "status": "alive"})

    async def readyz(_request: Request) -> Response:
        named = checks()
        reasons = {name: redaction.text(reason) for name, reason in (await failing_checks(named)).items()}
        answers = {name: {"ok": False, "reason": reasons[name]} if name in reasons else {"ok": True} for name in named}
        status = "not ready" if reasons else "ready"
        return JSONResponse(
            {"service": service, "status": status, "checks": answers}, status_code=503 if reasons else 200
        )

    return Starlette(routes=[Route("/metrics", metrics), Route("/livez", livez), Route("/readyz", readyz)])


async def failing_checks(checks: Mapping[str, Check]) -> dict[str, str]:
    """Name → reason of each check that fails or takes longer than three seconds."""
    reasons = await asyncio.gather(*(_reason(check) for check in checks.values()))
    return {name: reason for name, reason in zip(checks, reasons, strict=True) if reason}


async def _reason(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer in {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - any error of a check is its reason
        return str(error) or type(error).__name__
    return None
