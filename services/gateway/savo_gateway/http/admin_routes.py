"""/admin: the operators' desk. The rollout service answers; the gateway checks who asks."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from savo_gateway.errors import RolloutAwayError
from savo_gateway.http.gateway import OpsCaller, TheGateway
from savo_gateway.http.problems import MEDIA_TYPE, PROBLEM_RESPONSES
from savo_gateway.rollout_mirror import RolloutMirror

__all__ = ["router"]

router = APIRouter(prefix="/admin", tags=["admin"], responses=PROBLEM_RESPONSES)


@router.get("/rollout", summary="The arms' evidence and share")
async def show_rollout(gateway: TheGateway, _caller: OpsCaller) -> dict[str, Any]:
    try:
        return await gateway.rollout.show()
    except RolloutAwayError as away:
        return _last_heard(gateway.rollout_mirror, away)


@router.put("/rollout", summary="Set, pause, resume, roll back")
async def change_rollout(order: dict[str, Any], gateway: TheGateway, caller: OpsCaller) -> Response:
    status, answer = await gateway.rollout.change({"by": caller.name, **order})
    return JSONResponse(answer, status, media_type=MEDIA_TYPE if status >= 400 else None)


def _last_heard(mirror: RolloutMirror, away: RolloutAwayError) -> dict[str, Any]:
    if mirror.last is None:
        raise away
    return {**mirror.last.model_dump(mode="json"), "source": "last rollout.changed heard; the rollout service itself does not answer", "evidence": None}
