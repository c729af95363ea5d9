"""Data health: is every source alive and complete, and where to look in Dagster.

What belongs here: the page's parts. What does not: the limits (``freshness.py``).
"""

from datetime import datetime, timedelta
from typing import Any

from dash_app import freshness, wording
from dash_app.components import badges
from dash_app.components.frame import grid, panel, place
from dash_app.components.table import Column, numbers, table, texts, times
from dash_app.panels import Context, Page, Part
from dash_app.queries import health
from dash_app.tree import Tree, h, moment

Row = dict[str, Any]
DAYS = 30
#: Kind of data -> what counts it in ``health.days``, the asset in Dagster.
KINDS = {"bars": "ohlcv", "funding": "funding_rates", "liquidations": "liquidations"}
GOOD = {"LIVE": True, "DELAYED": None, "STALE": False, "NO DATA": False}


def _asset_link(context: Context, asset: str) -> Tree | str:
    base = (
        context.settings.dashboard.dagster_url
        or f"http://{context.settings.dagster.host}:{context.settings.dagster.port}"
    )
    return h("a", {"href": f"{base}/assets/{asset}", "target": "_blank", "rel": "noopener"}, f"{asset} ↗")


def _stages(context: Context) -> Tree:
    snap, now = context.snap, context.now
    tables_ = (
        ("market_metrics", snap.market),
        ("volatility_features", snap.volatility),
        ("liquidation_features", snap.liquidation),
        ("funding_features", snap.funding),
        ("regimes", snap.regimes),
        ("correlation_features", snap.correlation),
    )
    rows = []
    for name, found in tables_:
        newest = max((row["ts"] for row in found.values()), default=None)
        oldest = min((row["ts"] for row in found.values()), default=None)
        stage = freshness.judge(name, newest, now)
        rows.append(
            {
                "stage": name,
                "newest": newest,
                "behind": sum(1 for row in found.values() if newest and row["ts"] < newest),
                "n": len(found),
                "state": stage.state,
                "limit": stage.limit,
                "oldest": oldest,
            }
        )
    columns = [
        Column("Stage", lambda row: h("b", None, row["stage"])),
        Column("State", lambda row: badges.state(row["state"], GOOD[row["state"]]), lambda row: row["state"]),
        Column("Age", lambda row: moment(row["newest"], "age"), lambda row: row["newest"], number=True),
        Column("Limit", lambda row: wording.duration(row["limit"]), number=True),
        times(f"Newest ({context.zone_name})", "newest", "dh"),
        numbers("Symbols", "n", wording.count),
        Column(
            "Behind",
            lambda row: f"{row['behind']} behind" if row["behind"] else "none",
            lambda row: row["behind"],
            number=True,
        ),
        Column("Dagster", lambda row: _asset_link(context, row["stage"])),
    ]
    return table("stages", "Stages", columns, rows, empty="")


def _days(context: Context) -> dict[str, dict[datetime, Row]]:
    end = context.window[1]
    rows = context.once(
        "days", lambda: health.days(context.reader, context.settings.symbols, end - timedelta(days=DAYS), end)
    )
    found: dict[str, dict[datetime, Row]] = {}
    for row in rows:
        found.setdefault(row["symbol"], {})[row["day"]] = row
    return found


