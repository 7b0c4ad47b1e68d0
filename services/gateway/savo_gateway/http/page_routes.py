"""Pages: the phone page, the API documentation, and the AsyncAPI document of the events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from savo_contracts.specs.asyncapi import asyncapi_document
from savo_gateway.http.dependencies import provided

__all__ = ["PageOptions", "router"]

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """Options of the phone page."""

    collects: bool
    """Confirmed photos become samples."""
    asks_consent: bool
    """Photos become samples only with the user's explicit consent."""


# Pages load files of this server only. The policy also stops injected content from loading others.
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
        "script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_PAGES, _SWAGGER = "savo_gateway.pages", "fastapi_offline"
_ASSETS: Mapping[str, tuple[str, str]] = {
    "phone.css": (_PAGES, "phone.css"),
    "phone.js": (_PAGES, "phone.js"),
    "boxes.js": (_PAGES, "boxes.js"),
    "key.js": (_PAGES, "key.js"),
    "texts.js": (_PAGES, "texts.js"),
    "swagger-ui.css": (_SWAGGER, "static/swagger-ui.css"),
    "swagger-ui-bundle.js": (_SWAGGER, "static/swagger-ui-bundle.js"),
}
"""Package and path of each file that a page loads."""

_MEDIA_TYPES = {"css": "text/css", "js": "text/javascript"}


@router.get("/", response_class=HTMLResponse)
async def phone_page(options: Annotated[PageOptions, provided(PageOptions)]) -> HTMLResponse:
    page = _asset_text(_PAGES, "index.html")
    for name, value in (("collects", options.collects), ("asks_consent", options.asks_consent)):
        page = page.replace(f"{{{name}}}", "true" if value else "false")
    return HTMLResponse(page, headers=_PAGE_HEADERS)


@router.get("/page/{name}")
async def page_asset(name: str) -> Response:
    if name not in _ASSETS:
        raise HTTPException(404)
    # `no-cache`: the browser revalidates, so that a page never runs with the scripts of an older release.
    headers = {**_PAGE_HEADERS, "Cache-Control": "no-cache"}
    return Response(_asset_text(*_ASSETS[name]), headers=headers, media_type=_MEDIA_TYPES[name.rpartition(".")[2]])


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        swagger_js_url="/page/swagger-ui-bundle.js",
        swagger_css_url="/page/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    page.headers.update(_PAGE_HEADERS)
    return page


@router.get("/asyncapi")
async def asyncapi() -> dict[str, Any]:
    return asyncapi_document()


@cache
def _asset_text(package: str, path: str) -> str:
    return files(package).joinpath(path).read_text(encoding="utf-8")
