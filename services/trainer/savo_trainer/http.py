"""Runs to look at and to cancel, for `savo runs` and the demo: GET /runs, GET /runs/{id}, POST /runs/{id}/cancel.

An inner port, as every service but the gateway has one: what may reach it outside loopback is the network's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from savo_trainer.errors import RunEndedError
from savo_trainer.ports import RunLedger
from savo_trainer.runs import Run, State

__all__ = ["problem", "runs_app", "sentence"]

NEWEST = 50
JSON = "application/json"


class Cancellation(BaseModel):
    """Body of POST /runs/{id}/cancel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field(min_length=1, max_length=500, description="Why, for the audit log.")
    by: str = Field(min_length=1, max_length=120, description="Who, for the audit log.")


def runs_app(ledger: RunLedger, finished: Callable[[Run], None] = lambda _: None) -> Starlette:
    """`finished` is told of a run that ended here, because it had not begun."""

    async def list_runs(_: Request) -> JSONResponse:
        return JSONResponse({"runs": [_shown(run) for run in await ledger.newest(NEWEST)]})

    async def show_run(request: Request) -> JSONResponse:
        run = await ledger.get(request.path_params["run_id"])
        if run is None:
            return _unknown(request)
        history = [transition.model_dump(mode="json") for transition in await ledger.history(run.id)]
        return JSONResponse(_shown(run) | {"history": history})

    async def cancel_run(request: Request) -> JSONResponse:
        """202 while it is being cancelled, 200 once it is. Asked twice, the answer is the same."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != JSON:  # no web page sends that to another's port unasked
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-json", f"the body is {JSON}: reason and by")
        try:
            asked = Cancellation.model_validate_json(await request.body())
        except ValidationError as flaws:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-cancellation", sentence(flaws))
        before = await ledger.get(request.path_params["run_id"])
        try:
            run = await ledger.cancel(request.path_params["run_id"], asked.by, asked.reason)
        except RunEndedError as ended:
            return problem(HTTPStatus.CONFLICT, "run-ended", str(ended))
        if run is None or before is None:
            return _unknown(request)
        if before.state is State.QUEUED and not run.is_open:
            finished(run)
        return JSONResponse(_shown(run), HTTPStatus.ACCEPTED if run.is_open else HTTPStatus.OK)

    return Starlette(
        routes=[Route("/runs", list_runs), Route("/runs/{run_id}", show_run), Route("/runs/{run_id}/cancel", cancel_run, methods=["POST"])],
    )


def problem(status: HTTPStatus, code: str, detail: str, **more: Any) -> JSONResponse:
    """RFC 9457."""
    body = {"type": f"urn:savo:problem:{code}", "title": status.phrase, "status": int(status), "code": code, "detail": detail} | more
    return JSONResponse(body, status, media_type="application/problem+json")


def sentence(flaws: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, flaw['loc'])) or 'body'}: {flaw['msg']}" for flaw in flaws.errors())


def _unknown(request: Request) -> JSONResponse:
    return problem(HTTPStatus.NOT_FOUND, "run-unknown", f"there is no run {request.path_params['run_id']}; `savo runs list` names those there are")


def _shown(run: Run) -> dict[str, Any]:
    return run.model_dump(mode="json")
