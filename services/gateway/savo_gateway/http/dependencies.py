"""What the routes are given: the use cases, and who is calling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from structlog.contextvars import bind_contextvars

from savo_gateway.access.callers import CheckCaller, Person, Principal, Scope, person_named
from savo_gateway.access.rate_limits import RateLimit
from savo_gateway.confirmations.submissions import KeepPhoto, SubmitReport
from savo_gateway.errors import ScanNotFoundError
from savo_gateway.figures.summaries import ShowProgress, ShowStats
from savo_gateway.photos.uploads import UploadLimits
from savo_gateway.ports import AuditLog, Digests, FigureStore, Journal, RolloutDesk, ScanStore
from savo_gateway.rollout_mirror import RolloutMirror
from savo_gateway.scans.acceptance import AcceptScan, ReadPhoto, Scan, is_scan_id
from savo_gateway.scans.completion import ConfirmScan
from savo_gateway.scans.long_polling import WaitForScan

__all__ = ["Gateway", "OpsCaller", "ScansCaller", "TheGateway", "TrainingCaller", "VisibleScan", "find_visible", "name_of", "person_for"]


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """Everything behind the HTTP, wired by `app.py`."""

    check_caller: CheckCaller
    rate_limit: RateLimit
    limits: UploadLimits
    scans: ScanStore
    accept: AcceptScan
    wait: WaitForScan
    confirm: ConfirmScan
    read_photo: ReadPhoto
    keep_photo: KeepPhoto
    submit: SubmitReport
    figures: FigureStore
    stats: ShowStats
    progress: ShowProgress
    rollout: RolloutDesk
    audit_log: AuditLog
    digests: Digests
    clock: Callable[[], datetime]
    rollout_mirror: RolloutMirror
    journal: Journal
    collects: bool
    """Confirmed photos become samples."""
    asks_consent: bool
    """Only with the user's explicit word."""


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


TheGateway = Annotated[Gateway, Depends(_gateway)]


async def _caller(request: Request, gateway: TheGateway) -> Principal:
    principal = await gateway.check_caller(request.headers)
    if principal.limited:
        gateway.rate_limit.take(principal.name)
    return principal


def _with(scope: Scope) -> Any:
    async def caller(principal: Annotated[Principal, Depends(_caller)]) -> Principal:
        principal.need(scope)
        return principal

    return Depends(caller)


ScansCaller = Annotated[Principal, _with(Scope.SCANS)]
TrainingCaller = Annotated[Principal, _with(Scope.TRAINING)]
OpsCaller = Annotated[Principal, _with(Scope.OPS)]


def person_for(caller: Principal, user_id: str | None, device_id: str | None = None) -> Person | None:
    """Whom a request is about. Raises `ForbiddenError`."""
    return person_named(caller.acting_for(user_id), device_id)


async def name_of(gateway: Gateway, caller: Principal) -> str:
    """The caller as the audit log may know them: a user by their random subject only."""
    if caller.user_id is None:
        return caller.name
    return f"subject:{await gateway.scans.subject_for(Person('user', caller.user_id), gateway.clock())}"


async def find_visible(gateway: Gateway, caller: Principal, scan_id: str) -> Scan:
    """A user sees their own scans; another's is as if it were not there. Raises `ScanNotFoundError`."""
    scan = await gateway.scans.find(scan_id) if is_scan_id(scan_id) else None
    if scan is None:
        raise ScanNotFoundError(scan_id)
    if caller.user_id is not None and scan.subject != await gateway.scans.subject_of(Person("user", caller.user_id)):
        raise ScanNotFoundError(scan_id)
    return scan


async def _visible(scan_id: str, gateway: TheGateway, caller: ScansCaller) -> Scan:
    if is_scan_id(scan_id):
        bind_contextvars(scan_id=scan_id)
    return await find_visible(gateway, caller, scan_id)


VisibleScan = Annotated[Scan, Depends(_visible)]
