"""Errors of an HTTP API as `application/problem+json` (RFC 9457), in the one form that every service answers with."""

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
    """A problem document: `code` is stable and for programs, `detail` is for the person who sent the request.

    `title` is the status's own phrase unless given; `extra` are members beyond those of the RFC.
    """
    title = HTTPStatus(status).phrase if title is None else title
    body = {"type": TYPE_PREFIX + code, "title": title, "status": int(status), "detail": detail, "code": code, **extra}
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def validation_message(error: ValidationError) -> str:
    """Each wrong field with its reason: `share: Input should be …; by: Field required`.

    A body that cannot be parsed has no field and is called `body`.
    """
    return "; ".join(f"{'.'.join(map(str, detail['loc'])) or 'body'}: {detail['msg']}" for detail in error.errors())
