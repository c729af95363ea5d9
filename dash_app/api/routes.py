"""Which paths exist.

What belongs here: putting the routers together. What does not: what they answer.
"""

from fastapi import FastAPI

from dash_app.api import actions, documents, history, operations, present, problems
from dash_app.api.metrics import Metrics
from dash_app.reader import Reader
from dash_app.snapshot import SnapshotKeeper
from regimes_dagster import __version__
from regimes_dagster.settings import Settings


def mount(app: FastAPI, settings: Settings, keeper: SnapshotKeeper, reader: Reader, metrics: Metrics) -> None:
    """Add every route of the REST interface."""
    problems.install(app)
    app.include_router(present.router(settings, keeper, reader))
    app.include_router(history.router(settings, keeper, reader))
    app.include_router(actions.router(reader))
    app.include_router(documents.router(app, __version__))
    app.include_router(operations.router(keeper, metrics))
