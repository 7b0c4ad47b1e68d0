"""Size limit of request bodies other than photos, applied while they stream."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MAX_BODY_BYTES", "BodyLimit"]

MAX_BODY_BYTES = 1_000_000

PHOTO_PATHS = frozenset({"/v1/scans", "/training/upload-image", "/inventory/scan", "/api/scanning/analyze-image"})
"""These apply the limit of a photo themselves."""


class BodyLimit:
    """ASGI middleware. Raises `HTTPException` 413 where the body is read, so that the app's handlers answer it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bounded = scope["type"] == "http" and scope["path"] not in PHOTO_PATHS
        await self.app(scope, _bounded(receive) if bounded else receive, send)


def _bounded(receive: Receive) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return counted
