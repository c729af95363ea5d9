"""Twenty minutes of alerts to good and bad endpoints: ``python -m bench.soak_alerts``.

50 alerts a minute to six endpoints: three healthy, one that hangs, one that flaps (a minute up, a minute down), one
that answers 429 to every third post. Two workers tick side by side, as two daemons would. At the end every healthy
endpoint must have everything; doubles are counted; the workers' memory must stay flat.
"""

import asyncio
import sys
import time
from pathlib import Path

import click
import psutil

from bench.alert_installation import Installation, installation
from regimes_dagster import __version__
from regimes_dagster.clock import system_now
from tests.servers.receivers import Received, Receiver, answer, hang, ok

PER_MINUTE = 50
HEALTHY = 3


async def flap(receiver: Receiver, request: Received, writer: asyncio.StreamWriter) -> None:
    """A minute up, a minute down."""
    up = int(time.monotonic() // 60) % 2 == 0
    await (ok if up else answer(503))(receiver, request, writer)


async def limited(receiver: Receiver, request: Received, writer: asyncio.StreamWriter) -> None:
    """Every third post is too many."""
    await (answer(429, retry_after="2") if request.number % 3 == 2 else ok)(receiver, request, writer)


def soak(made: Installation, minutes: float) -> tuple[bool, list[str]]:
    """Run it; whether it holds, and the lines of the report."""
    workers = [made.worker(10.0), made.worker(10.0)]
    processes = [psutil.Process(worker.pid) for worker in workers]
    memory: list[list[float]] = []
    ids: list[str] = []
    started = time.monotonic()
    try:
        while (spent := time.monotonic() - started) < minutes * 60:
            ids += made.record(1, first=len(ids))
            if not memory or spent > 15 * len(memory):
                memory.append([process.memory_info().rss / 2**20 for process in processes])
                click.echo(f"\r{spent / 60:5.1f} min  {len(ids)} alerts  {memory[-1]} MiB", nl=False, err=True)
            time.sleep(max(0.0, len(ids) * 60 / PER_MINUTE - (time.monotonic() - started)))
        settled = time.monotonic() + 45
        while time.monotonic() < settled and any(len(r.ids) < len(ids) for r in made.receivers[:HEALTHY]):
            time.sleep(1)
        alive = all(worker.poll() is None for worker in workers)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    complete = [len(receiver.ids) == len(ids) for receiver in made.receivers[:HEALTHY]]
    names = ["healthy", "healthy", "healthy", "flaps", "answers 429", "hangs"]
    report = [f"{minutes:g} minutes, {len(ids)} alerts, two workers, tick every 10 s", ""]
    report += ["| endpoint | distinct alerts | posts | doubles |", "|---|---|---|---|"]
    for name, receiver in zip(names, made.receivers, strict=True):
        doubles = sum(receiver.ids.values()) - len(receiver.ids)
        note = "" if name == "healthy" else " (retries)"
        report.append(f"| {name} | {len(receiver.ids)} | {len(receiver.requests)} | {doubles}{note} |")
    warm = memory[max(1, len(memory) // 5)]
    growth = [after - before for before, after in zip(warm, memory[-1], strict=True)]
    report += ["", f"Memory of the workers: {', '.join(f'{x:.0f}' for x in warm)} MiB warm, "
               f"{', '.join(f'{x:.0f}' for x in memory[-1])} MiB at the end."]  # fmt: skip
    doubled = sum(sum(r.ids.values()) - len(r.ids) for r in made.receivers[:HEALTHY])
    return all(complete) and alive and max(growth) < 15 and doubled == 0, report


@click.command()
@click.option("--minutes", default=20.0, show_default=True)
@click.option(
    "--write", type=click.Path(path_type=Path), help="Markdown file for the report, e.g. docs/soak-alerts.md."
)
def main(minutes: float, write: Path | None) -> None:
    """Run the soak and say whether it holds."""
    with installation([ok, ok, ok, flap, limited, hang]) as made:
        good, report = soak(made, minutes)
    verdict = "Holds." if good else "Does NOT hold."
    head = f"# Alert soak, {system_now():%Y-%m-%d}, regimes {__version__}"
    text = "\n".join([head, "", *report, "", verdict, ""])
    click.echo("\n" + text)
    if write is not None:
        write.write_text(text, encoding="utf-8")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