def _strip(days: dict[datetime, Row], kind: str, end: datetime, symbol: str) -> Tree:
    """Days by how many of their hours are held: all, most, some, none, no rows yet. Like days are one piece."""
    last = (end - timedelta(microseconds=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    pieces: list[tuple[str, str, list[datetime]]] = []
    missing = 0
    for back in range(DAYS - 1, -1, -1):
        day = last - timedelta(days=back)
        row = days.get(day)
        expected = 24 if back else max(1, round((end - last) / timedelta(hours=1)))
        if row is None:
            grade, word = "g0", "no rows"
        else:
            share = min(1.0, float(row[kind]) / max(expected if back != DAYS - 1 else row["hours"], 1))
            gap = max(0, round((1 - share) * expected))
            missing += gap
            grade = f"g{4 if share > 0.995 else 3 if share >= 0.9 else 2 if share > 0.01 else 1}"
            word = f"{gap} h missing" if gap else "complete"
        if pieces and pieces[-1][:2] == (grade, word):
            pieces[-1][2].append(day)
        else:
            pieces.append((grade, word, [day]))
    cells = [
        h("i", {"class": grade, "style": {"flex-grow": str(len(run))}, "title": f"{_span(run)}: {word}"})
        for grade, word, run in pieces
    ]
    label = f"{wording.base(symbol)} {kind}: {missing} hours missing in {DAYS} days"
    return h("div", {"class": "strip", "role": "img", "aria-label": label, "style": {"--days": str(DAYS)}}, *cells)


def _span(days: list[datetime]) -> str:
    return f"{days[0]:%d %b}" if len(days) == 1 else f"{days[0]:%d %b} to {days[-1]:%d %b}, each"


def _symbols(context: Context) -> Tree:
    end, days, now = context.window[1], _days(context), context.now
    rows = []
    for symbol in context.settings.symbols:
        market, funding, liquidation = (
            found.get(symbol) for found in (context.snap.market, context.snap.funding, context.snap.liquidation)
        )
        for kind, asset in KINDS.items():
            if kind == "bars":
                stage = freshness.judge(kind, market["ts"] if market and market["close"] is not None else None, now)
                venue = market["ohlcv_venue"] if market else None
            elif kind == "funding":
                stage = freshness.judge(
                    kind,
                    funding["settle_ts"] if funding else None,
                    now,
                    freshness.funding_limit(funding["interval_h"] if funding else None),
                )
                venue = funding["venue"] if funding else None
            else:
                covered = liquidation is not None and bool(liquidation["coverage"])
                stage = freshness.judge(kind, liquidation["ts"] if liquidation and covered else None, now)
                venue = f"{liquidation['n_venues']} venues" if liquidation else None
            rows.append(
                {"symbol": symbol, "kind": kind, "asset": asset, "stage": stage, "venue": venue, "newest": stage.newest}
            )
    columns = [
        Column("Symbol", lambda row: h("b", None, wording.base(row["symbol"])), lambda row: row["symbol"]),
        texts("Data", "kind"),
        Column(
            "State",
            lambda row: badges.state(row["stage"].state, GOOD[row["stage"].state]),
            lambda row: row["stage"].state,
        ),
        Column("Last", lambda row: moment(row["newest"]), lambda row: row["newest"]),
        Column(
            "Lag",
            lambda row: moment(row["newest"], "age"),
            lambda row: row["stage"].age.total_seconds() if row["stage"].age else None,
            number=True,
        ),
        Column("Limit", lambda row: wording.duration(row["stage"].limit), number=True),
        Column(
            f"Hours held, {DAYS} days", lambda row: _strip(days.get(row["symbol"], {}), row["kind"], end, row["symbol"])
        ),
        Column("Venue", lambda row: row["venue"] or "–"),
        Column("Dagster", lambda row: _asset_link(context, row["asset"])),
    ]
    return table(
        "health",
        "Every symbol and kind of data",
        columns,
        rows,
        empty="No symbol is configured.",
        row_key=lambda row: f"{row['symbol']}-{row['kind']}",
        tools=True,
    )


def _sources(context: Context) -> Tree:
    columns = [
        texts("Data", "kind"),
        Column("Venue", lambda row: h("b", None, row["venue"])),
        Column("Symbol", lambda row: wording.base(row["symbol"]), lambda row: row["symbol"]),
        Column(
            "State",
            lambda row: badges.state(
                row["state"],
                True
                if row["state"] == "OK"
                else None
                if row["state"] in ("NOT_AVAILABLE", "UNKNOWN_SYMBOL")
                else False,
                row["state"].replace("_", " ").lower(),
            ),
            lambda row: row["state"],
        ),
        Column("In use", lambda row: "yes" if row["in_use"] else "no"),
        times("Last answer", "last_ok_at"),
        Column("What to do", lambda row: row["message"] or "–"),
    ]
    return table(
        "sources",
        "Sources",
        columns,
        context.snap.sources,
        empty="No venue has been asked yet. The first hourly run fills this table.",
        row_key=lambda row: f"{row['kind']}-{row['venue']}-{row['symbol']}",
        tools=True,
    )


def _platform(context: Context) -> Tree:
    snap = context.snap
    months = snap.stale_months
    mode = {
        "role": "role regimes_dashboard: select only",
        "url": "own log-in ([dashboard] db_url)",
        "read_only": "read-only session of the platform's log-in",
    }
    facts = [
        badges.fact(
            "Database", badges.state("ok", snap.error is None, "answers" if snap.error is None else snap.error)
        ),
        badges.fact("Access", mode.get(snap.mode or "", "unknown")),
        badges.fact(
            "Clock",
            h(
                "span",
                None,
                moment(context.now, "full"),
                f" {context.zone_name}" + (", declared by a demo or replay" if snap.declared else ""),
            ),
        ),
        badges.fact(
            "Next hourly run",
            "follows the simulated clock" if snap.declared else moment(freshness.next_run(context.now), "hm"),
        ),
        badges.fact(
            "Months to recompute",
            ", ".join(f"{row['table_name']} {row['partition_key'][:7]}" for row in months[:6])
            + (f" and {len(months) - 6} more" if len(months) > 6 else "")
            if months
            else "none",
        ),
    ]
    return h("dl", "facts", *facts)


PARTS = (
    Part("hstages-table", _stages, ("market", "volatility", "liquidation", "funding", "regimes", "correlation")),
    Part("hplatform-facts", _platform, ("sources",)),
    Part("hsymbols-table", _symbols, ("market", "liquidation", "funding"), ("symbol",)),
    Part("hsources-table", _sources, ("sources",)),
)


def layout() -> Any:
    """Stages and platform side by side, then every symbol, then the venues."""
    return grid(
        "page",
        panel("hstages", "Stages", place(PARTS[0], 7), hint="newest hour over all symbols", area="twothirds"),
        panel("hplatform", "Platform", place(PARTS[1], 5), area="third"),
        panel("hsymbols", "Symbols", place(PARTS[2], 9), hint="cells: one day each"),
        panel("hsources", "Venues", place(PARTS[3], 6), hint="known but silent venues are named with their reason"),
    )


PAGE = Page("/health", PARTS, layout)
