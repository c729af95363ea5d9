"""Which venues answer from here, and what that means for the lists in ``regimes.toml``.

What belongs here: one small question per venue and kind, and the recommendation. What does not: the table that
people see (``commands/probe.py``).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd

from regimes_dagster.partitions import Window, month_start
from regimes_dagster.sources.archive import ArchiveSource
from regimes_dagster.sources.archive_store import VENUE as ARCHIVE
from regimes_dagster.sources.archive_store import ArchiveStore
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.coverage import final_edge
from regimes_dagster.sources.protocol import MAIN_TABLE, Kind, Source, SourceError
from regimes_dagster.sources.registry import COLLECTED, venue_source, venues_of
from regimes_dagster.sources.validate import validate_batch

KINDS: tuple[Kind, ...] = ("ohlcv", "funding", "liquidations")

#: Hours asked: a few bars, a settlement of an 8 h venue, the liquidations of two hours.
_HOURS: Mapping[Kind, int] = {"ohlcv": 6, "funding": 24, "liquidations": 2}

#: What a clock may be off before it is worth a word, seconds (the header has whole seconds).
SKEW_LIMIT = 5.0


@dataclass(frozen=True)
class Probe:
    """What one venue said about one kind.

    ``state`` is OK, STREAM (websocket only, not asked) or a state of ``source_status``; ``skew`` is the venue's clock
    minus ours in seconds.
    """

    kind: Kind
    venue: str
    state: str
    latency: float | None = None
    rows: int = 0
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None
    skew: float | None = None
    requests: int = 0
    message: str = ""


def probe_all(
    options: Callable[[str], Mapping[str, Any]],
    symbol: str,
    now: Callable[[], pd.Timestamp],
    *,
    kinds: Sequence[Kind] = KINDS,
    venues: Sequence[str] = (),
    archive: ArchiveStore | None = None,
) -> Iterable[Probe]:
    """Ask every known venue once per kind, several venues at a time; the archive, if given, for its funding.

    Parameters
    ----------
    options
        Constructor options per venue.
    symbol
        What is asked for.
    now
        The clock.
    venues
        Only these; all by default.
    """
    wanted = [(kind, name) for kind in kinds for name in names_of(kind) if not venues or name in venues]

    def ask(pair: tuple[Kind, str]) -> Probe | None:
        kind, name = pair
        if name != ARCHIVE:
            return probe(kind, name, options(name), symbol, now)
        return None if archive is None else probe_archive(archive, symbol, now)

    with ThreadPoolExecutor(max_workers=6) as pool:
        yield from (one for one in pool.map(ask, wanted) if one is not None)


def names_of(kind: Kind) -> tuple[str, ...]:
    """Whom a probe asks for a kind: its venues, and the archive for funding, where it is in the default list."""
    return (*venues_of(kind), ARCHIVE) if kind == "funding" else venues_of(kind)


def probe_archive(store: ArchiveStore, symbol: str, now: Callable[[], pd.Timestamp]) -> Probe:
    """Whether the archive has the funding of the month before the last, which has long been published."""
    started = time.monotonic()
    first = month_start(month_start(month_start(now()) - timedelta(days=1)) - timedelta(days=1))
    window = Window(first, first + timedelta(days=3))
    try:
        rows = ArchiveSource(store).fetch("funding", symbol, window, now()).rows["funding_rates"]
    except SourceError as problem:
        return Probe(
            "funding", ARCHIVE, problem.state, time.monotonic() - started, requests=store.requests,
            message=problem.message,
        )  # fmt: skip
    latency = time.monotonic() - started
    if rows.empty:
        message = f"it has no funding of {symbol} for {first:%Y-%m}"
        return Probe("funding", ARCHIVE, "UNKNOWN_SYMBOL", latency, requests=store.requests, message=message)
    ends = rows["ts"].iloc[0], rows["ts"].iloc[-1]
    return Probe("funding", ARCHIVE, "OK", latency, len(rows), *ends, requests=store.requests)


def probe(kind: Kind, venue: str, options: Mapping[str, Any], symbol: str, now: Callable[[], pd.Timestamp]) -> Probe:
    """Ask one venue for the newest hours of one kind; one try, no waiting."""
    if kind == "liquidations" and venue in COLLECTED:
        return Probe(kind, venue, "STREAM", message="live stream only; `regimes collect` records it")
    # A client of its own, so that a slow venue holds up nobody else.
    client = Client(venue, {"timeout": 10_000} | dict(options), sleep=lambda _: None, tries=1)
    started = time.monotonic()
    try:
        source: Source = venue_source(kind, client)
        end = final_edge(now())
        window = Window(end - timedelta(hours=_HOURS[kind]), end)
        batch = source.fetch(kind, symbol, window, end)
        validate_batch(venue, symbol, batch, window)
    except SourceError as problem:
        return Probe(
            kind, venue, problem.state, time.monotonic() - started, skew=_skew(client, now), requests=client.requests,
            message=problem.message,
        )  # fmt: skip
    latency = time.monotonic() - started
    rows = batch.rows[MAIN_TABLE[kind]]
    if rows.empty:
        state, message = "BAD_RESPONSE", "it answered without a single row for the newest hours"
    else:
        state, message = "OK", "; ".join(batch.notes)
    first, last = (rows["ts"].iloc[0], rows["ts"].iloc[-1]) if len(rows) else (None, None)
    return Probe(kind, venue, state, latency, len(rows), first, last, _skew(client, now), client.requests, message)


def recommended(probes: Iterable[Probe]) -> dict[Kind, list[str]]:
    """Per kind the venues that answered, in the order of preference."""
    lists: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    for one in probes:
        if one.state == "OK":
            lists[one.kind].append(one.venue)
    return lists


def _skew(client: Client, now: Callable[[], pd.Timestamp]) -> float | None:
    theirs = client.answered_at
    if theirs is None:
        return None
    # The header drops the fraction of the second: half a second is the best guess of it.
    return float((theirs - now()).total_seconds()) + 0.5
