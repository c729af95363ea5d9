"""`/api/openapi.json` and `/api/docs`: the interface described, without any script from elsewhere.

What belongs here: the document (made once) and a plain page of it. What does not: descriptions of columns, which
come from ``schemas.py``.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, Response

from dash_app import static
from dash_app.api import contracts
from dash_app.api.caching import encode

ABOUT = (
    "Market regimes, liquidation cascades, funding anomalies, correlations and alerts, as stored. Rates, returns and "
    "volatilities are fractions unless the name says otherwise; money is USD; `ts` is the END of the hour, UTC; a "
    "missing value is null, never 0. Not investment advice; figures describe the venues named."
)

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>REST interface · regimes</title><link rel="icon" href="{icon}"><script src="{theme}"></script>
<link rel="stylesheet" href="{style}"></head>
<body><div class="shell"><header class="header"><div class="bar">
<a class="brand" href="/"><span class="logo" aria-hidden="true">◢</span> regimes</a>
<h1 class="label">REST interface</h1></div></header>
<main class="block"><section class="panel"><p>{about}</p>
<p class="foot">Machine-readable: <a href="/api/openapi.json"><u>/api/openapi.json</u></a> (OpenAPI 3.1).
Example: <code>curl -s localhost:8050/api/cascades?hours=24</code></p></section>
{blocks}</main></div></body></html>"""


def document(app: FastAPI, version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the routes that are mounted."""
    made = get_openapi(
        title="regimes",
        version=version,
        summary="The platform's tables over HTTP",
        description=ABOUT,
        routes=app.routes,
        openapi_version="3.1.0",
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    model = contracts.ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, one in {**model.pop("$defs", {}), "ProblemDocument": model}.items():
        schemas.setdefault(name, one)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path in made["paths"].values():
        for operation in path.values():
            kept = operation["responses"].get("422", {}).get("content", {})
            kept.pop("application/json", None)
    return made


def router(app: FastAPI, version: str) -> APIRouter:
    """The two routes; mount it last."""
    routes = APIRouter()
    made = document(app, version)
    body, page = encode(made), _page(made)

    @routes.get("/api/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-cache"})

    @routes.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={"Cache-Control": "no-cache"})

    return routes


def _page(made: dict[str, Any]) -> str:
    schemas = made["components"]["schemas"]
    operations = [
        _operation(path, method, operation) for path, one in made["paths"].items() for method, operation in one.items()
    ]
    models = [_model(name, schemas[name]) for name in sorted(schemas) if name.endswith("Row")]
    return PAGE.format(
        icon=static.url("icon.svg"),
        theme=static.url("theme.js"),
        style=static.url("style.css"),
        about=escape(ABOUT),
        blocks="".join([*operations, *models]),
    )


def _table(label: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f'<td class="wrap">{escape(cell)}</td>' for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = [_parameter(one) for one in operation.get("parameters", [])]
    table = _table(f"Parameters of {path}", ("Parameter", "Type", "Default", "Meaning"), rows) if rows else ""
    statuses = ", ".join(
        f"{status} {escape(str(one.get('description', '')))}" for status, one in operation["responses"].items()
    )
    return (
        f'<section class="panel"><div class="panel-head"><h2>{method.upper()} <code>{escape(path)}</code></h2></div>'
        f'<p>{escape(operation.get("summary", ""))}</p>{table}<p class="foot">{statuses}</p></section>'
    )


def _parameter(one: dict[str, Any]) -> tuple[str, ...]:
    schema = one["schema"]
    default = "" if schema.get("default") is None else str(schema["default"])
    return (one["name"], _type(schema), default, one.get("description") or schema.get("description") or "")


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    limits = " ".join(
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in schema
    )
    return f"{schema.get('format') or schema.get('type', 'any')} {limits}".strip()


def _model(name: str, schema: dict[str, Any]) -> str:
    rows = [
        (column, _type(one), str(one.get("x-unit", "")), str(one.get("description", "")))
        for column, one in schema.get("properties", {}).items()
    ]
    table = _table(name, ("Column", "Type", "Unit", "Meaning"), rows)
    about = escape(schema.get("description", ""))
    return f'<section class="panel"><details><summary>{escape(name)}: {about}</summary>{table}</details></section>'
