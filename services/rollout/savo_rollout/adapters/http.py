"""HTTP routes GET and PUT /rollout. Only the gateway calls them; it checks the caller's access."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from savo_rollout.errors import IncompleteError, NeedsForceError, NotPossibleError, UnknownModelError
from savo_rollout.operator_commands import Command
from savo_rollout.rollout import Rollout
from savo_runtime.http.problems import problem, validation_message

__all__ = ["rollout_app"]


def rollout_app(rollout: Rollout) -> Starlette:
    """The HTTP app. Problems: 404 model-unknown, 409 not-possible, 409 model-refused, 422 invalid-command."""

    async def show(_request: Request) -> Response:
        return await _report(rollout)

    async def command(request: Request) -> Response:
        try:
            await rollout.apply(Command.model_validate_json(await request.body()))
        except ValidationError as error:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-command", validation_message(error))
        except IncompleteError as error:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-command", str(error))
        except UnknownModelError as error:
            return problem(HTTPStatus.NOT_FOUND, "model-unknown", str(error))
        except NeedsForceError as error:
            return problem(HTTPStatus.CONFLICT, "model-refused", str(error))
        except NotPossibleError as error:
            return problem(HTTPStatus.CONFLICT, "not-possible", str(error))
        return await _report(rollout)

    return Starlette(routes=[Route("/rollout", show, methods=["GET"]), Route("/rollout", command, methods=["PUT"])])


async def _report(rollout: Rollout) -> Response:
    return Response((await rollout.report()).model_dump_json(), media_type="application/json")
