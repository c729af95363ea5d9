"""Rules that join several keys of the configuration.

What belongs here: contradictions that no single key shows, such as a pair that names a symbol nobody follows.
What does not: rules inside one feature's section (``parameters.py``) and webhooks (``webhooks.py``).
"""

from collections.abc import Callable, Iterator
from datetime import date
from typing import TYPE_CHECKING

from regimes_dagster.configuration.problems import Path, Problem, did_you_mean, dotted, listed
from regimes_dagster.configuration.reading import Tree
from regimes_dagster.configuration.sections import SYMBOL, scrypt_hash
from regimes_dagster.vocabulary import SOURCE_NAMES, VENUES

if TYPE_CHECKING:
    from regimes_dagster.settings import Settings

#: No venue trades before the first exchange opened; catches years typed wrongly.
_EARLIEST = date(2010, 1, 1)

#: Days before this are past whatever the clock says, so it need not be asked (asking loads pandas).
_CERTAINLY_PAST = date(2025, 6, 1)


def contradictions(settings: "Settings", tree: Tree, today: date | Callable[[], date]) -> Iterator[Problem]:
    """Every contradiction between keys; sections that are wrong in themselves stand at their defaults."""
    yield from _symbols(tree)
    yield from _history(settings, tree, today)
    yield from _sources(settings, tree)
    yield from _references(settings, tree)
    yield from _labels(settings, tree)
    yield from _dashboard(settings, tree)


def _symbols(tree: Tree) -> Iterator[Problem]:
    written = tree.values.get("symbols")
    if not isinstance(written, list):
        return
    seen: set[str] = set()
    for symbol in (item for item in written if isinstance(item, str)):
        if symbol in seen:
            yield Problem("symbols", tree.origin(("symbols",)), f'names "{symbol}" twice; name each symbol once.')
        seen.add(symbol)


def _history(settings: "Settings", tree: Tree, today: date | Callable[[], date]) -> Iterator[Problem]:
    start, origin = settings.history_start, tree.origin(("history_start",))
    if start < _EARLIEST:
        yield Problem("history_start", origin, f"is {start}, must not lie before {_EARLIEST}.")
    if start < _CERTAINLY_PAST:
        return
    now = today() if callable(today) else today
    if start > now:
        yield Problem("history_start", origin, f"is {start}, which lies in the future; today is {now} (UTC).")


def _sources(settings: "Settings", tree: Tree) -> Iterator[Problem]:
    sources = settings.sources
    for kind in VENUES:
        names, origin = sources.of(kind), tree.origin(("sources", kind))
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem(f"sources.{kind}", origin, f'names "{name}" twice; name each source once.')
        if "simulated" in names and len(set(names)) > 1:
            message = 'mixes "simulated" with real sources; invented and real figures must not stand in one series.'
            yield Problem(f"sources.{kind}", origin, message, 'Keep "simulated" alone, or remove it.')
        if "files" in names and sources.files.path is None:
            yield Problem(f"sources.{kind}", origin, 'names "files", but sources.files.path is not set.')
    if sources.minute_bars and ("simulated" in sources.minute_bars) != ("simulated" in sources.ohlcv):
        message = "does not fit sources.ohlcv: one is invented and the other real, so the leader would be of neither."
        yield Problem("sources.minute_bars", tree.origin(("sources", "minute_bars")), message)
    if not sources.ohlcv:
        where = tree.origin(("sources", "ohlcv"))
        yield Problem("sources.ohlcv", where, "is empty; without candles nothing can be computed.")
    venues = [name for name in SOURCE_NAMES if any(name in known for known in VENUES.values())]
    for venue in sources.ccxt:
        if venue not in venues:
            path: Path = ("sources", "ccxt", venue)
            message = f"is not a known venue. Known: {listed(venues)}."
            yield Problem(dotted(path), tree.origin(path), message, did_you_mean(venue, venues))
    start = sources.simulated.start
    if start is not None and start > settings.history_start and "simulated" in sources.ohlcv:
        message = f"is {start}, must not lie after history_start ({settings.history_start})."
        yield Problem("sources.simulated.start", tree.origin(("sources", "simulated", "start")), message)


