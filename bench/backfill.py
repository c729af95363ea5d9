"""A backfill through Dagster, split into reading, computing, writing and Dagster's own book-keeping.

What belongs here: clocks around the warehouse and the feature functions while the real job runs, and the same
functions called on the same frames without anything around them. What does not: the hourly run.
"""

import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.installation import installation, symbols
from bench.report import SMALL, Result

CASES = ((3, "2023-01-01", "2024-12-31", 24), (100, "2023-01-01", "2023-12-31", 12))

#: Module and function of every computation that the assets call.
COMPUTE = (
    ("regimes_dagster.assets.market", "join_market_metrics"),
    ("regimes_dagster.features.volatility_regime", "compute_volatility_features"),
    ("regimes_dagster.features.liquidation_cascade", "compute_liquidation_metrics"),
    ("regimes_dagster.assets.features", "identify_liquidation_support_zones"),
    ("regimes_dagster.features.funding_anomaly", "compute_funding_metrics"),
    ("regimes_dagster.features.multi_timeframe", "compute_multi_timeframe_regimes"),
    ("regimes_dagster.features.correlation_engine", "compute_pairwise_correlations"),
)


def run() -> list[Result]:
    """Both sizes, each in a process of its own."""
    rows = []
    for count, first, last, months in CASES[:1] if SMALL else CASES:
        done = subprocess.run(
            [sys.executable, "-m", "bench.backfill", str(count), first, last],
            capture_output=True,
            text=True,
            check=True,
        )
        f = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            (
                f"{count} symbols x {months} months",
                f["wall"],
                f["fetch"],
                f["read"],
                f["compute"],
                f["write"],
                f["other"],
                f["wall"] / f["compute"],
                f["peak_mib"],
            )
        )
    return [
        Result(
            "backfill",
            "Backfill through Dagster",
            "One run over all months on the simulated market, in process, into the embedded PostgreSQL; wall seconds. "
            "`ratio` is the whole run over the pure functions on the same frames; `other` is Dagster's book-keeping, "
            "checks, metadata and alerts.",
            ("case", "wall s", "fetch", "read", "compute", "write", "other", "ratio", "peak MiB"),
            rows,
        )
    ]


def _measure(count: int, first: str, last: str) -> dict[str, float]:
    import importlib

    from regimes_dagster.commands.backfill import run_months
    from regimes_dagster.definitions import build_defs
    from regimes_dagster.instance import dagster_instance
    from regimes_dagster.platform import Platform
    from regimes_dagster.sources.simulated import SimulatedSource
    from regimes_dagster.storage import Warehouse

    spent: dict[str, float] = defaultdict(float)
    depth = [0]

    def clocked(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            depth[0] += 1
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                depth[0] -= 1
                if not depth[0]:
                    spent[kind] += time.perf_counter() - started

        return call

    with installation(REGIMES_SYMBOLS=json.dumps(symbols(count))) as settings, _replaced() as replace:
        for method, kind in (("read", "read"), ("newest", "read"), ("oldest", "read"), ("write", "write")):
            replace(Warehouse, method, clocked(kind, getattr(Warehouse, method)))
        replace(SimulatedSource, "fetch", clocked("fetch", SimulatedSource.fetch))
        for module, name in COMPUTE:
            owner = importlib.import_module(module)
            replace(owner, name, clocked("compute", getattr(owner, name)))
        platform = Platform(settings)
        with dagster_instance(settings) as instance:
            definitions = build_defs(settings, platform)
            started = time.perf_counter()
            outcome = run_months(definitions, instance, first, last)
            wall = time.perf_counter() - started
        if not outcome.success:
            raise RuntimeError(outcome.error)
        platform.engine.dispose()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall": wall, **spent, "other": wall - sum(spent.values()), "peak_mib": peak}


@contextmanager
def _replaced() -> Iterator[Callable[[Any, str, Any], None]]:
    """Attributes put back as they were afterwards."""
    saved: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, value: Any) -> None:
        saved.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    try:
        yield replace
    finally:
        for owner, name, value in reversed(saved):
            setattr(owner, name, value)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(int(sys.argv[1]), sys.argv[2], sys.argv[3])) + "\n")
