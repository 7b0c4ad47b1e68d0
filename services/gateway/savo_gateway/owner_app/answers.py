"""Error answers to the app: those that it reads in its own form, and problem documents."""

from __future__ import annotations

from fastapi.exceptions import RequestValidationError

from savo_gateway.errors import GatewayError

__all__ = ["app_message"]

PROBLEM_STATUSES = frozenset({401, 403, 413, 429, 503, 507})
"""The app can do something about these, or shows them as they are."""


def app_message(error: GatewayError | RequestValidationError) -> str:
    """What the person reads. Raises the error itself where it is a problem document."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    if error.status in PROBLEM_STATUSES:
        raise error
    return error.detail