def _references(settings: "Settings", tree: Tree) -> Iterator[Problem]:
    """Symbols that other sections name must be followed."""
    written = tree.values.get("symbols", list(settings.symbols))
    symbols = [symbol for symbol in written if isinstance(symbol, str)] if isinstance(written, list) else []
    if not symbols:
        return
    for path, symbol in _named_symbols(settings):
        if symbol not in symbols:
            message = f'names "{symbol}", which is not one of symbols ({listed(symbols)}).'
            hint = did_you_mean(symbol, symbols)
            if hint is None and SYMBOL.fullmatch(symbol):
                hint = "Add it to symbols, or remove it here."
            yield Problem(dotted(path), tree.origin(path), message, hint)
    for place, (first, second) in enumerate(settings.correlation.pairs):
        path = ("correlation", "pairs", place)
        if first == second:
            yield Problem(dotted(path), tree.origin(path), f'pairs "{first}" with itself.')
        elif {first, second} in [set(pair) for pair in settings.correlation.pairs[:place]]:
            yield Problem(dotted(path), tree.origin(path), f'names the pair "{first}", "{second}" twice.')


def _named_symbols(settings: "Settings") -> Iterator[tuple[Path, str]]:
    for symbol in settings.volatility.threshold_scale:
        yield ("volatility", "threshold_scale", symbol), symbol
    for symbol in settings.liquidation.symbol_scale:
        yield ("liquidation", "symbol_scale", symbol), symbol
    for place, pair in enumerate(settings.correlation.pairs):
        for symbol in pair:
            yield ("correlation", "pairs", place), symbol
    if settings.correlation.benchmark is not None:
        yield ("correlation", "benchmark"), settings.correlation.benchmark
    for place, entry in enumerate(settings.alerts.webhook):
        for symbol in entry.symbols or ():
            yield ("alerts", "webhook", place, "symbols"), symbol


def _labels(settings: "Settings", tree: Tree) -> Iterator[Problem]:
    section = settings.multi_timeframe
    path: Path = ("multi_timeframe", "classifier")
    where: Path
    spec = section.classifier
    if spec is not None:
        module, _, function = spec.partition(":")
        words = [*module.split("."), function]
        if not function or not all(word.isidentifier() for word in words):
            message = f'is "{spec}", must name a function as "module:function".'
            yield Problem(dotted(path), tree.origin(path), message)
    if "UNKNOWN" in section.labels:
        where = ("multi_timeframe", "labels", "UNKNOWN")
        yield Problem(dotted(where), tree.origin(where), "cannot be changed: UNKNOWN means that a score is missing.")
    missing = [name for name in ("1h", "4h", "1d", "1w") if name not in section.timeframes]
    if missing:
        where = ("multi_timeframe", "timeframes")
        yield Problem(dotted(where), tree.origin(where), f"lacks {listed(missing)}; all four timeframes are needed.")
    elif abs(sum(row.weight for row in section.timeframes.values()) - 1) > 1e-9:
        total = sum(row.weight for row in section.timeframes.values())
        where = ("multi_timeframe", "timeframes")
        yield Problem(dotted(where), tree.origin(where), f"has weights that sum to {total:g}, must sum to 1.")


def _dashboard(settings: "Settings", tree: Tree) -> Iterator[Problem]:
    section = settings.dashboard

    def problem(key: str, message: str, hint: str | None = None) -> Problem:
        return Problem(f"dashboard.{key}", tree.origin(("dashboard", key)), message, hint)

    if section.auth == "none" and not section.is_loopback:
        yield problem(
            "auth",
            f'is "none" while dashboard.host is "{section.host}": anyone who reaches this machine could look and act. '
            'Set auth to "basic" or "proxy", or listen on 127.0.0.1.',
        )
    if section.auth == "basic":
        if not section.user:
            yield problem("user", 'is not set, but auth = "basic" needs it.', "Set REGIMES_DASHBOARD__USER.")
        if section.password_hash is None:
            hint = "Make one with: regimes config hash-password."
            yield problem("password_hash", 'is not set, but auth = "basic" needs it.', hint)
    if section.password_hash is not None and not scrypt_hash(section.password_hash.get_secret_value()):
        hint = "Make one with: regimes config hash-password."
        yield problem("password_hash", "is not a scrypt hash (scrypt:N:r:p$salt$hash).", hint)
    if section.auth == "proxy" and not section.trusted_proxies:
        message = 'is empty, but auth = "proxy" believes a header and must know from whom.'
        yield problem("trusted_proxies", message, 'For example ["127.0.0.0/8"].')
    if section.port == settings.dagster.port and section.host == settings.dagster.host:
        yield problem("port", f"is {section.port}, which dagster.port uses already.")
