"""The raw assets: bars, funding settlements and liquidations as the venues gave them.

What belongs here: which windows a run asks the sources for, and how what could not be had is reported. What does
not: how a venue is asked (``sources/``) and how rows are stored (``resources/warehouse.py``).
"""

import dagster as dg
from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetExecutionContext, MaterializeResult

from regimes_dagster.assets.declare import RAW, Declare
from regimes_dagster.assets.run import refetch_wanted, run_window, symbols_of
from regimes_dagster.platform import Platform
from regimes_dagster.resources.warehouse import RawResult
from regimes_dagster.sources.ingest import Ingested, ingest
from regimes_dagster.sources.protocol import Kind
from regimes_dagster.storage import Write

#: Unexpected errors only: a venue's own errors are retried where they occur, and the next run catches up.
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)

CHECK = "all_symbols_fetched"


def raw_assets(declare: Declare) -> list[dg.AssetsDefinition]:
    """``ohlcv``, ``funding_rates`` and ``liquidations``."""

    @declare(group=RAW, kinds={"postgres", "ccxt"}, retry_policy=RETRY, check_specs=[_check("ohlcv")], code_version="1")
    def ohlcv(context: AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> MaterializeResult:
        """Hourly spot bars of every venue that was asked, final bars only; real gaps stay gaps."""
        return _fetch(context, platform, "ohlcv")

    @declare(
        group=RAW, kinds={"postgres", "ccxt"}, retry_policy=RETRY, check_specs=[_check("funding_rates")], code_version="1"
    )
    def funding_rates(context: AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> MaterializeResult:
        """Settled perpetual funding of every venue that was asked, with its interval."""
        return _fetch(context, platform, "funding")

    @declare(
        group=RAW, kinds={"postgres", "ccxt"}, retry_policy=RETRY, check_specs=[_check("liquidations")], code_version="1"
    )
    def liquidations(context: AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> MaterializeResult:
        """Liquidations per venue and hour with their coverage, and single ones where a venue gives them."""
        return _fetch(context, platform, "liquidations")

    return [ohlcv, funding_rates, liquidations]


def _check(asset: str) -> AssetCheckSpec:
    return AssetCheckSpec(
        CHECK,
        asset=asset,
        description="Every symbol could be fetched. What succeeded is stored either way; the next run catches up.",
    )


def _fetch(context: AssetExecutionContext, platform: Platform, kind: Kind) -> MaterializeResult:
    """One incremental fetch of a kind over the run's window."""
    symbols = symbols_of(context, platform.settings)
    fetched = ingest(
        kind,
        window=run_window(context, platform),
        now=platform.clock.now(),
        sources=platform.sources(kind),
        symbols=symbols,
        coverage=platform.warehouse.read("source_coverage", where={"kind": kind}),
        refetch=refetch_wanted(context),
    )
    for symbol, failure in fetched.failures.items():
        context.log.warning(f"[MKT] {kind} {symbol}: {failure}")
    return MaterializeResult(
        value=RawResult(_writes(fetched)),
        check_results=[_verdict(fetched, len(symbols))],
        metadata={
            "requests": fetched.requests,
            "failed_symbols": dg.MetadataValue.json(fetched.failures),
            "venues": ", ".join(sorted({str(venue) for frame in fetched.rows.values() for venue in frame["venue"].unique()})),
        },
    )


def _writes(fetched: Ingested) -> list[Write]:
    writes = [Write(table, frame, fetched.scopes.get(table, [])) for table, frame in fetched.rows.items()]
    return [
        *writes,
        Write("source_coverage", fetched.coverage, []),
        Write("source_status", fetched.statuses, []),
    ]


def _verdict(fetched: Ingested, asked: int) -> AssetCheckResult:
    failed = len(fetched.failures)
    return AssetCheckResult(
        check_name=CHECK,
        passed=not failed,
        # Never blocking: the other symbols go on, and an outage must not stop the features.
        severity=AssetCheckSeverity.ERROR if failed == asked else AssetCheckSeverity.WARN,
        description="; ".join(f"{symbol}: {failure}" for symbol, failure in fetched.failures.items()) or None,
        metadata={"failed": failed, "asked": asked},
    )
