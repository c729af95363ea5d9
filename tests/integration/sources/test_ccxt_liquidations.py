"""Liquidations of every venue through the real client library: side, size and USD, against the truth of the server.

History: the library's unified call gives no times on one venue, settlements on another, doubled rows on a third and
sizes wrong by the contract on a fourth; a public ledger valued inverse contracts wrongly for years.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pytest

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_liquidations import LiquidationSource
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.instruments import Instrument, kraken_inverse, perpetual
from regimes_dagster.sources.protocol import (
    Batch,
    SourceError,
    UnknownSymbol,
)
from regimes_dagster.sources.registry import _LIQUIDATION_VENUES
from regimes_dagster.sources.validate import validate_batch
from tests.integration.sources.faults import every_fault
from tests.servers import liquidations as wire
from tests.servers.http import (
    DOUBLED,
    EMPTY,
    SERVER_ERROR,
    Fault,
    VenueServer,
)

NOW = utc("2025-03-20 10:01:30")
DAY = Window(utc("2025-03-18"), utc("2025-03-19"))
SYMBOL = "BTC/USDT"

VENUES: dict[str, tuple[str, Callable[..., None], Callable[[str], Any], str]] = {
    "krakenfutures": (
        "PF_XBTUSD", wire.krakenfutures,
        lambda url: {"charts": f"{url}/charts/", "history": f"{url}/history/", "public": f"{url}/public/"}, "T",
    ),
    "deribit": ("BTC-PERPETUAL", wire.deribit, lambda url: {"rest": url}, "TM"),
    "gate": ("BTC_USDT", wire.gate, lambda url: {"public": {"futures": url}}, "TM"),
    "bitfinex": ("tBTCF0:USTF0", wire.bitfinex, lambda url: {"public": url}, "TM"),
}  # fmt: skip
every_venue = pytest.mark.parametrize("venue", list(VENUES))


@contextmanager
def at(venue: str) -> Iterator[tuple[VenueServer, wire.LiquidationMarket, LiquidationSource]]:
    native, speak, urls, _ = VENUES[venue]
    with VenueServer() as server:
        market = wire.LiquidationMarket([native], milliseconds(NOW))
        speak(server, market)
        options = {"urls": {"api": urls(server.url)}, "enableRateLimit": False, "timeout": 500}
        client = Client(venue, options, sleep=lambda _: None)
        yield server, market, LiquidationSource(client, _LIQUIDATION_VENUES[venue]())


def fetch(source: LiquidationSource, window: Window = DAY, symbol: str = SYMBOL) -> Batch:
    batch = source.fetch("liquidations", symbol, window, NOW)
    validate_batch(source.name, symbol, batch, window)
    return batch


def truth(venue: str, window: Window) -> pd.DataFrame:
    """One row per liquidated position: ms, side, price, amount, usd."""
    seen = VENUES[venue][3]
    rows = []
    for trade in wire.trades(milliseconds(window.start) + 1, milliseconds(window.end)):
        flags = [flag for flag in "TM" if flag in trade.liquidated]
        for flag, side in zip(flags, trade.sides, strict=True):
            if flag in seen:
                rows.append((trade.ms, side, trade.price, trade.amount, trade.amount * trade.price))
    return pd.DataFrame(rows, columns=["ms", "side", "price", "amount", "usd"])


@every_venue
def test_hourly_sums_are_exactly_the_truth_with_zeros_where_nothing_was_liquidated(venue: str) -> None:
    with at(venue) as (_, __, source):
        batch = fetch(source)
        hours = batch.rows["liquidations"].set_index("ts")
        assert list(hours.index) == list(DAY.hours())
        want = truth(venue, DAY)
        ends = pd.to_datetime(want["ms"], unit="ms", utc=True).dt.ceil("h")
        for side, column in (("LONG", "long_usd"), ("SHORT", "short_usd")):
            sums = want[want["side"] == side].groupby(ends)["usd"].sum().reindex(DAY.hours(), fill_value=0.0)
            assert hours[column].to_numpy() == pytest.approx(sums.to_numpy(), rel=1e-9)
        assert (hours["long_usd"] + hours["short_usd"] == 0).sum() >= 8
        assert batch.covered == (DAY,)
        assert not batch.notes


@pytest.mark.parametrize("venue", ["krakenfutures", "deribit", "bitfinex"])
def test_single_events_have_the_truths_side_size_and_usd(venue: str) -> None:
    with at(venue) as (_, __, source):
        events = fetch(source).rows["liquidation_events"]
        want = truth(venue, DAY).sort_values(["ms", "side"], ignore_index=True)
        got = events.assign(ms=[milliseconds(ts) for ts in events["ts"]]).sort_values(["ms", "liquidated_side"])
        assert list(got["ms"]) == list(want["ms"])
        assert list(got["liquidated_side"]) == list(want["side"])
        for column in ("price", "amount", "usd"):
            assert got[column].to_numpy() == pytest.approx(want[column].to_numpy(), rel=1e-9)
        assert events["event_id"].is_unique


@every_venue
def test_the_daily_volume_comes_with_the_end_of_the_day(venue: str) -> None:
    with at(venue) as (_, __, source):
        rows = fetch(source, Window(utc("2025-03-16"), utc("2025-03-19"))).rows["perp_volume_usd"]
        assert list(rows["ts"]) == [utc("2025-03-17"), utc("2025-03-18"), utc("2025-03-19")]
        assert set(rows["volume_usd"]) == {{"deribit": 5000.0, "gate": 7000.0}.get(venue, 50 * (120 + 90 + 90) / 3)}
        assert fetch(source, Window(utc("2025-03-18 03:00"), utc("2025-03-18 09:00"))).rows["perp_volume_usd"].empty


def test_hours_that_kraken_says_are_empty_are_not_asked_trade_by_trade() -> None:
    with at("krakenfutures") as (server, market, source):
        market.page = 10_000
        quiet = Window(utc("2025-03-18"), utc("2025-03-18 12:00"))
        fetch(source, quiet)
        asked = [(int(s.query["since"]), int(s.query["before"])) for s in server.asked("executions")]
        hours = sum((before - since) // 3_600_000 for since, before in asked)
        assert hours == 8, "every third hour has no liquidation"


def test_without_its_control_total_kraken_is_asked_for_every_hour() -> None:
    with at("krakenfutures") as (server, _, source):
        server.fail_while(lambda seen: "liquidation-volume" in seen.path, Fault(404, '{"errors":["gone"]}'))
        batch = fetch(source)
        assert batch.rows["liquidations"]["long_usd"].sum() == pytest.approx(
            truth("krakenfutures", DAY).query("side == 'LONG'")["usd"].sum()
        )
        assert any("no control total" in note for note in batch.notes)


def test_executions_that_differ_from_the_control_total_are_noted() -> None:
    with at("krakenfutures") as (server, _, source):

        def doubled(answer: Any) -> Any:
            answer["result"]["data"] = [str(2 * float(value)) for value in answer["result"]["data"]]
            return answer

        server.fail_while(lambda seen: "liquidation-volume" in seen.path, Fault(change=doubled))
        assert any("differ from the venue's own total" in note for note in fetch(source).notes)


def test_bitfinex_is_asked_once_for_all_symbols() -> None:
    with at("bitfinex") as (server, market, source):
        market.natives.append("tETHF0:USTF0")
        fetch(source)
        asked = len(server.asked("liquidations/hist"))
        other = fetch(source, symbol="ETH/USDT").rows["liquidation_events"]
        assert len(server.asked("liquidations/hist")) == asked
        assert len(other) == len(truth("bitfinex", DAY))


@pytest.mark.parametrize("venue", ["krakenfutures", "deribit", "bitfinex"])
def test_trade_by_trade_history_is_bounded_in_days(venue: str) -> None:
    with at(venue) as (server, _, source):
        old = Window(utc("2025-01-01"), utc("2025-02-01"))
        assert fetch(source, old).unavailable == (old,)
        assert not server.log


def test_hourly_statistics_are_not_bounded_in_days() -> None:
    with at("gate") as (_, __, source):
        old = Window(utc("2024-12-30"), utc("2025-01-01"))
        assert fetch(source, old).covered == (old,)


@every_venue
def test_liquidations_survive_a_daily_volume_that_fails(venue: str) -> None:
    with at(venue) as (server, _, source):
        server.fail_while(
            lambda seen: any(k in seen.path for k in ("1d", "1D", "candlesticks", "tradingview")), SERVER_ERROR
        )
        batch = fetch(source)
        assert len(batch.rows["liquidations"]) == 24
        assert any("no perpetual volume" in note for note in batch.notes)


@every_venue
@every_fault
def test_every_venues_faults_are_classified_alike(venue: str, fault: Fault, expected: type[SourceError]) -> None:
    with at(venue) as (server, _, source):
        server.fail_while(lambda _: True, fault)
        with pytest.raises(SourceError) as caught:
            fetch(source)
        assert caught.type is expected


@every_venue
def test_a_symbol_the_venue_does_not_list_is_named_as_such(venue: str) -> None:
    with at(venue) as (_, __, source), pytest.raises(UnknownSymbol):
        fetch(source, symbol="NOSUCH/USDT")


#: What each venue gives liquidations by; the other questions have their own tests.
ROWS = {
    "krakenfutures": "executions", "deribit": "last_trades", "gate": "contract_stats", "bitfinex": "liquidations/hist",
}  # fmt: skip


def assert_day_is_truth(venue: str, batch: Batch) -> None:
    hours = batch.rows["liquidations"]
    assert list(hours["ts"]) == list(DAY.hours())
    want = truth(venue, DAY)
    for side, column in (("LONG", "long_usd"), ("SHORT", "short_usd")):
        assert hours[column].sum() == pytest.approx(want[want["side"] == side]["usd"].sum(), rel=1e-9)


@every_venue
def test_doubled_rows_count_once(venue: str) -> None:
    with at(venue) as (server, _, source):
        server.fail_while(lambda seen: ROWS[venue] in seen.path, DOUBLED)
        assert_day_is_truth(venue, fetch(source))


@every_venue
@pytest.mark.parametrize("number", [0, 1], ids=["first page", "second page"])
def test_a_page_that_comes_back_empty_is_asked_again(venue: str, number: int) -> None:
    with at(venue) as (server, market, source):
        # Larger pages than hours: the answer that is empty is all there is of its hours.
        market.page = 100 if venue == "gate" else 500
        server.fail_next(*[Fault()] * number, EMPTY, path=ROWS[venue])
        assert_day_is_truth(venue, fetch(source))


def test_hours_for_which_krakens_total_is_not_zero_and_nothing_is_shown_stay_unknown() -> None:
    with at("krakenfutures") as (server, _, source):
        server.fail_while(lambda seen: "executions" in seen.path, EMPTY)
        batch = fetch(source)
        hours = batch.rows["liquidations"]
        assert len(hours) == 8, "only the hours that the venue says are empty are known"
        assert (hours["long_usd"] + hours["short_usd"] == 0).all()
        assert sum(len(part.hours()) for part in batch.unavailable) == 16
        assert sum(len(part.hours()) for part in batch.covered) == 8
        assert any("differ from the venue's own total" in note for note in batch.notes)


def test_hours_that_gates_statistics_leave_out_are_asked_again_later() -> None:
    with at("gate") as (server, _, source):
        left_out = int(utc("2025-03-18 05:00").timestamp())
        server.fail_while(
            lambda seen: "contract_stats" in seen.path,
            Fault(change=lambda rows: [row for row in rows if row["time"] != left_out]),
        )
        batch = fetch(source)
        assert batch.unavailable == (Window(utc("2025-03-18 05:00"), utc("2025-03-18 06:00")),)
        assert len(batch.rows["liquidations"]) == 23


@pytest.mark.parametrize(
    ("venue", "symbol", "native", "kind"),
    [
        ("krakenfutures", "BTC/USDT", "PF_XBTUSD", "linear"),
        ("krakenfutures", "SOL/USDT", "PF_SOLUSD", "linear"),
        ("deribit", "ETH/USDT", "ETH-PERPETUAL", "inverse"),
        ("deribit", "SOL/USDT", "SOL_USDC-PERPETUAL", "linear"),
        ("gate", "BTC/USDT", "BTC_USDT", "linear"),
        ("bitfinex", "BTC/USDT", "tBTCF0:USTF0", "linear"),
        ("hyperliquid", "PEPE/USDT", "kPEPE", "linear"),
        ("okx", "SOL/USDT", "SOL-USDT-SWAP", "linear"),
        ("binanceusdm", "SOL/USDT", "SOLUSDT", "linear"),
    ],
)
def test_every_venue_has_its_own_name_for_a_symbol(venue: str, symbol: str, native: str, kind: str) -> None:
    instrument = perpetual(venue, symbol)
    assert (instrument.native, instrument.kind) == (native, kind)


def test_linear_and_inverse_contracts_are_worth_what_they_say() -> None:
    linear = Instrument("BTC/USDT", "X", "linear", 0.01)
    assert linear.base_amount(500, 60_000.0) == pytest.approx(5.0)
    assert linear.usd(500, 60_000.0) == pytest.approx(300_000.0)
    inverse = kraken_inverse("BTC/USDT")
    assert inverse.native == "PI_XBTUSD"
    assert inverse.usd(30_000, 60_000.0) == 30_000
    assert inverse.base_amount(30_000, 60_000.0) == pytest.approx(0.5)


def test_a_late_liquidation_is_taken_in_by_the_next_run() -> None:
    with at("deribit") as (_, market, source):
        window = Window(utc("2025-03-20 07:00"), utc("2025-03-20 10:00"))
        hidden = next(t for t in wire.trades(milliseconds(window.start), milliseconds(window.end)) if t.liquidated)
        market.late_ms[hidden.ms] = milliseconds(NOW) + 1
        before = fetch(source, window).rows["liquidations"][["long_usd", "short_usd"]].to_numpy().sum()
        market.now_ms = milliseconds(NOW + HOUR)
        after = source.fetch("liquidations", SYMBOL, window, NOW + HOUR).rows["liquidations"]
        assert after[["long_usd", "short_usd"]].to_numpy().sum() > before
