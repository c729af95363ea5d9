"""`make bench`: run the benchmarks named on the command line, or all, and write bench/README.md.

What belongs here: the list of benchmarks. What does not: measuring.
"""

import importlib
import sys
import time

from bench.report import write_report

BENCHMARKS = ("features", "backfill", "hourly_run", "demo_start", "alerts", "dashboard", "sources")


def main(wanted: list[str]) -> int:
    """Run benchmarks one after the other; a missing name is refused."""
    unknown = set(wanted) - set(BENCHMARKS)
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}\n")
        return 2
    for name in wanted or BENCHMARKS:
        started = time.monotonic()
        sys.stdout.write(f"{name} ...\n")
        for result in importlib.import_module(f"bench.{name}").run():
            result.save()
        sys.stdout.write(f"  {time.monotonic() - started:.0f} s\n")
    sys.stdout.write(f"{write_report()}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
