"""Which paths exist.

What belongs here: putting the routers together. What does not: what they answer.
"""

from fastapi import FastAPI

from dash_app.api import operations, problems
from dash_app.api.metrics import Metrics
from dash_app.reader import Reader
from dash_app.snapshot import SnapshotKeeper
from regimes_dagster.settings import Settings


def mount(app: FastAPI, settings: Settings, keeper: SnapshotKeeper, reader: Reader, metrics: Metrics) -> None:
    """Add every route of the REST interface."""
    problems.install(app)
    app.include_router(operations.router(keeper, reader, metrics))
