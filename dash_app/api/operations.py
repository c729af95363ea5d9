"""Endpoints for machines that look after the service: liveness, readiness, metrics, and the page's question for news.

What belongs here: answers from memory, in well under a millisecond. What does not: data.
"""

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse

from dash_app.api.metrics import Metrics
from dash_app.snapshot import SnapshotKeeper


def router(keeper: SnapshotKeeper, metrics: Metrics) -> APIRouter:
    """Routes ``/healthz``, ``/readyz``, ``/metrics`` and ``/api/version``."""
    routes = APIRouter()

    @routes.get("/healthz", include_in_schema=False)
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "alive"}, headers={"Cache-Control": "no-store"})

    @routes.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        snap = keeper.current
        ready = snap.ready and snap.error is None
        stages = {
            stage.name: {"state": stage.state, "newest": stage.newest.isoformat() if stage.newest else None}
            for stage in snap.stages()
        }
        body = {"status": "ready" if ready else "not ready", "database": snap.error or "ok", "stages": stages}
        return JSONResponse(body, 200 if ready else 503, headers={"Cache-Control": "no-store"})

    @routes.get("/metrics", include_in_schema=False)
    async def prometheus() -> PlainTextResponse:
        return PlainTextResponse(
            metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8", headers={"Cache-Control": "no-store"}
        )

    @routes.get("/api/version", include_in_schema=False)
    async def version() -> JSONResponse:
        snap = keeper.current
        body = {
            "v": snap.etag(),
            "now": snap.moment().isoformat(timespec="seconds"),
            "declared": snap.declared,
            "state": snap.state(),
        }
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    return routes
