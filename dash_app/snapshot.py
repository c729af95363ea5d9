"""The present state of the market in memory, rebuilt off the request path.

What belongs here: reading "now" from the tables, at most every ``snapshot_seconds`` and only when PostgreSQL's
counters say that something was written; keeping the last good state while the database is away. What does not:
ranges (queried per request) and how anything looks.
"""

import hashlib
import json
import logging
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from dash_app import freshness
from dash_app.queries import alerts, health, latest
from dash_app.reader import Reader, ReadError, Rows
from regimes_dagster.clock import system_now
from regimes_dagster.settings import Settings

log = logging.getLogger("dash_app.snapshot")

Row = dict[str, Any]

#: Which tables each section of the snapshot reads; a section's version changes when one of them is written.
SECTIONS: dict[str, tuple[str, ...]] = {
    "market": ("market_metrics",),
    "volatility": ("volatility_features",),
    "liquidation": ("liquidation_features", "liquidation_zones"),
    "funding": ("funding_features", "funding_venue_features"),
    "regimes": ("regimes",),
    "correlation": ("correlation_features",),
    "alerts": ("alerts", "alert_deliveries", "webhook_endpoints", "alert_silences", "alert_requests"),
    "sources": ("source_status", "stale_partitions"),
    "evidence": ("signal_evidence",),
}

#: Everything is read again after this long, whatever the counters say.
FULL_REBUILD_S = 300.0


@dataclass(frozen=True)
class Snapshot:
    """What is true now; rows as dictionaries by symbol or pair."""

    now: datetime
    read_at: float
    declared: bool = False
    ready: bool = False
    error: str | None = None
    down_since: datetime | None = None
    mode: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    pairs: tuple[str, ...] = ()
    market: dict[str, Row] = field(default_factory=dict)
    day_ago: dict[str, float] = field(default_factory=dict)
    volatility: dict[str, Row] = field(default_factory=dict)
    liquidation: dict[str, Row] = field(default_factory=dict)
    funding: dict[str, Row] = field(default_factory=dict)
    regimes: dict[str, Row] = field(default_factory=dict)
    correlation: dict[str, Row] = field(default_factory=dict)
    opened: Rows = field(default_factory=list)
    cascades: Rows = field(default_factory=list)
    recent: Rows = field(default_factory=list)
    open_episodes: int = 0
    deliveries: dict[str, int] = field(default_factory=dict)
    endpoints: Rows = field(default_factory=list)
    sources: Rows = field(default_factory=list)
    stale_months: Rows = field(default_factory=list)

    def moment(self) -> datetime:
        """The platform's now: the declared one, else the time that has gone on since the snapshot was read."""
        return self.now if self.declared else system_now().to_pydatetime()

    @property
    def is_simulated(self) -> bool:
        """Whether any newest row comes from the simulated market."""
        return any(row["is_simulated"] for row in self.market.values())

    def stages(self) -> list[freshness.Stage]:
        """Freshness of each kind of data, judged by its newest hour over all symbols."""
        now = self.moment()
        market = max((row["ts"] for row in self.market.values()), default=None)
        liquidations = max((row["ts"] for row in self.liquidation.values() if row["coverage"]), default=None)
        rows = [row for row in self.funding.values() if row["settle_ts"]]
        newest = max(rows, key=lambda row: row["settle_ts"], default=None)
        stages = [freshness.judge("market", market, now)]
        if self.liquidation:
            stages.append(freshness.judge("liquidations", liquidations, now))
        if self.funding:
            limit = freshness.funding_limit(newest["interval_h"] if newest else None)
            stages.append(freshness.judge("funding", newest["settle_ts"] if newest else None, now, limit))
        return stages

    def state(self) -> str:
        """LIVE, DELAYED, STALE or NO DATA: the market's, the stage that everything else is computed from."""
        return self.stages()[0].state

    def counted(self, event_type: str) -> int:
        """Episodes of the event type that opened in the last 24 h."""
        return sum(row["n"] for row in self.opened if row["event_type"] == event_type)

    def version(self, *sections: str) -> str:
        """One short text that changes when any of the sections does."""
        return "-".join(self.versions.get(name, "") for name in sections)

    def etag(self) -> str:
        """One short text for the whole state, with what follows from time alone."""
        parts = [
            self.versions,
            self.state(),
            self.error,
            self.mode,
            self.now.strftime("%Y%m%d%H") if not self.declared else str(self.now),
        ]
        return _short(parts)


def _short(value: Any) -> str:
    return hashlib.blake2s(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=5).hexdigest()


