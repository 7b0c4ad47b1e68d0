"""Internal HTTP API of the trainer: GET /runs, GET /runs/{id}, POST /runs/{id}/cancel, POST /models.

Like every service but the gateway, it has no authentication: the network decides who reaches it outside loopback.
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
from savo_trainer.models.registration import MissingFiles, RegisterModel, SubmittedModel
from savo_trainer.ports import RunStore
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
    run_store: RunStore, on_finished: Callable[[Run], None] = lambda _: None, register: RegisterModel | None = None
) -> Starlette:
    """The API. Without `register` it has no POST /models."""
    return Starlette(routes=[*runs_routes(run_store, on_finished), *(models_routes(register) if register else ())])


def runs_routes(run_store: RunStore, on_finished: Callable[[Run], None]) -> list[Route]:
    """Routes under /runs. `on_finished` is called with a queued run that a cancellation ended."""

    async def list_runs(_: Request) -> JSONResponse:
        return JSONResponse({"runs": [_run_json(run) for run in await run_store.newest(NEWEST)]})

    async def show_run(request: Request) -> JSONResponse:
        run = await run_store.get(request.path_params["run_id"])
        if run is None:
            return _unknown(request)
        history = [transition.model_dump(mode="json") for transition in await run_store.history(run.id)]
        return JSONResponse(_run_json(run) | {"history": history})

    async def cancel_run(request: Request) -> JSONResponse:
        """202 while it is being cancelled, 200 once it is. A second request gets the same answer."""
        cancellation = await _body(request, Cancellation)
        if isinstance(cancellation, JSONResponse):
            return cancellation
        try:
            answer = await run_store.cancel(request.path_params["run_id"], cancellation.by, cancellation.reason)
        except RunEndedError as ended:
            return problem(HTTPStatus.CONFLICT, "run-ended", str(ended))
        if answer is None:
            return _unknown(request)
        run, at_once = answer
        if at_once:
            on_finished(run)
        return JSONResponse(_run_json(run), HTTPStatus.ACCEPTED if run.is_open else HTTPStatus.OK)

    return [
        Route("/runs", list_runs),
        Route("/runs/{run_id}", show_run),
        Route("/runs/{run_id}/cancel", cancel_run, methods=["POST"]),
    ]


def models_routes(register: RegisterModel) -> list[Route]:
    async def register_model(request: Request) -> JSONResponse:
        """200 with the run and its verdict; 202 with the version and the files to upload before a second request."""
        submitted = await _body(request, SubmittedModel)
        if isinstance(submitted, JSONResponse):
            return submitted
        try:
            answer = await register(submitted)
        except ClassesUnknownError as error:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "classes-unknown", str(error))
        except ChampionMovedError as error:
            return problem(HTTPStatus.CONFLICT, "champion-moved", str(error))
        if isinstance(answer, MissingFiles):
            return JSONResponse({"version": answer.version, "wanted": list(answer.files)}, HTTPStatus.ACCEPTED)
        return JSONResponse(_run_json(answer))

    return [Route("/models", register_model, methods=["POST"])]


async def _body(request: Request, kind: type[B]) -> B | JSONResponse:
    """The parsed body, or the problem with it."""
    # A web page cannot send this media type to another origin without a preflight request.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type != JSON:
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-json", f"the body's type must be {JSON}")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-body", validation_message(error))


def _unknown(request: Request) -> JSONResponse:
    return problem(
        HTTPStatus.NOT_FOUND,
        "run-unknown",
        f"there is no run {request.path_params['run_id']}: `savo runs list` names the existing runs",
    )


def _run_json(run: Run) -> dict[str, Any]:
    return run.model_dump(mode="json")
