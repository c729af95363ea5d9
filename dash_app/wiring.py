"""Dash: the layout of the shell and the callbacks that write leaf properties.

What belongs here: stores, the timer, and which callback writes which part. What does not: content. Timers write
``data`` and ``figure`` only, never component subtrees: since Dash 4.2 replacing a large subtree every second costs
ten times the script time of 4.1.
"""

import logging
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from dash_app import panels
from dash_app.components import header
from dash_app.pages import PAGES
from dash_app.panels import Context, Part
from dash_app.reader import Reader
from dash_app.snapshot import SnapshotKeeper
from dash_app.view import PAGES as TITLES
from dash_app.view import parse
from regimes_dagster.schemas import EVENT_TYPES, OPERATIONAL_EVENT_TYPES
from regimes_dagster.settings import Settings

log = logging.getLogger("dash_app.wiring")

#: Shown on every page; sees the whole view because every link carries it.
EVERYTHING = ("page", "symbol", "pair", "range", "start", "end", "event", "severity", "search", "alert", "tz", "theme")
HEADER = (
    Part("header-tabs", header.tabs, (), EVERYTHING),
    Part("header-status", header.status, (), EVERYTHING),
    Part("header-banner", header.banner, (), EVERYTHING),
)

DISCLAIMER = "Not investment advice; figures describe the venues named."


def store(part: Part) -> str:
    """Id of the store through which a part's tree reaches the browser."""
    return f"{part.id}-tree"


def shell(settings: Settings) -> Any:
    """Everything but the page's own panels."""
    skeletons = {
        path: {"title": TITLES[path], "layout": html.Div([page.layout(), *_stores(page)], className="page-body")}
        for path, page in PAGES.items()
    }
    return html.Div(
        [
            html.A("Skip to the content", href="#main", className="skip"),
            dcc.Store(id="address"),
            dcc.Store(id="version"),
            dcc.Store(id="skeletons", data=skeletons),
            dcc.Store(id="header-have", data={}),
            *[dcc.Store(id=store(part)) for part in HEADER],
            dcc.Interval(id="timer", interval=1000 * settings.dashboard.refresh_seconds),
            html.Div(id="boot", hidden=True),
            html.Header(
                [html.Div(id=part.id, className=f"island {part.id}") for part in HEADER[:2]], className="header"
            ),
            html.Div(id=HEADER[2].id, className="island"),
            html.Main(html.Div(id="page"), id="main", tabIndex=-1),
            html.Footer([html.Span(DISCLAIMER), html.A("REST interface", href="/api/docs")], className="footer"),
        ],
        className="shell",
    )


def _stores(page: panels.Page) -> list[Any]:
    trees = [dcc.Store(id=store(part)) for part in page.parts if part.kind == "tree"]
    return [dcc.Store(id=f"have-{_slug(page)}", data={}), dcc.Store(id=f"problems-{_slug(page)}"), *trees]


def _slug(page: panels.Page) -> str:
    return page.path.strip("/") or "overview"


def wire(app: Dash, settings: Settings, keeper: SnapshotKeeper, reader: Reader) -> None:
    """Register every callback."""
    events = (*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES)

    def context(address: dict[str, str] | None) -> Context:
        if not address:
            raise PreventUpdate
        snap = keeper.current
        view, notes = parse(
            address.get("path", "/"),
            address.get("search", ""),
            symbols=settings.symbols,
            pairs=snap.pairs,
            events=events,
        )
        return Context(
            view, snap, reader, settings, address.get("theme", "dark"), address.get("zone", "UTC"), tuple(notes)
        )

    def client(name: str) -> ClientsideFunction:
        return ClientsideFunction("regimes", name)

    app.clientside_callback(client("address"), Output("address", "data"), Input("boot", "id"))
    app.clientside_callback(
        client("page"),
        Output("page", "children"),
        Input("address", "data"),
        State("skeletons", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        client("poll"), Output("version", "data"), Input("timer", "n_intervals"), prevent_initial_call=True
    )
    for part in HEADER:
        app.clientside_callback(
            client("paint"), Output(part.id, "data-painted"), Input(store(part), "data"), prevent_initial_call=True
        )

    @app.callback(
        *[Output(store(part), "data") for part in HEADER],
        Input("address", "data"),
        Input("version", "data"),
        prevent_initial_call=True,
    )
    def _header(address: dict[str, str] | None, _version: str | None) -> list[Any]:
        seen = context(address)
        return [part.build(seen) for part in HEADER]

    for page in PAGES.values():
        _wire_page(app, page, context)


def _wire_page(app: Dash, page: panels.Page, context: Any) -> None:
    have = f"have-{_slug(page)}"
    outputs = [
        Output(part.id, "figure") if part.kind == "figure" else Output(store(part), "data") for part in page.parts
    ]

    @app.callback(
        *outputs,
        Output(have, "data"),
        Output(f"problems-{_slug(page)}", "data"),
        Input("address", "data"),
        Input("version", "data"),
        State(have, "data"),
    )
    def _page(address: dict[str, str] | None, _version: str | None, known: dict[str, str] | None) -> list[Any]:
        seen = context(address)
        if seen.view.page != page.path:
            raise PreventUpdate
        if not seen.snap.ready:
            return [
                *([no_update] * len(page.parts)),
                no_update,
                {part.panel: f"Waiting for the database: {seen.snap.error}." for part in page.parts},
            ]
        news = panels.update(page.parts, seen, known or {})
        drawn_from = "" if news.problems else seen.snap.etag()
        return [
            *(news.content.get(part.id, no_update) for part in page.parts),
            {**news.have, "version": drawn_from},
            news.problems,
        ]

    paint, zoom = ClientsideFunction("regimes", "paint"), ClientsideFunction("regimes", "zoom")
    for part in page.parts:
        if part.kind == "tree":
            app.clientside_callback(
                paint, Output(part.id, "data-painted"), Input(store(part), "data"), prevent_initial_call=True
            )
        elif "start" in part.sees:
            app.clientside_callback(zoom, Input(part.id, "relayoutData"), prevent_initial_call=True)
    app.clientside_callback(ClientsideFunction("regimes", "told"), Input(have, "data"), prevent_initial_call=True)
    app.clientside_callback(
        ClientsideFunction("regimes", "problems"), Input(f"problems-{_slug(page)}", "data"), prevent_initial_call=True
    )
