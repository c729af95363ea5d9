"""The raw assets: bars, funding settlements and liquidations as the venues gave them.

What belongs here: which windows a run asks the sources for, and how what could not be had is reported. What does
not: how a venue is asked (``sources/``) and how rows are stored (``resources/warehouse.py``).
"""

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
import pandas as pd
from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetExecutionContext

from regimes_dagster.assets.declare import RAW, Declare
from regimes_dagster.assets.run import refetch_wanted, run_window, symbols_of
from regimes_dagster.logs import tagged
from regimes_dagster.partitions import Window
from regimes_dagster.platform import Platform
from regimes_dagster.resources.warehouse import Written
from regimes_dagster.sources.ingest import Ingested, Progress, combine, stream
from regimes_dagster.sources.protocol import MAIN_TABLE, Kind
from regimes_dagster.storage import Write

log = tagged("MKT", __name__)

Result = dg.MaterializeResult[Written]

#: Unexpected errors only: a venue's own errors are retried where they occur, and the next run catches up.
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)

RAW_OPTIONS: dict[str, Any] = {
    "group": RAW,
    "kinds": {"postgres", "ccxt"},
    "retry_policy": RETRY,
    "code_version": "1",
}

CHECK = "all_symbols_fetched"

#: A batch of fetched steps is written when it has so many rows or has been collected for so long.
BATCH_ROWS = 20_000
BATCH_SECONDS = 10.0

#: How often a long fetch says how far it is.
PROGRESS_SECONDS = 5.0

_PROGRESS = re.compile(r"\[MKT\] (\d+) of (\d+): (.+)")


def raw_assets(declare: Declare) -> list[dg.AssetsDefinition]:
    """``ohlcv``, ``funding_rates`` and ``liquidations``."""

    @declare(**RAW_OPTIONS, check_specs=[fetch_check("ohlcv")])
    def ohlcv(context: AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
        """Hourly spot bars of every venue that was asked, final bars only; real gaps stay gaps."""
        return fetch(context, platform, "ohlcv")

    @declare(**RAW_OPTIONS, check_specs=[fetch_check("funding_rates")])
    def funding_rates(context: AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
        """Settled perpetual funding of every venue that was asked, with its interval."""
        return fetch(context, platform, "funding")

    @declare(**RAW_OPTIONS, check_specs=[fetch_check("liquidations")])
    def liquidations(context: AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
        """Liquidations per venue and hour with their coverage, and single ones where a venue gives them."""
        return fetch(context, platform, "liquidations")

    return [ohlcv, funding_rates, liquidations]


def fetch_check(asset: str) -> AssetCheckSpec:
    """The check that `fetch` answers."""
    return AssetCheckSpec(
        CHECK,
        asset=asset,
        description="Every symbol could be fetched. What succeeded is stored either way; the next run catches up.",
    )


def fetch(context: AssetExecutionContext, platform: Platform, kind: Kind, window: Window | None = None) -> Result:
    """One incremental fetch of a kind over ``window`` (default the run's), written as it comes in."""
    symbols = symbols_of(context, platform.settings)
    warehouse = platform.warehouse
    steps = stream(
        kind,
        window=window or run_window(context, platform),
        now=platform.clock.now(),
        sources=platform.sources(kind),
        symbols=symbols,
        coverage=warehouse.read("source_coverage", where={"kind": kind}),
        statuses=warehouse.read("source_status", where={"kind": kind}),
        refetch=refetch_wanted(context),
        progress=_progress(),
    )
    failures: dict[str, str] = {}
    requests = 0
    served: Counter[str] = Counter()
    for batch in _batches(kind, steps):
        warehouse.write(_writes(batch))
        failures |= batch.failures
        requests += batch.requests
        served.update(batch.rows[MAIN_TABLE[kind]]["venue"] if MAIN_TABLE[kind] in batch.rows else ())
        for note in batch.notes:
            log.info("%s", note)
        for trouble in troubles(batch.statuses):
            log.warning("%s %s", kind, trouble)
    log.info("%s: %d of %d symbols, %d requests", kind, len(symbols) - len(failures), len(symbols), requests)
    for symbol, failure in failures.items():
        log.warning("%s %s: %s", kind, symbol, failure)
    return dg.MaterializeResult(
        value=Written(),
        check_results=[_verdict(failures, len(symbols))],
        metadata={
            "requests": requests,
            "rows_by_venue": dg.MetadataValue.json(dict(served)),
            "failed_symbols": dg.MetadataValue.json(failures),
        },
    )


def troubles(statuses: pd.DataFrame) -> list[str]:
    """What venues could not do, one line per venue and state with the symbols it is about."""
    bad = statuses[statuses["state"] != "OK"]
    lines = []
    for (venue, state), rows in bad.groupby(["venue", "state"], sort=False):
        names = list(rows["symbol"])
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        lines.append(f"{venue} {state} for {shown}: {rows['message'].iloc[0]}")
    return lines


def _batches(kind: Kind, steps: Iterable[Ingested]) -> Iterator[Ingested]:
    """Steps put together until they are worth a transaction: a killed fetch loses at most one batch."""
    pending: list[Ingested] = []
    since = time.monotonic()
    for step in steps:
        pending.append(step)
        rows = sum(len(frame) for step in pending for frame in step.rows.values())
        if rows >= BATCH_ROWS or time.monotonic() - since >= BATCH_SECONDS:
            yield combine(kind, pending)
            pending, since = [], time.monotonic()
    if pending:
        yield combine(kind, pending)


def _writes(fetched: Ingested) -> list[Write]:
    return [
        *(Write(table, frame, fetched.scopes.get(table, ())) for table, frame in fetched.rows.items()),
        Write("source_coverage", fetched.coverage, fetched.scopes.get("source_coverage", ())),
        Write("source_status", fetched.statuses),
    ]


def _progress() -> Progress:
    last = time.monotonic()

    def say(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            log.info("%d of %d: %s", done, total, what)

    return say


def progress_in(message: str) -> tuple[str, int, int] | None:
    """What is being fetched, how much is done and of how much, if a log line of a fetch says so."""
    found = _PROGRESS.search(message)
    return None if found is None else (found[3], int(found[1]), int(found[2]))


def _verdict(failures: Mapping[str, str], asked: int) -> AssetCheckResult:
    return AssetCheckResult(
        check_name=CHECK,
        passed=not failures,
        # Never blocking: the other symbols go on, and an outage must not stop the features.
        severity=AssetCheckSeverity.ERROR if len(failures) == asked else AssetCheckSeverity.WARN,
        description="; ".join(f"{symbol}: {failure}" for symbol, failure in failures.items()) or None,
        metadata={"failed": len(failures), "asked": asked},
    )
