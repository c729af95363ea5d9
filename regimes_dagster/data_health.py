"""Is the stored data whole, new and plausible: one query and one verdict per question.

What belongs here: completeness, freshness, control totals of liquidations and the alert budget, from the tables and
a given now. What does not: contracts of single rows (``stored_rules.py``), delivery (``alerts/metrics.py``), Dagster
(``checks.py``).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pandas as pd
import sqlalchemy as sa

from regimes_dagster.partitions import Window, utc
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse

#: Hours looked at for completeness, alerts and liquidation totals.
PERIOD = timedelta(days=30)

#: Limits of decision 27: hourly rows, and what a funding settlement gets on top of its interval.
HOURLY_LIMIT = timedelta(minutes=75)
FUNDING_SLACK = timedelta(minutes=30)

#: Share of missing hours from which windows begin to be incomplete (22 of 24 hours are needed).
MANY_GAPS = 0.05

#: Single liquidations and their hourly sums may differ by this share: a venue revises late.
TOTALS_TOLERANCE = 0.01

#: A venue that reports none while the others report this much within the period is suspicious, USD.
SILENT_VENUE_USD = 10e6

#: Alerts per symbol (or pair) and 30 days that are still plausible: about twice the measured rates.
BUDGET: Mapping[str, int] = {
    "LIQUIDATION_CASCADE": 10,
    "FUNDING_ANOMALY": 12,
    "FUNDING_REVERSAL": 12,
    "VOLATILITY_REGIME_CHANGE": 12,
    "CORRELATION_BREAK": 4,
    "REGIME_CONFIRMED": 12,
}


@dataclass(frozen=True)
class Verdict:
    """Answer to one question.

    Attributes
    ----------
    passed
        Whether nothing needs attention.
    text
        One sentence for people; says what to do where something is wrong.
    figures
        Name and number; Dagster plots them over time.
    grave
        Whether the platform does not do its work at all (severity ERROR instead of WARN).
    """

    passed: bool
    text: str
    figures: dict[str, float | int] = field(default_factory=dict)
    grave: bool = False


def completeness(warehouse: Warehouse, settings: Settings, now: pd.Timestamp) -> Verdict:
    """Hours of the last 30 days without a bar, per symbol, with the reason where it is known.

    A hole that every listed venue confirmed (complete coverage, no bar) is a fact about the market and passes.
    """
    window = Window(now.floor("h") - PERIOD, now.floor("h"))
    rows = warehouse.read("market_metrics", window=window, symbols=settings.symbols, columns=["symbol", "ts", "close"])
    figures: dict[str, float | int] = {}
    unexplained: list[str] = []
    told: list[str] = []
    for symbol in settings.symbols:
        mine = rows[rows["symbol"] == symbol]
        holes = mine.loc[mine["close"].isna(), "ts"]
        figures[f"missing hours {symbol}"] = len(holes)
        if mine.empty:
            figures[f"missing hours {symbol}"] = len(window.hours())
            unexplained.append(f"{symbol} has no row in the last 30 days")
            continue
        if holes.empty:
            continue
        reasons = Counter(_reasons(warehouse, settings, symbol, holes))
        words = ", ".join(f"{count} h {reason}" for reason, count in reasons.most_common())
        open_holes = sum(count for reason, count in reasons.items() if reason != CONFIRMED)
        many = len(holes) > MANY_GAPS * len(mine)
        (unexplained if open_holes or many else told).append(f"{symbol}: {words}")
    figures["missing hours"] = sum(int(value) for value in figures.values())
    if unexplained:
        return Verdict(
            False,
            "; ".join(unexplained) + ". The next run fetches again what is not known; `regimes probe` asks the venues, "
            "another venue in [sources] ohlcv fills what one venue lacks",
            figures,
        )
    return Verdict(True, "; ".join(told) or "no hour is missing in the last 30 days", figures)


CONFIRMED = "without a trade at any listed venue"


def _reasons(warehouse: Warehouse, settings: Settings, symbol: str, holes: "pd.Series[pd.Timestamp]") -> list[str]:
    """Why each hour has no bar: what coverage and status say of the listed venues."""
    listed = list(settings.sources.ohlcv)
    where = {"kind": "ohlcv", "symbol": symbol, "venue": listed}
    coverage = warehouse.read("source_coverage", where=where)
    status = warehouse.read("source_status", where=where).set_index("venue")["state"].to_dict()
    found = []
    for hour in holes:
        over = coverage[(coverage["start_ts"] < hour) & (coverage["end_ts"] >= hour)]
        states = dict(zip(over["venue"], over["state"], strict=True))
        answered = [venue for venue in listed if states.get(venue) in ("COMPLETE", "PARTIAL")]
        lacking = [venue for venue in listed if venue not in answered]
        if answered and all(
            states.get(venue) == "UNAVAILABLE" or status.get(venue) == "NOT_AVAILABLE" for venue in lacking
        ):
            found.append(CONFIRMED)
        else:
            found.append("not known: " + ", ".join(f"{venue} {status.get(venue, 'never asked')}" for venue in lacking))
    return found


def freshness(warehouse: Warehouse, settings: Settings, now: pd.Timestamp) -> Verdict:
    """Age of the newest bar, settlement and liquidation hour per symbol, and of each venue's newest bar.

    It looks at the newest stamps that are stored, so that a backfill of an old month changes nothing.
    """
    metrics = f"{warehouse.schema}.market_metrics"
    text = f"""
        SELECT s.symbol,
            (SELECT max(ts) FROM {metrics} m WHERE m.symbol = s.symbol AND close IS NOT NULL AND ts > :recent) AS bars,
            (SELECT max(ts) FROM {metrics} m WHERE m.symbol = s.symbol AND liq_coverage > 0 AND ts > :recent) AS liqs,
            f.ts AS funding, f.hours AS interval_hours
        FROM unnest(cast(:symbols AS text[])) AS s(symbol)
        LEFT JOIN LATERAL (
            SELECT funding_settled_ts AS ts, funding_interval_hours AS hours FROM {metrics} m
            WHERE m.symbol = s.symbol AND funding_settled_ts IS NOT NULL AND m.ts > :recent ORDER BY m.ts DESC LIMIT 1
        ) f ON true
    """  # noqa: S608 - the schema is this warehouse's own
    given = {"symbols": list(settings.symbols), "recent": (now - 2 * PERIOD).to_pydatetime()}
    with warehouse.connect() as connection:
        rows = connection.execute(sa.text(text), given).all()
    figures: dict[str, float | int] = {}
    late: list[str] = []
    grave = False
    for row in rows:
        stages = [("bars", row.bars, HOURLY_LIMIT)]
        if settings.sources.funding:
            stages.append(("funding", row.funding, timedelta(hours=float(row.interval_hours or 8.0)) + FUNDING_SLACK))
        if settings.sources.liquidations:
            stages.append(("liquidations", row.liqs, HOURLY_LIMIT))
        for name, newest, limit in stages:
            if newest is None:
                late.append(f"{row.symbol} {name}: none in the last 60 days")
                grave = grave or name == "bars"
                continue
            age = now - utc(newest)
            figures[f"{name} age h {row.symbol}"] = round(age.total_seconds() / 3600, 2)
            if age > limit:
                late.append(f"{row.symbol} {name}: {_hours(age)} old")
                grave = grave or (name == "bars" and age > 2 * limit)
    if late:
        what = "; ".join(late)
        return Verdict(False, f"{what}. `regimes doctor` says why; the next hourly run catches up", figures, grave)
    return Verdict(True, "everything is as new as it can be", figures)


def venue_freshness(warehouse: Warehouse, settings: Settings, now: pd.Timestamp, kind: str) -> Verdict:
    """Age of what each listed venue of a kind gave last, from ``source_status``; a lost fallback is seen while the
    first venue still serves."""
    status = warehouse.read("source_status", where={"kind": kind, "venue": list(settings.sources.of(kind))})
    status = status[status["symbol"].isin(settings.symbols)]
    figures: dict[str, float | int] = {}
    failing: list[str] = []
    for venue, mine in status.groupby("venue"):
        newest = mine["last_ok_at"].max()
        if not pd.isna(newest):
            figures[f"last answer h {venue}"] = round((now - newest).total_seconds() / 3600, 2)
        bad = mine[~mine["state"].isin(["OK", "NOT_AVAILABLE", "UNKNOWN_SYMBOL", "CLOSED"])]
        if len(bad):
            failing.append(f"{venue}: {bad['state'].iloc[0]} ({', '.join(sorted(bad['symbol']))})")
    figures["venues failing"] = len(failing)
    if failing:
        return Verdict(False, "; ".join(failing) + ". `regimes probe` asks each venue from here", figures)
    return Verdict(True, "every venue that serves answered", figures)


def liquidation_totals(warehouse: Warehouse, settings: Settings, now: pd.Timestamp) -> Verdict:
    """Single liquidations against the hourly sums of the same venue, and venues against each other.

    Hours that are still revised (the last three) are left out. A venue without single liquidations has no control.
    """
    text = f"""
        SELECT l.venue, sum(l.long_usd + l.short_usd) AS total,
               sum(l.long_usd + l.short_usd) FILTER (WHERE l.n_events > 0) AS summed,
               sum(e.usd) FILTER (WHERE l.n_events > 0) AS single,
               count(*) FILTER (WHERE l.coverage > 0) AS hours
        FROM {warehouse.schema}.liquidations l
        LEFT JOIN (
            SELECT venue, symbol, date_trunc('hour', ts - interval '1 microsecond') + interval '1 hour' AS ts,
                   sum(usd) AS usd
            FROM {warehouse.schema}.liquidation_events WHERE ts > :start AND ts <= :end GROUP BY 1, 2, 3
        ) e ON e.venue = l.venue AND e.symbol = l.symbol AND e.ts = l.ts
        WHERE l.ts > :start AND l.ts <= :end AND l.symbol = ANY(:symbols) AND l.venue = ANY(:venues)
        GROUP BY 1 ORDER BY 1
    """  # noqa: S608 - the schema is this warehouse's own
    end = now.floor("h") - timedelta(hours=3)
    given = {
        "start": (end - PERIOD).to_pydatetime(),
        "end": end.to_pydatetime(),
        "symbols": list(settings.symbols),
        "venues": list(settings.sources.liquidations),
    }
    with warehouse.connect() as connection:
        rows = connection.execute(sa.text(text), given).all()
    figures: dict[str, float | int] = {}
    wrong: list[str] = []
    everything = sum(float(row.total or 0) for row in rows)
    for row in rows:
        figures[f"USD 30 d {row.venue}"] = round(float(row.total or 0))
        if row.single is not None and row.summed:
            off = abs(float(row.single) / float(row.summed) - 1.0)
            figures[f"off control {row.venue}"] = round(off, 5)
            if off > TOTALS_TOLERANCE:
                wrong.append(f"{row.venue}: single liquidations and hourly sums differ by {off:.1%}")
        if row.hours >= PERIOD / timedelta(hours=2) and not row.total and everything > SILENT_VENUE_USD:
            wrong.append(f"{row.venue} reports none in 30 days while the others report {everything / 1e6:.0f} M USD")
    if wrong:
        return Verdict(False, "; ".join(wrong) + ". `regimes backfill --refetch` reads the months again", figures)
    return Verdict(True, "totals agree" if rows else "no liquidations are stored for the last 30 days", figures)


def alert_budget(warehouse: Warehouse, settings: Settings, now: pd.Timestamp) -> Verdict:
    """Alerts of the last 30 days per event, against what is plausible; suspicious too where there were none at all.

    Counted are opened episodes that would be posted if they were new: neither in a cooldown nor below the event's
    lowest severity.
    """
    text = f"""
        SELECT event_type, symbol, severity, count(*) AS n FROM {warehouse.schema}.alerts
        WHERE phase = 'OPEN' AND ts > :start AND ts <= :end AND retracted_at IS NULL
              AND (suppressed_reason IS NULL OR suppressed_reason IN ('AGE', 'WEBHOOKS_OFF', 'STALE_INPUT'))
        GROUP BY 1, 2, 3
    """  # noqa: S608 - the schema is this warehouse's own
    history = f"SELECT min(ts) FROM {warehouse.schema}.market_metrics WHERE symbol = ANY(:symbols)"  # noqa: S608
    given = {"start": (now - PERIOD).to_pydatetime(), "end": now.to_pydatetime()}
    with warehouse.connect() as connection:
        rows = connection.execute(sa.text(text), given).all()
        first = connection.execute(sa.text(history), {"symbols": list(settings.symbols)}).scalar()
    ranks = ("INFO", "WARNING", "CRITICAL")
    lowest = {event: ranks.index(severity) for event, severity in settings.alerts.min_severity.items()}
    counted: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row.event_type in BUDGET and ranks.index(row.severity) >= lowest.get(row.event_type, 0):
            counted[row.event_type, row.symbol] += int(row.n)
    totals: Counter[str] = Counter()
    for (event, _symbol), count in counted.items():
        totals[event] += count
    figures: dict[str, float | int] = {f"{event} 30 d": totals[event] for event in BUDGET}
    figures["alerts 30 d"] = sum(totals.values())
    over = [
        f"{s}: {n} {e} (at most {BUDGET[e]} are plausible)" for (e, s), n in sorted(counted.items()) if n > BUDGET[e]
    ]
    if over:
        advice = "Look at the data first (a wick, a wrong unit), then at the thresholds: docs/calibrate.md"
        return Verdict(False, "; ".join(over) + f". {advice}", figures)
    long_enough = first is not None and utc(first) <= now - 2 * PERIOD
    if long_enough and not sum(totals.values()):
        return Verdict(
            False,
            "no alert of any kind in 30 days, which is suspicious: is every feature computed (`regimes doctor`), and "
            "are the thresholds within reach?",
            figures,
        )
    return Verdict(True, f"{sum(totals.values())} alerts in 30 days, within what is plausible", figures)


def _hours(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
