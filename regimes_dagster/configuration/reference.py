"""``docs/configure.md``, written from the models so that it cannot fall behind them.

What belongs here: the page's text and its tables. What does not: the meaning of a key (its model says it).
Write it with ``regimes config reference --write docs/configure.md``; a test compares.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from regimes_dagster.configuration.environment import GUIDE_VARIABLES, OTHER_VARIABLES
from regimes_dagster.settings import Settings
from regimes_dagster.vocabulary import EVENT_ALIASES, EVENT_TYPES, OPERATIONAL_EVENT_TYPES, VENUES, WEBHOOK_VARIABLES

Schema = Mapping[str, Any]

_INTRODUCTION = """# Configure

<!-- Written by `regimes config reference --write docs/configure.md`; edit the models, not this page. -->

`regimes.toml` in the working folder is read, or the file named by `REGIMES_CONFIG` (or `regimes --config FILE`).
Every key has a default, so the file may be short or absent. Relative paths refer to the file's folder.

* `regimes config show` prints the settings in force and where each comes from, secrets hidden.
* `regimes config check` reads the configuration and reports every mistake at once, with file and line.
* `regimes doctor` checks the whole installation.

## Environment

An environment variable wins over the file. Its name is `REGIMES_`, then section and key in capitals with two
underscores between levels: `REGIMES_LIQUIDATION__CASCADE_THRESHOLD_USD=750000`. Lists are comma-separated or JSON,
tables are JSON: `REGIMES_SYMBOLS=BTC/USDT,ETH/USDT`, `REGIMES_VOLATILITY__THRESHOLD_SCALE='{"SOL/USDT": 1.5}'`.
Options of ccxt keep their own spelling: `REGIMES_SOURCES__CCXT__BINANCEUS__rateLimit=150`. An empty variable counts as
unset, `none` clears an optional key that the file sets (`DB_URL=none`), and an unknown variable is an error. A `.env`
file beside `regimes.toml` is read too; real variables win over it.
"""

_WEBHOOKS = """
## Webhooks

Receivers come from the variables above, from `[[alerts.webhook]]` sections, or both. An address named twice gets
an alert once: its entries merge, and an alert is sent if one of them asks for it. An entry that names no format or
secret takes that of the other; two that differ are an error.

