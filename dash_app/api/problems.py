"""Errors of the REST interface as problem documents (RFC 9457).

What belongs here: one shape for every error, naming the parameter and what is allowed; never a stack trace. What
does not: the routes.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from dash_app.reader import NotReady, RateLimited, ReadError

log = logging.getLogger("dash_app.api")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "5"


class Problem(Exception):  # noqa: N818 - named for what happened
    """An error with the status and the words that the caller gets."""

    def __init__(self, status: int, title: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.more = status, title, detail, more


def answer(status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """A problem document as a response."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers={"Cache-Control": "no-store", **(headers or {})}, media_type=MEDIA_TYPE)


def wrong(parameter: str, value: object, detail: str, allowed: list[str] | None = None) -> Problem:
    """A parameter that cannot be used: 422, naming it and what is allowed."""
    item: dict[str, Any] = {"parameter": parameter, "value": str(value)[:80], "detail": detail}
    if allowed is not None:
        item["allowed"] = allowed
    return Problem(422, "wrong parameter", f"{parameter}: {detail}", errors=[item])


def unknown_symbol(symbol: str, known: tuple[str, ...]) -> Problem:
    """A symbol or pair that the installation does not follow: 404."""
    return Problem(
        404, "unknown symbol", f"{symbol[:40]!r} is not followed here", parameter="symbol", allowed=list(known)
    )


def install(app: FastAPI) -> None:
    """Register the handlers."""

    @app.exception_handler(Problem)
    async def _problem(_request: Request, error: Problem) -> JSONResponse:
        headers = {"Retry-After": RETRY_AFTER_S} if error.status in (429, 503) else None
        return answer(error.status, error.title, error.detail, headers, **error.more)

    @app.exception_handler(RequestValidationError)
    async def _validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [_item(one) for one in error.errors()]
        first = errors[0] if errors else {"parameter": "request", "detail": "is not valid"}
        return answer(422, "wrong parameter", f"{first['parameter']}: {first['detail']}", errors=errors)

    @app.exception_handler(ReadError)
    async def _database(_request: Request, error: ReadError) -> JSONResponse:
        if isinstance(error, RateLimited):
            return answer(429, "too many requests", str(error), {"Retry-After": "60"})
        title = "not ready" if isinstance(error, NotReady) else "database away"
        detail = "the tables are not ready; run `regimes db upgrade`" if isinstance(error, NotReady) else str(error)
        return answer(503, title, detail, {"Retry-After": RETRY_AFTER_S})

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail).lower(), str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error at %s", request.url.path, exc_info=error)
        return answer(500, "internal error", "something went wrong on the server; its log has the details")


def _item(error: Any) -> dict[str, Any]:
    """One entry of a validation error: parameter, value, what is wrong, what is allowed."""
    place = [str(part) for part in error["loc"] if part not in ("query", "path", "body")]
    item: dict[str, Any] = {
        "parameter": ".".join(place) or "body",
        "value": str(error.get("input"))[:80],
        "detail": error["msg"],
    }
    allowed = (error.get("ctx") or {}).get("expected")
    if isinstance(allowed, str):
        item["allowed"] = [one.strip().strip("'") for one in allowed.replace(" or ", ",").split(",")]
    return item
