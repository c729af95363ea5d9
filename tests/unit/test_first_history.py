"""Which symbols a first backfill is still to come for."""

import pandas as pd

from regimes_dagster.first_history import never_asked
from regimes_dagster.partitions import utc
from regimes_dagster.settings import load_settings
from regimes_dagster.sources.frames import empty

BTC, ETH = "BTC/USDT", "ETH/USDT"
SETTINGS = load_settings(
    environ={
        "REGIMES_CONFIG": "none",
        "REGIMES_SYMBOLS": f"{BTC},{ETH}",
        "REGIMES_HISTORY_START": "2024-01-10",
        "REGIMES_SOURCES__OHLCV": "binanceus,kraken",
    }
)


def coverage(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"kind": kind, "venue": venue, "symbol": symbol, "start_ts": utc(start)}
            for kind, venue, symbol, start in rows
        ],
        columns=["kind", "venue", "symbol", "start_ts"],
    )


def statuses(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [{"kind": "ohlcv", "venue": venue, "symbol": symbol, "state": state} for venue, symbol, state in rows],
        columns=["kind", "venue", "symbol", "state"],
    )


def test_everything_is_to_come_on_an_empty_database() -> None:
    assert never_asked(SETTINGS, empty("source_coverage"), empty("source_status")) == [BTC, ETH]


def test_an_hourly_run_of_this_month_does_not_hide_that_the_history_is_missing() -> None:
    """A first backfill without a network failed; once it was back, the hourly run filled the month and nothing more."""
    known = coverage(("ohlcv", "binanceus", BTC, "2026-11-01"), ("ohlcv", "binanceus", ETH, "2026-11-01"))
    assert never_asked(SETTINGS, known, statuses()) == [BTC, ETH]


def test_a_symbol_added_later_has_its_history_to_come_alone() -> None:
    known = coverage(("ohlcv", "binanceus", BTC, "2024-01-01"))
    assert never_asked(SETTINGS, known, statuses()) == [ETH]


def test_other_kinds_and_venues_that_are_no_longer_listed_say_nothing() -> None:
    known = coverage(("funding", "binanceus", BTC, "2024-01-01"), ("ohlcv", "okx", BTC, "2024-01-01"))
    assert never_asked(SETTINGS, known, statuses()) == [BTC, ETH]


def test_a_symbol_that_every_venue_refuses_for_good_is_not_waited_for() -> None:
    said = statuses(
        ("binanceus", ETH, "UNKNOWN_SYMBOL"), ("kraken", ETH, "CLOSED"), ("binanceus", BTC, "UNKNOWN_SYMBOL")
    )
    assert never_asked(SETTINGS, coverage(), said) == [BTC]
    out = statuses(("binanceus", ETH, "UNKNOWN_SYMBOL"), ("kraken", ETH, "OUTAGE"))
    assert never_asked(SETTINGS, coverage(), out) == [BTC, ETH]
