"""Problem responses of the HTTP APIs: errors as `application/problem+json` (RFC 9457), the same in every service."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

__all__ = ["MEDIA_TYPE", "TYPE_PREFIX", "problem", "validation_message"]

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:savo:problem:"


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    """A problem response: `code` is stable and for programs, `detail` is for the author of the request.

    `title` defaults to the phrase of the status. `extra` are additional members of the document.
    """
    title = HTTPStatus(status).phrase if title is None else title
    body = {"type": TYPE_PREFIX + code, "title": title, "status": int(status), "detail": detail, "code": code, **extra}
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def validation_message(error: ValidationError) -> str:
    """Each wrong field with its reason: `share: Input should be …; by: Field required`.

    An error without a field, such as a body that cannot be parsed, is listed under `body`.
    """
    return "; ".join(f"{'.'.join(map(str, detail['loc'])) or 'body'}: {detail['msg']}" for detail in error.errors())
