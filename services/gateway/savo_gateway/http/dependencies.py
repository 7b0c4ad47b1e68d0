"""FastAPI dependencies of routes: use cases, and the authenticated caller of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from savo_gateway.access.callers import Authenticator
from savo_gateway.access.rate_limits import RateLimit
from savo_gateway.access.records import Person, Principal, Scope, person_of
from savo_gateway.errors import ScanNotFoundError
from savo_gateway.ports import ScanStore
from savo_gateway.scans.records import Scan, is_scan_id

__all__ = [
    "CallerAuthentication",
    "OpsCaller",
    "ScansCaller",
    "TrainingCaller",
    "authenticated",
    "find_visible",
    "person_for",
    "provided",
]

T = TypeVar("T")


def provided(kind: type[T]) -> Any:
    """A dependency on the object of this class that was passed to `http_app`."""

    async def find(request: Request) -> T:
        found: T = request.app.state.provided[kind]
        return found

    return Depends(find)


@dataclass(frozen=True)
class CallerAuthentication:
    """Authentication and rate limit of callers."""

    check: Authenticator
    rate_limit: RateLimit


async def authenticated(request: Request, callers: CallerAuthentication) -> Principal:
    """The caller, counted against the rate limit. Raises `UnauthorizedError` and `TooManyRequestsError`."""
    principal = await callers.check(request.headers)
    if principal.limited:
        callers.rate_limit.take(principal.name)
    return principal


async def _caller(
    request: Request, callers: Annotated[CallerAuthentication, provided(CallerAuthentication)]
) -> Principal:
    return await authenticated(request, callers)


def _with(scope: Scope) -> Any:
    async def caller(principal: Annotated[Principal, Depends(_caller)]) -> Principal:
        principal.require_scope(scope)
        return principal

    return Depends(caller)


ScansCaller = Annotated[Principal, _with(Scope.SCANS)]
TrainingCaller = Annotated[Principal, _with(Scope.TRAINING)]
OpsCaller = Annotated[Principal, _with(Scope.OPS)]


def person_for(caller: Principal, user_id: str | None, device_id: str | None = None) -> Person | None:
    """The person that a request is about. Raises `ForbiddenError`."""
    return person_of(caller.resolve_user(user_id), device_id)


async def find_visible(scans: ScanStore, caller: Principal, scan_id: str) -> Scan:
    """The scan, if the caller may see it. Raises `ScanNotFoundError`, also for another user's scan."""
    scan = await scans.find(scan_id) if is_scan_id(scan_id) else None
    if scan is None:
        raise ScanNotFoundError(scan_id)
    if caller.user_id is not None and scan.subject != await scans.subject_of(Person("user", caller.user_id)):
        raise ScanNotFoundError(scan_id)
    return scan
