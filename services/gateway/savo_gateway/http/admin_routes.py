"""/admin: the operators' desk. The rollout service answers; the gateway checks who asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime

from savo_contracts.audit import AuditRecorded
from savo_gateway.access.callers import ANYBODY, Person
from savo_gateway.errors import RolloutAwayError
from savo_gateway.http.dependencies import OpsCaller, TheGateway, name_of
from savo_gateway.http.problems import MEDIA_TYPE, PROBLEM_RESPONSES
from savo_gateway.rollout_mirror import RolloutMirror

__all__ = ["router"]

Week = Annotated[str, Path(pattern=r"^\d{4}-W\d{2}$", description="ISO week, such as 2026-W48.")]

_NAME_LIMIT = 120

router = APIRouter(prefix="/admin", tags=["admin"], responses=PROBLEM_RESPONSES)


@router.get("/rollout", summary="The arms' evidence and share")
async def show_rollout(gateway: TheGateway, _caller: OpsCaller) -> dict[str, Any]:
    try:
        return await gateway.rollout.show()
    except RolloutAwayError as away:
        return _last_heard(gateway.rollout_mirror, away)


@router.put("/rollout", summary="Set, pause, resume, roll back; promote a model, revert to the one before")
async def change_rollout(order: dict[str, Any], gateway: TheGateway, caller: OpsCaller) -> Response:
    status, answer = await gateway.rollout.change({**order, "by": _signed(order.get("by"), None if caller is ANYBODY else await name_of(gateway, caller))})
    return JSONResponse(answer, status, media_type=MEDIA_TYPE if status >= 400 else None)


@router.get("/audit", summary="Who did what to the product, newest first")
async def show_audit(
    gateway: TheGateway,
    _caller: OpsCaller,
    action: Annotated[str | None, Query(max_length=64, description="Only this, such as share.changed.")] = None,
    about: Annotated[str | None, Query(max_length=200, description="Only what was done to this.")] = None,
    before: Annotated[AwareDatetime | None, Query(description="Only older entries: the last one's recorded_at gives the next page.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[AuditRecorded]:
    return list(await gateway.audit_log.newest(limit, action=action, about=about, before=before))


@router.get("/subject", summary="By which subject the events name a user")
async def show_subject(gateway: TheGateway, _caller: OpsCaller, user_id: Annotated[str, Query(min_length=1, max_length=200)]) -> dict[str, str | None]:
    """Null for a user who has sent nothing, or was erased."""
    return {"subject": await gateway.scans.subject_of(Person("user", user_id))}


@router.post("/digests/{week}", summary="Claim a week's digest, before it is sent", status_code=201)
async def claim_digest(week: Week, gateway: TheGateway, _caller: OpsCaller) -> dict[str, str]:
    await gateway.digests.claim(week, gateway.clock())
    return {"week": week}


@router.delete("/digests/{week}", summary="Give the claim back: it could not be sent", status_code=204)
async def release_digest(week: Week, gateway: TheGateway, _caller: OpsCaller) -> None:
    await gateway.digests.release(week)


def _signed(told: Any, caller: str | None) -> Any:
    """Whoever an order names, it is signed with who really sent it."""
    if caller is None:
        return told or ANYBODY.name
    return f"{told[: _NAME_LIMIT - len(caller) - 3]} ({caller})" if isinstance(told, str) and told and told != caller else caller


def _last_heard(mirror: RolloutMirror, away: RolloutAwayError) -> dict[str, Any]:
    if mirror.last is None:
        raise away
    return {**mirror.last.model_dump(mode="json"), "source": "last rollout.changed heard; the rollout service itself does not answer", "evidence": None}