Addresses must be `https`. Addresses that are not public, and `http`, are possible only inside
`alerts.allow_networks`. A secret is `whsec_` followed by base64 of 24 to 64 bytes (`regimes config secret` makes
one); give two, newest first, while you replace one by the other: both signatures are sent.
"""

_BOUNDS = (
    ("exclusiveMinimum", "> {}"),
    ("minimum", ">= {}"),
    ("exclusiveMaximum", "< {}"),
    ("maximum", "<= {}"),
)
_FORMATS = {
    "date": "date",
    "path": "path",
    "password": "text, kept secret",
    "ipvanynetwork": "network",
}
_TYPES = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}
_EVENTS = {*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES}


def reference() -> str:
    """The whole page."""
    schema = Settings.model_json_schema()
    parts = [_INTRODUCTION, _variables(), "## Top level\n\n", *_table(schema, schema, ())]
    parts.extend(_sections(schema, schema, ()))
    parts.append(_names())
    parts.append(_WEBHOOKS)
    return "".join(parts).rstrip() + "\n"


def _variables() -> str:
    rows = [
        ("DB_URL", "PostgreSQL address, same as `db_url`"),
        ("DASHBOARD_DB_URL", "Address with read rights only, same as `dashboard.db_url`"),
        ("WEBHOOKS_ENABLED", "`0` records alerts and posts none, same as `alerts.enabled`"),
    ]
    for name, events in WEBHOOK_VARIABLES.items():
        what = "every event" if events is None else " and ".join(f"`{event}`" for event in events)
        rows.append((name, f"Webhook addresses for {what}, comma-separated"))
    rows += [
        (name, text) for name, text in OTHER_VARIABLES.items() if "regimes` itself" not in text and "test" not in text
    ]
    body = "".join(f"| `{name}` | {text} |\n" for name, text in rows)
    return f"\n| variable | meaning |\n|---|---|\n{body}\n"


def _sections(schema: Schema, root: Schema, path: tuple[str, ...]) -> Iterator[str]:
    for name, field in schema["properties"].items():
        plain, is_list = _plain(field, root), False
        if plain.get("type") == "array" and "properties" in _plain(plain.get("items", {}), root):
            plain, is_list = _plain(plain["items"], root), True
        elif plain.get("type") == "object" and "properties" in _plain(_values(plain), root):
            plain = _plain(_values(plain), root)
            here = (*path, name, "NAME")
            yield f"\n## [{'.'.join(here)}]\n\n{_about(plain)}\n\n"
            yield from _table(plain, root, here)
            continue
        if "properties" not in plain:
            continue
        here = (*path, name)
        heading = ".".join(here)
        yield f"\n## {f'[[{heading}]]' if is_list else f'[{heading}]'}\n\n{_about(plain)}\n\n"
        yield from _table(plain, root, here, variables=not is_list)
        if not is_list:
            yield from _sections(plain, root, here)


def _about(schema: Schema) -> str:
    text = " ".join(str(schema.get("description", "")).split())
    text = text.partition(": ")[2] if text.startswith("``[") else text
    return text[:1].upper() + text[1:]


def _table(schema: Schema, root: Schema, path: tuple[str, ...], *, variables: bool = True) -> Iterator[str]:
    columns = ["key", "type", "default", "allowed", "meaning", *(["environment"] if variables else [])]
    rows = []
    for name, field in schema["properties"].items():
        plain = _plain(field, root)
        if "properties" in plain or (path == () and plain.get("type") == "object"):
            continue
        row = [
            f"`{name}`",
            _type(plain, root),
            _default((*path, name)),
            _allowed(plain, root),
            str(field.get("description", "")),
        ]
        if variables:
            row.append(f"`{_variable((*path, name))}`" if "NAME" not in path else "as JSON")
        rows.append(row)
    if not rows:
        return
    yield f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n"


def _variable(path: tuple[str, ...]) -> str:
    for name, target in GUIDE_VARIABLES.items():
        if target == path:
            return name
    return "REGIMES_" + "__".join(part.upper() for part in path)


def _names() -> str:
    lines = ["\n## Sources\n\n", "| kind | venues |\n|---|---|\n"]
    lines += [f"| `{kind}` | {', '.join(f'`{venue}`' for venue in venues)} |\n" for kind, venues in VENUES.items()]
    lines.append(
        "\nEvery list may also name `archive` (bulk download), `files` (your own history) and `simulated` (an invented "
        "market, only by itself). A venue that is known but cannot serve a kind is reported and skipped.\n"
    )
    lines.append("\n## Events\n\n")
    lines += [f"* `{event}`\n" for event in (*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES)]
    lines += [f"\n`{alias}` may be written for `{event}`.\n" for alias, event in EVENT_ALIASES.items()]
    return "".join(lines)


def _plain(field: Schema, root: Schema) -> Schema:
    """The field without references and without ``null``."""
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        return _plain({**root["$defs"][name], **{k: v for k, v in field.items() if k == "default"}}, root)
    if "anyOf" in field:
        options = [option for option in field["anyOf"] if option.get("type") != "null"]
        if len(options) == 1:
            return (
                _plain({**field, **options[0], "anyOf": ()}, root)
                if "$ref" not in options[0]
                else _plain(options[0], root)
            )
    return field


def _values(field: Schema) -> Schema:
    inner = field.get("additionalProperties")
    return inner if isinstance(inner, Mapping) else {}


def _type(field: Schema, root: Schema) -> str:
    if "enum" in field:
        return "event" if set(field["enum"]) <= _EVENTS else "choice"
    if "const" in field:
        return "choice"
    kind = field.get("type")
    if kind == "array":
        items = field.get("items") or (field.get("prefixItems") or [{}])[0]
        inner = _type(_plain(items, root), root)
        return "list of pairs" if "prefixItems" in _plain(items, root) else f"list: {inner}"
    if kind == "object":
        return (
            "table: options as they stand"
            if field.get("additionalProperties") is True
            else "table: " + _type(_plain(_values(field), root), root)
        )
    return _FORMATS.get(str(field.get("format")), _TYPES.get(str(kind), "value"))


def _default(path: tuple[str, ...]) -> str:
    value: Any = Settings().model_dump(mode="json")
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _allowed(field: Schema, root: Schema) -> str:
    if "enum" in field:
        return "" if len(set(field["enum"])) > 8 else ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        return _allowed(_plain(field.get("items") or {}, root), root)
    if field.get("type") == "object":
        return _allowed(_plain(_values(field), root), root)
    return ", ".join(text.format(f"{field[key]:g}") for key, text in _BOUNDS if key in field)
