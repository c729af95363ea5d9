"""The pure feature functions alone: seconds, rows per second and peak memory, 3 symbols and 300.

What belongs here: calling each feature once over simulated markets held in memory, each in a process of its own so
that the peak is that feature's. What does not: storage and Dagster (``bench/backfill.py``).
"""

import json
import resource
import subprocess
import sys
import time
from typing import Any

from bench.installation import symbols
from bench.report import Result

CASES = ((3, 24), (300, 12))
NAMES = ("volatility", "liquidation", "funding", "regimes", "correlation")


def run() -> list[Result]:
    """One row per feature: both sizes, and the ratio of the costs per symbol-hour (correlation: pair-hour)."""
    rows = []
    for name in NAMES:
        small, large = (_in_own_process(name, count, months) for count, months in CASES)
        cost = [figures["seconds"] / figures["units"] for figures in (small, large)]
        rows.append(
            (
                name,
                small["seconds"],
                small["rows"] / small["seconds"],
                small["peak_mib"],
                large["seconds"],
                large["rows"] / large["seconds"],
                large["peak_mib"],
                cost[1] / cost[0],
            )
        )
    return [
        Result(
            "features",
            "Feature functions alone",
            "Each feature over a simulated market in memory: 3 symbols x 24 months and 300 symbols x 12 months "
            "(correlation beyond 8 symbols: each against the first). CPU seconds; peak memory of the process with its "
            "inputs. The last column is the cost per symbol-hour (correlation: pair-hour) at 300 over that at 3.",
            ("feature", "3: s", "3: rows/s", "3: MiB", "300: s", "300: rows/s", "300: MiB", "cost ratio"),
            rows,
        )
    ]


def _in_own_process(name: str, count: int, months: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.features", name, str(count), str(months)],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(name: str, count: int, months: int) -> dict[str, float]:
    inputs = _market(count, months)
    compute = _features(inputs)[name]
    started = time.process_time()
    result = compute()
    seconds = time.process_time() - started
    rows = max(len(frame) for frame in result.rows.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "rows": sum(len(f) for f in result.rows.values()), "units": rows, "peak_mib": peak}


def _market(count: int, months: int) -> dict[str, Any]:
    """The joined rows of the simulated market and its raw tables, built by the product's own source and join."""
    import pandas as pd

    from regimes_dagster.features.market_metrics import join_market_metrics
    from regimes_dagster.partitions import Window, keys_between, keys_window, utc
    from regimes_dagster.settings import load_settings
    from regimes_dagster.sources.registry import build_sources

    names = symbols(count)
    settings = load_settings(
        environ={
            "REGIMES_SYMBOLS": json.dumps(names),
            "REGIMES_HISTORY_START": "2023-01-01",
            **{f"REGIMES_SOURCES__{kind}": '["simulated"]' for kind in ("OHLCV", "FUNDING", "LIQUIDATIONS")},
        }
    )
    window: Window = keys_window(keys_between("2023-01-01", f"{2022 + months // 12}-12-01"))
    now = utc("2026-01-01")
    parts: dict[str, list[pd.DataFrame]] = {}
    for kind in ("ohlcv", "funding", "liquidations"):
        (source,) = build_sources(settings, kind)
        for name in names:
            for table, frame in source.fetch(kind, name, window, now).rows.items():
                if table != "liquidation_events":
                    parts.setdefault(table, []).append(frame)
    raw = {table: pd.concat(frames, ignore_index=True) for table, frames in parts.items()}
    first = raw["ohlcv"].groupby("symbol")["ts"].min().to_dict()
    venues = dict.fromkeys(("ohlcv", "funding", "liquidations"), ("simulated",))
    market = join_market_metrics(
        raw["ohlcv"], raw["funding_rates"], raw["liquidations"], window=window, first_hours=first, venues=venues
    )
    return {"market": market, "window": window, "symbols": names, "settings": settings, **raw}


def _features(given: dict[str, Any]) -> dict[str, Any]:
    from regimes_dagster.features.correlation_engine import compute_pairwise_correlations
    from regimes_dagster.features.funding_anomaly import compute_funding_metrics
    from regimes_dagster.features.liquidation_cascade import compute_liquidation_metrics
    from regimes_dagster.features.multi_timeframe import compute_multi_timeframe_regimes
    from regimes_dagster.features.volatility_regime import compute_volatility_features

    market, window, settings = given["market"], given["window"], given["settings"]
    return {
        "volatility": lambda: compute_volatility_features(market, settings.volatility, window=window),
        "liquidation": lambda: compute_liquidation_metrics(
            market, settings.liquidation, window=window, liquidations=given["liquidations"], zones=False
        ),
        "funding": lambda: compute_funding_metrics(
            market, settings.funding, window=window, funding_rates=given["funding_rates"]
        ),
        "regimes": lambda: compute_multi_timeframe_regimes(market, settings.multi_timeframe, window=window),
        "correlation": lambda: compute_pairwise_correlations(
            market, settings.correlation, window=window, symbols=given["symbols"]
        ),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))) + "\n")
