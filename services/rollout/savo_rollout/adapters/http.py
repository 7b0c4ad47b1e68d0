"""GET and PUT /rollout: a thin skin over the use cases. The gateway proxies to it and checks who asks."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from savo_rollout.control import Command
from savo_rollout.errors import IncompleteError, NeedsForceError, NotPossibleError, UnknownModelError
from savo_rollout.rollout import Rollout

__all__ = ["rollout_app"]


def rollout_app(rollout: Rollout) -> Starlette:
    async def show(_request: Request) -> Response:
        return await _report(rollout)

    async def command(request: Request) -> Response:
        try:
            await rollout.obey(Command.model_validate_json(await request.body()))
        except ValidationError as flaws:
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-command", _sentence(flaws))
        except IncompleteError as flaw:
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-command", str(flaw))
        except UnknownModelError as flaw:
            return _problem(HTTPStatus.NOT_FOUND, "model-unknown", str(flaw))
        except NeedsForceError as refusal:
            return _problem(HTTPStatus.CONFLICT, "model-refused", str(refusal))
        except NotPossibleError as refusal:
            return _problem(HTTPStatus.CONFLICT, "not-possible", str(refusal))
        return await _report(rollout)

    return Starlette(routes=[Route("/rollout", show, methods=["GET"]), Route("/rollout", command, methods=["PUT"])])


async def _report(rollout: Rollout) -> Response:
    return Response((await rollout.report()).model_dump_json(), media_type="application/json")


def _problem(status: HTTPStatus, code: str, detail: str) -> JSONResponse:
    """RFC 9457."""
    body = {"type": f"urn:savo:problem:{code}", "title": status.phrase, "status": int(status), "code": code, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


def _sentence(flaws: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, flaw['loc'])) or 'body'}: {flaw['msg']}" for flaw in flaws.errors())
