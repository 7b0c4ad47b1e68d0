"""/admin: what operators see and do. The rollout service answers for rollouts; the gateway checks who asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime

from savo_contracts.audit import AuditRecorded
from savo_gateway.access.records import UNAUTHENTICATED, Person, Principal
from savo_gateway.errors import RolloutUnavailableError
from savo_gateway.http.dependencies import OpsCaller, provided
from savo_gateway.http.problems import MEDIA_TYPE, PROBLEM_RESPONSES
from savo_gateway.ports import AuditLog, Digests, RolloutClient, ScanStore
from savo_gateway.rollout_mirror import RolloutMirror

__all__ = ["AdminUseCases", "router"]

Week = Annotated[str, Path(pattern=r"^\d{4}-W\d{2}$", description="ISO week, such as 2026-W48.")]

_NAME_LIMIT = 120

router = APIRouter(prefix="/admin", tags=["admin"], responses=PROBLEM_RESPONSES)


@dataclass(frozen=True, kw_only=True)
class AdminUseCases:
    """What these routes call."""

    rollout: RolloutClient
    rollout_mirror: RolloutMirror
    audit_log: AuditLog
    digests: Digests
    scans: ScanStore
    clock: Callable[[], datetime]


Admin = Annotated[AdminUseCases, provided(AdminUseCases)]


@router.get("/rollout", summary="The arms' evidence and share")
async def show_rollout(use: Admin, _caller: OpsCaller) -> dict[str, Any]:
    try:
        return await use.rollout.show()
    except RolloutUnavailableError as away:
        return _last_known(use.rollout_mirror, away)


@router.put("/rollout", summary="Set, pause, resume, roll back; promote a model, revert to the one before")
async def change_rollout(command: dict[str, Any], use: Admin, caller: OpsCaller) -> Response:
    by = _author(command.get("by"), None if caller is UNAUTHENTICATED else await _name_of(caller, use))
    status, answer = await use.rollout.change({**command, "by": by})
    return JSONResponse(answer, status, media_type=MEDIA_TYPE if status >= 400 else None)


@router.get("/audit", summary="Who did what to the product, newest first")
async def show_audit(
    use: Admin,
    _caller: OpsCaller,
    action: Annotated[str | None, Query(max_length=64, description="Only this, such as share.changed.")] = None,
    about: Annotated[str | None, Query(max_length=200, description="Only what was done to this.")] = None,
    before: Annotated[
        AwareDatetime | None, Query(description="Only older entries: the last one's recorded_at gives the next page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[AuditRecorded]:
    return list(await use.audit_log.newest(limit, action=action, about=about, before=before))


@router.get("/subject", summary="By which subject the events name a user")
async def show_subject(
    use: Admin, _caller: OpsCaller, user_id: Annotated[str, Query(min_length=1, max_length=200)]
) -> dict[str, str | None]:
    """Null for a user who has sent nothing, or was erased."""
    return {"subject": await use.scans.subject_of(Person("user", user_id))}


@router.post("/digests/{week}", summary="Claim a week's digest, before it is sent", status_code=201)
async def claim_digest(week: Week, use: Admin, _caller: OpsCaller) -> dict[str, str]:
    await use.digests.claim(week, use.clock())
    return {"week": week}


@router.delete("/digests/{week}", summary="Give the claim back: it could not be sent", status_code=204)
async def release_digest(week: Week, use: Admin, _caller: OpsCaller) -> None:
    await use.digests.release(week)


async def _name_of(caller: Principal, use: AdminUseCases) -> str:
    """The caller as the audit log may know them: a user by their random subject only."""
    if caller.user_id is None:
        return caller.name
    return f"subject:{await use.scans.subject_for(Person('user', caller.user_id), use.clock())}"


def _author(name: Any, caller: str | None) -> Any:
    """The name that an command carries, with the authenticated caller's beside it."""
    if caller is None:
        return name or UNAUTHENTICATED.name
    if not isinstance(name, str) or not name or name == caller:
        return caller
    return f"{name[: _NAME_LIMIT - len(caller) - 3]} ({caller})"


def _last_known(mirror: RolloutMirror, away: RolloutUnavailableError) -> dict[str, Any]:
    if mirror.latest is None:
        raise away
    source = "last rollout.changed heard; the rollout service itself does not answer"
    return {**mirror.latest.model_dump(mode="json"), "source": source, "evidence": None}
