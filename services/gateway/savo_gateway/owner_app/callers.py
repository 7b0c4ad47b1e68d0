"""FastAPI dependencies of the app's routes: the caller with its address, also without a key where that is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from savo_gateway.access.callers import Mode
from savo_gateway.access.records import Person, Principal, Scope
from savo_gateway.http.dependencies import CallerAuthentication, authenticated, person_for, provided
from savo_gateway.owner_app.open_access import OPEN_ACCESS, OpenAccess, source_of
from savo_gateway.owner_app.records import Sender

__all__ = ["AppCaller", "AppScansCaller", "AppTrainingCaller"]

UNKNOWN_ADDRESS = "unknown"
ASSUMED_BYTES = 20_000_000
"""Of a body without a Content-Length."""


@dataclass(frozen=True)
class AppCaller:
    """A caller of the app's routes."""

    principal: Principal
    address: str

    def sender(self, user_id: str | None, device_id: str | None = None) -> Sender:
        """Who sends. Without a key a claimed user is ignored. Raises `ForbiddenError`."""
        person = None if self.principal.open_access else person_for(self.principal, user_id, device_id)
        return Sender(
            person=person,
            signed_in=self.principal.user_id is not None,
            open_access=self.principal.open_access,
        )

    def source(self, person: Person | None) -> str:
        """Whose live camera a frame comes from: the person's, else the address's."""
        if person:
            return f"{person.kind}:{person.reference}"
        return f"{self.principal.name}@{source_of(self.address)}"


async def _app_caller(
    request: Request,
    callers: Annotated[CallerAuthentication, provided(CallerAuthentication)],
    open_access: Annotated[OpenAccess, provided(OpenAccess)],
) -> AppCaller:
    address = request.client.host if request.client else UNKNOWN_ADDRESS
    if open_access.allowed and open_access.mode is not Mode.NONE and not _has_credentials(request.headers):
        open_access.limits.take(address, _declared_size(request.headers))
        return AppCaller(OPEN_ACCESS, address)
    return AppCaller(await authenticated(request, callers), address)


def _has_credentials(headers: Mapping[str, str]) -> bool:
    return any(headers.get(name, "").strip() for name in ("authorization", "x-api-key"))


def _declared_size(headers: Mapping[str, str]) -> int:
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdigit() else ASSUMED_BYTES


def _with(scope: Scope) -> Any:
    async def caller(caller: Annotated[AppCaller, Depends(_app_caller)]) -> AppCaller:
        caller.principal.require_scope(scope)
        return caller

    return Depends(caller)


AppScansCaller = Annotated[AppCaller, _with(Scope.SCANS)]
AppTrainingCaller = Annotated[AppCaller, _with(Scope.TRAINING)]
