"""The sources: which serve what they are asked for, and what they answered last.

What belongs here: what can be told without asking a venue. What does not: asking one (``regimes probe``).
"""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.doctor.finding import Finding, fail, ok, skip, warn
from regimes_dagster.settings import Settings
from regimes_dagster.vocabulary import OFFLINE_SOURCES, VENUES

#: What ccxt must claim for a kind; liquidations go through each venue's own calls, which ``has`` does not list.
_CAPABILITY = {"ohlcv": "fetchOHLCV", "funding": "fetchFundingRateHistory"}


def configured_sources(settings: Settings) -> Iterator[Finding]:
    """Every source named can serve the kind it is named for."""
    for kind in VENUES:
        names = settings.sources.of(kind)
        unable = [name for name in names if name not in VENUES[kind] and name not in OFFLINE_SOURCES]
        check = f"sources.{kind}"
        if unable:
            who = ", ".join(unable)
            action = f"Remove it from sources.{kind}; venues that do: {', '.join(VENUES[kind])}."
            yield warn(check, f"{who} serves no {kind} and is skipped", action)
        elif not names and kind == "minute_bars":
            yield ok(check, "off: no leader is looked for")
        elif not names:
            yield warn(check, "no source", f"Name one in sources.{kind}; without it that part stays empty.")
        else:
            yield ok(check, ", ".join(names))


def files_folder(settings: Settings) -> Iterator[Finding]:
    """The folder of own history is there and holds something for every kind that names it."""
    folder = settings.sources.files.path
    kinds = [kind for kind in VENUES if "files" in settings.sources.of(kind)]
    if not kinds or folder is None:
        return
    if not folder.is_dir():
        yield fail("own files", f"{folder} is not a folder", "Correct sources.files.path.")
        return
    stems = {"ohlcv": "ohlcv", "funding": "funding", "liquidations": "liquidation"}
    for kind in kinds:
        if not any(path.name.startswith(stems[kind]) for path in folder.iterdir()):
            yield warn("own files", f"{folder} holds nothing for {kind}", f"Put {kind}.csv or {kind}.parquet there.")
        else:
            yield ok("own files", f"{kind} in {folder}")


def ccxt_venues(settings: Settings) -> Iterator[Finding]:
    """ccxt is there, knows the venues, and claims what they are asked for."""
    wanted: Mapping[str, list[str]] = {
        kind: [name for name in settings.sources.of(kind) if name in VENUES[kind]] for kind in VENUES
    }
    if not any(wanted.values()):
        return
    if importlib.util.find_spec("ccxt") is None:
        yield fail("ccxt", "is not installed", "Run: make install")
        return
    ccxt = importlib.import_module("ccxt")
    unknown = sorted({name for names in wanted.values() for name in names if not hasattr(ccxt, name)})
    if unknown:
        yield fail("ccxt", f"{ccxt.__version__} does not know {', '.join(unknown)}", "Run: make install")
    for kind, capability in _CAPABILITY.items():
        unable = [
            name for name in wanted[kind] if name not in unknown and not getattr(ccxt, name)().has.get(capability)
        ]
        if unable:
            action = f"Remove it from sources.{kind}, or install the locked version: make install"
            yield warn("ccxt", f"{ccxt.__version__} has no {capability} for {', '.join(unable)}", action)
    if not unknown:
        yield ok("ccxt", f"{ccxt.__version__} knows the configured venues")


def source_states(connection: sa.Connection, settings: Settings) -> Iterator[Finding]:
    """What each source answered when it was asked last."""
    table = tables.table("source_status")
    query = sa.select(table.c.kind, table.c.venue, table.c.symbol, table.c.state, table.c.message, table.c.in_use)
    rows = connection.execute(query.order_by(table.c.kind, table.c.venue, table.c.symbol)).all()
    listed = {(kind, name) for kind in VENUES for name in settings.sources.of(kind)}
    rows = [row for row in rows if (row.kind, row.venue) in listed and row.symbol in settings.symbols]
    if not rows:
        yield skip("source answers", "no source was asked yet")
        return
    if all(row.state == "OUTAGE" for row in rows):
        venues = ", ".join(dict.fromkeys(row.venue for row in rows))
        yield warn(
            "source answers",
            f"nobody answers: {venues}",
            "Is this machine online? Run: regimes probe. The next hourly run asks again.",
        )
        return
    # One finding per venue and state: what it said differs with the symbol, what to do does not.
    bad: dict[tuple[str, str, str], list[str]] = {}
    messages: dict[tuple[str, str, str], str] = {}
    for row in rows:
        if row.state != "OK":
            bad.setdefault((row.kind, row.venue, row.state), []).append(row.symbol)
            messages.setdefault((row.kind, row.venue, row.state), row.message or "")
    for (kind, venue, state), symbols in bad.items():
        others = any(row.kind == kind and row.venue != venue and row.in_use for row in rows)
        action = "Another source serves." if others else f"Run: regimes probe; or change sources.{kind}."
        message = messages[kind, venue, state]
        yield warn("source answers", f"{venue} {kind} {', '.join(symbols)}: {state} {message}".rstrip(), action)
    if not bad:
        yield ok("source answers", f"{len(rows)} of {len(rows)} in order")