class SnapshotKeeper:
    """Keeps one ``Snapshot`` up to date in a thread of its own.

    Parameters
    ----------
    reader : Reader
    settings : Settings
        Symbols and ``[dashboard] snapshot_seconds``.
    """

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader, self._settings = reader, settings
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._counters: dict[str, int] = {}
        self._full_at = 0.0
        self._current = Snapshot(
            now=system_now().to_pydatetime(), read_at=0.0, error="the tables have not been read yet"
        )
        self.rebuilds = 0
        self.failures = 0
        self.last_seconds = 0.0

    @property
    def current(self) -> Snapshot:
        """The newest good state; never waits."""
        return self._current

    def start(self) -> None:
        """Read once, then keep reading in the background."""
        self.refresh()
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        period = float(self._settings.dashboard.snapshot_seconds)
        while not self._stop.wait(2.0 if self._current.error else period):
            self.refresh()

    def refresh(self) -> None:
        """Read what was written since the last time; on failure keep the last state and say why it is old."""
        with self._lock:
            started = time.monotonic()
            try:
                self._current = self._read(started)
                self.last_seconds = time.monotonic() - started
            except ReadError as error:
                self._failed(str(error))
            except Exception:  # the thread must live: a dead one would show the same state for ever
                log.exception("the present state could not be put together")
                self._failed("the present state could not be put together; the server's log has the details")

    def _failed(self, error: str) -> None:
        self.failures += 1
        old = self._current
        since = old.down_since or system_now().to_pydatetime()
        self._current = replace(old, error=error, down_since=since, mode=self._reader.mode)

    def _read(self, started: float) -> Snapshot:
        counters = health.changes(self._reader)
        server_now, declared = health.declared_now(self._reader)
        now = declared or server_now
        old = self._current
        full = started - self._full_at > FULL_REBUILD_S or not old.ready
        hour_passed = now.replace(minute=0, second=0, microsecond=0) != old.now.replace(
            minute=0, second=0, microsecond=0
        )
        changed = {
            name
            for name, tables in SECTIONS.items()
            if full or any(counters.get(table) != self._counters.get(table) for table in tables)
        }
        if hour_passed or changed & {"volatility", "liquidation", "funding", "regimes", "correlation"}:
            changed |= {"alerts"}
        versions = {
            name: _short([counters.get(table) for table in tables] + ([f"{now:%Y%m%d%H}"] if name == "alerts" else []))
            for name, tables in SECTIONS.items()
        }
        fresh: dict[str, Any] = {}
        for name in sorted(changed, key=list(SECTIONS).index):
            fresh |= self._section(name, now, replace(old, **fresh))
        if full:
            self._full_at = started
        if changed:
            self.rebuilds += 1
        self._counters = counters
        return replace(
            old,
            **fresh,
            now=now,
            read_at=started,
            declared=declared is not None,
            ready=True,
            error=None,
            down_since=None,
            mode=self._reader.mode,
            versions=versions,
        )

    def _section(self, name: str, now: datetime, so_far: Snapshot) -> dict[str, Any]:
        reader, symbols = self._reader, self._settings.symbols
        if name == "market":
            rows = _by(latest.newest(reader, "market_metrics", symbols, now), "symbol")
            newest = max((row["ts"] for row in rows.values()), default=now)
            return {"market": rows, "day_ago": latest.closes_at(reader, symbols, newest - timedelta(hours=24))}
        if name == "correlation":
            pairs = _ordered_pairs(latest.pairs(reader), symbols)
            return {
                "pairs": tuple(pairs),
                "correlation": _by(latest.newest(reader, "correlation_features", pairs, now), "asset_pair"),
            }
        if name == "alerts":
            return self._alerts(now, so_far)
        if name == "sources":
            return {"sources": health.sources(reader), "stale_months": health.stale_months(reader)}
        if name == "evidence":
            return {}
        table = {
            "volatility": "volatility_features",
            "liquidation": "liquidation_features",
            "funding": "funding_features",
        }
        return {name: _by(latest.newest(reader, table.get(name, name), symbols, now), "symbol")}

    def _alerts(self, now: datetime, so_far: Snapshot) -> dict[str, Any]:
        reader, day = self._reader, now - timedelta(hours=24)
        features = (so_far.volatility, so_far.liquidation, so_far.funding, so_far.regimes, so_far.correlation)
        active = [
            row["episode_id"]
            for rows in features
            for row in rows.values()
            if row["state"] == "ACTIVE" and row["episode_id"]
        ]
        return {
            "opened": alerts.opened(reader, day, now),
            "cascades": alerts.cascades(reader, day, now),
            "recent": alerts.listing(reader, limit=12, end=now),
            "open_episodes": len(alerts.known_episodes(reader, active)) if active else 0,
            "deliveries": alerts.totals(reader, day),
            "endpoints": alerts.endpoints(reader),
        }


def _by(rows: Rows, key: str) -> dict[str, Row]:
    return {row[key]: row for row in rows}


def _ordered_pairs(pairs: list[str], symbols: tuple[str, ...]) -> list[str]:
    """Pairs in the order of the configured symbols; pairs of symbols no longer configured are left out."""
    rank = {symbol: position for position, symbol in enumerate(symbols)}
    known = []
    for pair in pairs:
        parts = pair.split("/")
        first, second = "/".join(parts[:2]), "/".join(parts[2:])
        if first in rank and second in rank:
            known.append((rank[first], rank[second], pair))
    return [pair for _, _, pair in sorted(known)]
