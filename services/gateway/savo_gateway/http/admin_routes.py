"""/admin routes for operators: rollout, audit log, subjects, digests.

The rollout service answers rollout requests. The gateway authenticates the caller.
"""

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
    """The use cases of these routes."""

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
    except RolloutUnavailableError as error:
        return _last_known(use.rollout_mirror, error)


@router.put("/rollout", summary="Set, pause, resume, roll back; promote a model, revert to the one before")
async def change_rollout(command: dict[str, Any], use: Admin, caller: OpsCaller) -> Response:
    by = _author(command.get("by"), None if caller is UNAUTHENTICATED else await _name_of(caller, use))
    status, answer = await use.rollout.change({**command, "by": by})
    return JSONResponse(answer, status, media_type=MEDIA_TYPE if status >= 400 else None)


@router.get("/audit", summary="Actions of operators and services, newest first")
async def show_audit(
    use: Admin,
    _caller: OpsCaller,
    action: Annotated[str | None, Query(max_length=64, description="Only this action, such as share.changed.")] = None,
    about: Annotated[str | None, Query(max_length=200, description="Only actions on this object.")] = None,
    before: Annotated[
        AwareDatetime | None,
        Query(description="Only older entries. For the next page, send the last entry's recorded_at."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[AuditRecorded]:
    return list(await use.audit_log.newest(limit, action=action, about=about, before=before))


@router.get("/subject", summary="The random subject that stands for a user in events")
async def show_subject(
    use: Admin, _caller: OpsCaller, user_id: Annotated[str, Query(min_length=1, max_length=200)]
) -> dict[str, str | None]:
    """Null for a user who has sent nothing or was erased."""
    return {"subject": await use.scans.subject_of(Person("user", user_id))}


@router.post("/digests/{week}", summary="Claim a week's digest before sending it", status_code=201)
async def claim_digest(week: Week, use: Admin, _caller: OpsCaller) -> dict[str, str]:
    await use.digests.claim(week, use.clock())
    return {"week": week}


@router.delete("/digests/{week}", summary="Release the claim of a digest that could not be sent", status_code=204)
async def release_digest(week: Week, use: Admin, _caller: OpsCaller) -> None:
    await use.digests.release(week)


async def _name_of(caller: Principal, use: AdminUseCases) -> str:
    """The caller's name for the audit log: of a user the random subject only."""
    if caller.user_id is None:
        return caller.name
    return f"subject:{await use.scans.subject_for(Person('user', caller.user_id), use.clock())}"


def _author(name: Any, caller: str | None) -> Any:
    """The author for the audit log: the name that a command gives, followed by the authenticated caller."""
    if caller is None:
        return name or UNAUTHENTICATED.name
    if not isinstance(name, str) or not name or name == caller:
        return caller
    return f"{name[: _NAME_LIMIT - len(caller) - 3]} ({caller})"


def _last_known(mirror: RolloutMirror, error: RolloutUnavailableError) -> dict[str, Any]:
    if mirror.latest is None:
        raise error
    source = "the newest rollout.changed event; the rollout service itself does not answer"
    return {**mirror.latest.model_dump(mode="json"), "source": source, "evidence": None}
