"""What the dashboard costs its reader and its machine: browser, REST, memory, with 3 and with 100 symbols.

What belongs here: the two cases and their tables. What does not: how each figure is taken (``dashboard_browser``,
``dashboard_load``) and the rows (``dashboard_market``).

    python -m bench dashboard                      both cases, into bench/README.md
    python -m bench.dashboard 100x1y --keep DIR    one case; the filled database stays in DIR for the next time
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from bench import dashboard_market
from bench.dashboard_browser import Seen, Soak, look, open_browser, soak, spread
from bench.dashboard_load import ROUTES, Served, load
from bench.report import SMALL, Result, write_report
from regimes_dagster import database
from regimes_dagster.embedded import EmbeddedServer

PROCESSES = 2
RATE, LOAD_S, SOAK_S, ROUNDS = 50, 60, 180, 10


@dataclass(frozen=True)
class Case:
    """How much is in the tables."""

    name: str
    title: str
    symbols: int
    days: int
    remark: str = ""


#: What the same case gave before answers were compressed and panels chose among many symbols (load average about 5).
BEFORE = (
    "Before: first view 1,168 kB and 12,091 nodes, a refresh of every panel 340 kB, refresh callback p95 195 ms. "
    "Causes and remedies: answers of callbacks were not compressed (now gzip in the callback's thread); 100 rows per "
    "panel (now the ten most telling, counts and a link to all); a heat strip of 30 elements per row (now one per run "
    "of like days); every chart was drawn twice by margins that fit themselves (now fixed)."
)

CASES = {
    case.name: case
    for case in (
        Case("3x3y", "3 symbols x 3 years", 3, 3 * 365),
        Case("100x1y", "100 symbols x 1 year", 100, 365, BEFORE),
        Case("3x30d", "3 symbols x 30 days", 3, 30),
    )
}
#: What `python -m bench dashboard` runs; the smallest case is for trying the benchmark itself.
FULL = ("3x3y",) if SMALL else ("3x3y", "100x1y")


def run() -> list[Result]:
    """All cases, each in a database of its own."""
    results = []
    for name in FULL:
        with tempfile.TemporaryDirectory(prefix="regimes-bench-") as folder:
            results.append(measure(CASES[name], Path(folder)))
    return results


def measure(case: Case, folder: Path, *, rounds: int = ROUNDS, load_s: int = LOAD_S, soak_s: int = SOAK_S) -> Result:
    """Fill (unless the folder holds the case already), serve, measure."""
    symbols = dashboard_market.names(case.symbols)
    folder.mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(folder / "pg", {"fsync": "off", "synchronous_commit": "off"})
    server.start()
    try:
        engine, filled_s = _filled(server.url("postgres"), folder / "filled.json", symbols, case.days)
        environment = {
            "DB_URL": server.url("postgres"),
            "REGIMES_SYMBOLS": json.dumps(symbols),
            "REGIMES_DASHBOARD__SNAPSHOT_SECONDS": "1",
            "REGIMES_DASHBOARD__REFRESH_SECONDS": "5",
        }
        busy = os.getloadavg()[0]
        arrivals = dashboard_market.Arrivals(engine, symbols)
        with Served(environment, PROCESSES) as served:
            memory = [served.memory_mib()]
            with open_browser() as browser:
                seen = look(browser, served.url, symbols, arrivals, rounds)
                memory.append(served.memory_mib())
                left_open = soak(browser, served.url, arrivals, soak_s)
            memory.append(served.memory_mib())
            with arrivals:
                times, statuses = asyncio.run(load(served.url, RATE, load_s))
            memory.append(served.memory_mib())
        engine.dispose()
    finally:
        server.stop("fast")
    return _result(case, filled_s, seen, left_open, times, statuses, memory, (busy, os.getloadavg()[0]))


def _filled(url: str, mark: Path, symbols: list[str], days: int) -> tuple[sa.Engine, float]:
    """The engine on a filled database, and the seconds the filling took (when it was done)."""
    wanted = {"symbols": len(symbols), "days": days}
    if mark.exists():
        found = json.loads(mark.read_text())
        if {name: found[name] for name in wanted} != wanted:
            raise SystemExit(f"{mark.parent} holds another case: {found}; name another folder")
        return database.make_engine(url), found["seconds"]
    started = time.monotonic()
    engine = dashboard_market.fill(url, symbols, days)
    seconds = round(time.monotonic() - started)
    mark.write_text(json.dumps({**wanted, "seconds": seconds}))
    return engine, seconds


def _result(
    case: Case,
    filled_s: float,
    seen: Seen,
    left_open: Soak,
    times: dict[str, list[float]],
    statuses: dict[int, int],
    memory: list[list[int]],
    busy: tuple[float, float],
) -> Result:
    everything = [value for values in times.values() for value in values]
    rows: list[tuple[str, float, float, float]] = [
        ("first view, new browser profile", *spread(seen.first)),
        *[(f"page switch: {name}", *spread(values)) for name, values in seen.pages.items()],
        ("symbol switch", *spread(seen.symbols)),
        ("refresh callback", *spread(seen.callbacks)),
        (f"REST at {RATE}/s, all", *spread(everything)),
        *[(f"REST {route}", *spread(times[route])) for route in ROUTES],
    ]
    kilobytes = [value / 1000 for value in seen.refresh_bytes]
    states = ("ready", "after browsing", "after the open page", "after the load")
    return Result(
        f"dashboard_{case.name}",
        f"Dashboard, {case.title}",
        f"{PROCESSES} serving processes and chromium on the same machine over loopback; milliseconds. An hour arrives "
        "in every table before each refresh, and every 20 s during the load and the open page.",
        ("", "p50 ms", "p95 ms", "largest ms"),
        rows,
        [
            f"A first view takes the browser {spread(seen.first_cpu)[0]:.1f} CPU seconds (all its processes; median); "
            f"load average of the machine {busy[0]:.1f} before and {busy[1]:.1f} after the measurement.",
            f"Bytes: first view {seen.first_bytes / 1000:,.0f} kB, the same page again "
            f"{seen.again_bytes / 1000:,.0f} kB, a refresh of every panel {spread(kilobytes)[0]:,.0f} kB, the question "
            f"for news {spread(seen.poll_bytes)[0]:,.0f} bytes with headers.",
            f"Overview left open for {left_open.seconds:.0f} s, {left_open.refreshes} refreshes of every panel: "
            f"{left_open.script_ms_per_s:.0f} ms of script and {left_open.task_ms_per_s:.0f} ms of all work per "
            f"second; heap {left_open.heap_start_mib:.1f} to {left_open.heap_end_mib:.1f} MiB, nodes "
            f"{left_open.nodes_start:,.0f} to {left_open.nodes_end:,.0f}, listeners "
            f"{left_open.listeners_start:,.0f} to {left_open.listeners_end:,.0f}.",
            "Resident MiB of the serving processes: "
            + "; ".join(f"{name} {' + '.join(map(str, sizes))}" for name, sizes in zip(states, memory, strict=True))
            + ".",
            "Statuses under load: " + ", ".join(f"{n} x {status}" for status, n in sorted(statuses.items())) + ".",
            f"Filling the tables took {filled_s:.0f} s.",
            *([case.remark] if case.remark else []),
        ],
    )


def main() -> int:
    """One case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=sorted(CASES))
    parser.add_argument("--keep", type=Path, help="folder of the database, kept and used again")
    parser.add_argument("--fill-only", action="store_true", help="only fill the folder given with --keep")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--load-seconds", type=int, default=LOAD_S)
    parser.add_argument("--soak-seconds", type=int, default=SOAK_S)
    parser.add_argument("--save", action="store_true", help="into bench/results and bench/README.md")
    options = parser.parse_args()
    case = CASES[options.case]
    if options.fill_only:
        if options.keep is None:
            parser.error("--fill-only needs --keep FOLDER")
        options.keep.mkdir(parents=True, exist_ok=True)
        server = EmbeddedServer(options.keep / "pg", {"fsync": "off", "synchronous_commit": "off"})
        server.start()
        try:
            symbols = dashboard_market.names(case.symbols)
            print(_filled(server.url("postgres"), options.keep / "filled.json", symbols, case.days)[1], "s")
        finally:
            server.stop("fast")
        return 0
    with tempfile.TemporaryDirectory(prefix="regimes-bench-") as folder:
        result = measure(
            case,
            options.keep or Path(folder),
            rounds=options.rounds,
            load_s=options.load_seconds,
            soak_s=options.soak_seconds,
        )
    if options.save:
        result.save()
        print(write_report())
    for row in result.rows:
        print(f"{row[0]:36}", *(f"{value:>9}" for value in row[1:]))
    print("\n".join(result.notes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
