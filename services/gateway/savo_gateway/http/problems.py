"""Every error as `application/problem+json` (RFC 9457), with a stable `type` and `code`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from savo_gateway.errors import GatewayError, UnauthorizedError
from savo_gateway.http.body_limit import MAX_BODY_BYTES
from savo_runtime.errors import DependencyDownError, RetryableError
from savo_runtime.http.problems import MEDIA_TYPE, TYPE_PREFIX
from savo_runtime.http.problems import problem as problem_response
from savo_runtime.storage.port import StorageFullError

__all__ = ["MEDIA_TYPE", "PROBLEM_RESPONSES", "install", "problem"]

log = structlog.get_logger()

DEPENDENCY_RETRY_SECONDS = 5.0

_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": f"Stable: {TYPE_PREFIX} and the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong with this request, for a person."},
        "code": {"type": "string", "description": "Stable, for programs."},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"field": {"type": "string"}, "message": {"type": "string"}}},
        },
    },
}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Problem document (RFC 9457)", "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}}}
}


def install(app: FastAPI) -> None:
    """Register handlers that answer every error with a problem document."""
    app.add_exception_handler(GatewayError, _on_gateway_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(DependencyDownError, _on_dependency_down)
    app.add_exception_handler(RetryableError, _on_retryable_error)
    app.add_exception_handler(StorageFullError, _on_storage_full)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unexpected_error)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    """A problem document. `retry_after`: seconds until the client may send the request again."""
    all_headers = dict(headers or {})
    if retry_after is not None:
        all_headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return problem_response(status, code, detail, title=title, headers=all_headers, **extra)


async def _on_gateway_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, UnauthorizedError) else None
    return problem(
        error.status,
        error.code,
        error.title,
        error.detail,
        retry_after=error.retry_after,
        headers=headers,
        **error.extra,
    )


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": _field(detail), "message": str(detail["msg"]).removeprefix("Value error, ")}
        for detail in error.errors()
    ]
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return problem(
        422, "invalid-request", "A field is not valid", f"{first['field']}: {first['message']}{more}", errors=errors
    )


def _field(detail: Mapping[str, Any]) -> str:
    """The field's path, such as `items.0.bbox.x`, from FastAPI's location, which begins with `body` or `query`.

    A body that is not JSON has no fields.
    """
    names = [str(part) for part in detail["loc"] if part not in ("body", "query", "path", "header")]
    return "body" if detail["type"] == "json_invalid" else ".".join(names) or "body"


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = f"the body of this request may have at most {MAX_BODY_BYTES / 1_000_000:g} MB"
        return problem(413, "body-too-large", "The body is too large", detail, limit={"bytes": MAX_BODY_BYTES})
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "-")
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return problem(error.status_code, code, phrase, detail, headers=dict(error.headers or {}))


async def _on_dependency_down(request: Request, error: Exception) -> Response:
    assert isinstance(error, DependencyDownError)
    log.warning("http.dependency_down", path=request.url.path, dependency=error.dependency, error=str(error))
    detail = f"the {error.dependency} does not answer; nothing was lost, send the request again"
    return problem(
        503,
        "dependency-down",
        "A dependency does not answer",
        detail,
        retry_after=error.retry_after or DEPENDENCY_RETRY_SECONDS,
    )


async def _on_retryable_error(_request: Request, error: Exception) -> Response:
    return problem(503, "try-again", "Temporary failure", f"send the request again: {error}", retry_after=1)


async def _on_storage_full(request: Request, error: Exception) -> Response:
    log.error("http.storage_full", path=request.url.path, error=str(error))
    return problem(
        507,
        "storage-full",
        "The storage is full",
        f"{error}; nothing was written in part, send the request again later",
        retry_after=60,
    )


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    return problem(400, "cut-off", "The request was cut off", "the connection ended before the request did")


async def _on_unexpected_error(_request: Request, _error: Exception) -> Response:
    # `Measured` logs the exception. The answer does not reveal internals.
    return problem(500, "internal", "Something went wrong", "an internal error occurred and was logged")
