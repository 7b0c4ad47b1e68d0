"""Runs to look at, for `savo runs` and the demo: GET /runs and GET /runs/{id}. Nothing can be changed here."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from savo_trainer.ports import RunLedger
from savo_trainer.runs import Run

__all__ = ["runs_app"]

NEWEST = 50


def runs_app(ledger: RunLedger) -> Starlette:
    async def list_runs(_: Request) -> JSONResponse:
        return JSONResponse({"runs": [_shown(run) for run in await ledger.newest(NEWEST)]})

    async def show_run(request: Request) -> JSONResponse:
        run = await ledger.get(request.path_params["run_id"])
        if run is None:
            problem = {"type": "about:blank", "title": "No such run", "status": 404, "code": "run-unknown", "detail": request.path_params["run_id"]}
            return JSONResponse(problem, status_code=404, media_type="application/problem+json")
        history = [transition.model_dump(mode="json") for transition in await ledger.history(run.id)]
        return JSONResponse(_shown(run) | {"history": history})

    return Starlette(routes=[Route("/runs", list_runs), Route("/runs/{run_id}", show_run)])


def _shown(run: Run) -> dict[str, Any]:
    return run.model_dump(mode="json")
