"""What people look at: the phone page, and the description of the events."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from savo_contracts.generated import asyncapi_document

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

# The page loads nothing from elsewhere, and nothing that slips into it could.
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@router.get("/", response_class=HTMLResponse)
async def phone_page() -> HTMLResponse:
    return HTMLResponse(_page("index.html"), headers=_PAGE_HEADERS)


@router.get("/asyncapi")
async def asyncapi() -> dict[str, Any]:
    return asyncapi_document()


@cache
def _page(name: str) -> str:
    return (files("savo_gateway.pages") / name).read_text(encoding="utf-8")
