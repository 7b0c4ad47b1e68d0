"""Runs to look at and to cancel, models from elsewhere to register: GET /runs, GET /runs/{id}, POST /runs/{id}/cancel, POST /models.

An inner port, as every service but the gateway has one: what may reach it outside loopback is the network's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from savo_runtime.http.problems import problem, validation_message
from savo_trainer.errors import ChampionMovedError, ClassesUnknownError, RunEndedError
from savo_trainer.models.registration import Brought, Register, Wanted
from savo_trainer.ports import RunLedger
from savo_trainer.runs.run import Run

__all__ = ["models_routes", "runs_app", "runs_routes"]

NEWEST = 50
JSON = "application/json"

B = TypeVar("B", bound=BaseModel)


class Cancellation(BaseModel):
    """Body of POST /runs/{id}/cancel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field(min_length=1, max_length=500, description="Why, for the audit log.")
    by: str = Field(min_length=1, max_length=120, description="Who, for the audit log.")


def runs_app(
    ledger: RunLedger, finished: Callable[[Run], None] = lambda _: None, register: Register | None = None
) -> Starlette:
    return Starlette(routes=[*runs_routes(ledger, finished), *(models_routes(register) if register else ())])


def runs_routes(ledger: RunLedger, finished: Callable[[Run], None]) -> list[Route]:
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
        asked = await _body(request, Cancellation)
        if isinstance(asked, JSONResponse):
            return asked
        try:
            answer = await ledger.cancel(request.path_params["run_id"], asked.by, asked.reason)
        except RunEndedError as ended:
            return problem(HTTPStatus.CONFLICT, "run-ended", str(ended))
        if answer is None:
            return _unknown(request)
        run, at_once = answer
        if at_once:
            finished(run)
        return JSONResponse(_shown(run), HTTPStatus.ACCEPTED if run.is_open else HTTPStatus.OK)

    return [
        Route("/runs", list_runs),
        Route("/runs/{run_id}", show_run),
        Route("/runs/{run_id}/cancel", cancel_run, methods=["POST"]),
    ]


def models_routes(register: Register) -> list[Route]:
    async def take_model(request: Request) -> JSONResponse:
        """200 with the run that holds the verdict; 202 with the version and the files that are to be put under it before the same is sent again."""
        brought = await _body(request, Brought)
        if isinstance(brought, JSONResponse):
            return brought
        try:
            answer = await register(brought)
        except ClassesUnknownError as flaw:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "classes-unknown", str(flaw))
        except ChampionMovedError as flaw:
            return problem(HTTPStatus.CONFLICT, "champion-moved", str(flaw))
        if isinstance(answer, Wanted):
            return JSONResponse({"version": answer.version, "wanted": list(answer.files)}, HTTPStatus.ACCEPTED)
        return JSONResponse(_shown(answer))

    return [Route("/models", take_model, methods=["POST"])]


async def _body(request: Request, kind: type[B]) -> B | JSONResponse:
    """The body read, or what is wrong with it."""
    if (
        request.headers.get("content-type", "").partition(";")[0].strip() != JSON
    ):  # no web page sends that to another's port unasked
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-json", f"the body's type must be {JSON}")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as flaws:
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-body", validation_message(flaws))


def _unknown(request: Request) -> JSONResponse:
    return problem(
        HTTPStatus.NOT_FOUND,
        "run-unknown",
        f"there is no run {request.path_params['run_id']}; `savo runs list` names those there are",
    )


def _shown(run: Run) -> dict[str, Any]:
    return run.model_dump(mode="json")
