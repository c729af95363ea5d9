"""`POST /api/alerts/requests`: ask the delivery sensor for a replay, a silence or a test message.

What belongs here: the request. What does not: carrying it out: this process holds no webhook address and posts
nowhere. The database's function accepts 20 requests a minute.
"""

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from dash_app.api import contracts, problems
from dash_app.api.caching import encode
from dash_app.api.present import ERRORS
from dash_app.reader import Reader

_PROBLEM: dict[str, Any] = {
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
}


def router(reader: Reader) -> APIRouter:
    """The route."""
    routes = APIRouter(
        prefix="/api",
        tags=["actions"],
        responses={status: what for status, what in ERRORS.items() if status in (422, 503)},
    )
    more: dict[int | str, dict[str, Any]] = {
        202: {"model": contracts.ActionAccepted},
        400: {"description": "The body is no JSON", **_PROBLEM},
        403: {"description": "Read access only, or a cross-origin request", **_PROBLEM},
        429: {"description": "Too many requests; see Retry-After", **_PROBLEM},
    }

    @routes.post(
        "/alerts/requests",
        status_code=202,
        response_model=None,
        responses=more,
        summary="Ask for a replay, a silence or a test message",
    )
    async def request_action(body: contracts.ActionRequest) -> Response:
        if not reader.can_request:
            raise problems.Problem(
                403,
                "read access only",
                "this dashboard has read access only; `regimes db upgrade` as the owner makes its role",
            )
        if any(isinstance(value, str) and ("\x00" in value or len(value) > 500) for value in body.args.values()) or any(
            "\x00" in key for key in body.args
        ):
            raise problems.wrong("args", "text", "must be shorter than 500 characters, without NUL")
        made = await run_in_threadpool(reader.request_action, body.kind, body.args)
        return Response(
            encode({"id": str(made)}), 202, media_type="application/json", headers={"Cache-Control": "no-store"}
        )

    return routes
