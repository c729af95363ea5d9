"""One literal answer per venue, and exactly what it means: side of the position, base amount, USD, key.

The rows are written as the venues' public documentation shows them; the numbers were worked out by hand. The wire
servers of ``tests/servers`` tell their truth by formula, and a formula can be wrong twice.
"""

from typing import Any

import pytest

from regimes_dagster.sources import (
    liquidations_bitfinex,
    liquidations_deribit,
    liquidations_gate,
    liquidations_krakenfutures,
)
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.instruments import Instrument, kraken_inverse, perpetual

MS = 1_742_450_400_123  # 2025-03-20 06:00:00.123


def kraken_element(direction: str, quantity: str, price: str, order_type: str = "Liquidation") -> dict[str, Any]:
    return {
        "uid": "3af2a0bc-1f4a-4d33-8b1c-2d2f5b3f7f0a",
        "timestamp": MS,
        "event": {
            "Execution": {
                "execution": {
                    "uid": "b8a3c1de-0d14-4f0f-9d2e-b6ec3a1f0a11",
                    "makerOrder": {"orderType": "Limit", "direction": "Buy" if direction == "Sell" else "Sell"},
                    "takerOrder": {"orderType": order_type, "direction": direction, "quantity": quantity},
                    "timestamp": MS,
                    "quantity": quantity,
                    "price": price,
                    "markPrice": "84000.5",
                    "limitFilled": False,
                    "usdValue": "0",
                },
                "takerReducedQuantity": "",
            }
        },
    }


@pytest.mark.parametrize(
    ("instrument", "direction", "quantity", "price", "side", "amount", "usd"),
    [
        (perpetual("krakenfutures", "BTC/USDT"), "Sell", "0.25", "84000", "LONG", 0.25, 21_000.0),
        (perpetual("krakenfutures", "BTC/USDT"), "Buy", "0.25", "84000", "SHORT", 0.25, 21_000.0),
        # The older contracts count USD: 21,000 of them at 84,000 are a quarter of a bitcoin.
        (kraken_inverse("BTC/USDT"), "Sell", "21000", "84000", "LONG", 0.25, 21_000.0),
    ],
)
def test_krakenfutures(
    instrument: Instrument, direction: str, quantity: str, price: str, side: str, amount: float, usd: float
) -> None:
    row, liquidated = liquidations_krakenfutures._execution(instrument, kraken_element(direction, quantity, price))
    assert liquidated
    assert (row.ms, row.side, row.price) == (MS, side, float(price))
    assert (row.amount, row.usd) == (pytest.approx(amount), pytest.approx(usd))
    assert row.event_id == "3af2a0bc-1f4a-4d33-8b1c-2d2f5b3f7f0a"


@pytest.mark.parametrize("order_type", ["Market", "Limit", "Stop", "IoC"])
def test_krakenfutures_other_orders_are_no_liquidations(order_type: str) -> None:
    element = kraken_element("Sell", "1", "84000", order_type)
    assert not liquidations_krakenfutures._execution(perpetual("krakenfutures", "BTC/USDT"), element)[1]


def deribit_trade(flag: str | None, direction: str, amount: float, price: float) -> dict[str, Any]:
    trade = {
        "trade_seq": 204815, "trade_id": "364109741", "timestamp": MS, "tick_direction": 3, "price": price,
        "mark_price": 84001.2, "instrument_name": "BTC-PERPETUAL", "index_price": 84010.0, "direction": direction,
        "contracts": 10.0, "amount": amount,
    }  # fmt: skip
    return trade if flag is None else trade | {"liquidation": flag}


@pytest.mark.parametrize(
    ("flag", "direction", "sides"),
    [
        ("T", "sell", ["LONG"]),
        ("T", "buy", ["SHORT"]),
        ("M", "buy", ["LONG"]),
        ("M", "sell", ["SHORT"]),
        ("MT", "sell", ["LONG", "SHORT"]),
        (None, "sell", []),
    ],
)
def test_deribit(flag: str | None, direction: str, sides: list[str]) -> None:
    inverse = perpetual("deribit", "BTC/USDT")
    rows = liquidations_deribit._events(inverse, deribit_trade(flag, direction, 21_000.0, 84_000.0))
    assert [row.side for row in rows] == sides
    for row in rows:
        assert (row.amount, row.usd) == (pytest.approx(0.25), pytest.approx(21_000.0)), "amounts are USD"
    assert len({row.event_id for row in rows}) == len(sides)
    if len(sides) == 1:
        assert rows[0].event_id == "364109741"


def test_deribit_linear_amounts_are_in_the_asset() -> None:
    linear = perpetual("deribit", "SOL/USDT")
    (row,) = liquidations_deribit._events(linear, deribit_trade("T", "sell", 40.0, 130.0))
    assert (row.amount, row.usd) == (pytest.approx(40.0), pytest.approx(5_200.0))


def test_deribit_a_flag_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="liquidation flag"):
        liquidations_deribit._events(perpetual("deribit", "BTC/USDT"), deribit_trade("X", "sell", 1.0, 1.0))


def bitfinex_cells(amount: float, match: int, price: float | None) -> list[Any]:
    return ["pos", 171_085_137, MS, None, "tBTCF0:USTF0", amount, 83_900, None, match, 1, None, price]


@pytest.mark.parametrize(("amount", "side"), [(0.25, "LONG"), (-0.25, "SHORT")])
def test_bitfinex(amount: float, side: str) -> None:
    native, row, matched = liquidations_bitfinex._row(bitfinex_cells(amount, 1, 84_000.0))
    assert matched
    assert native == perpetual("bitfinex", "BTC/USDT").native
    assert (row.side, row.amount, row.usd, row.ms) == (side, 0.25, 21_000.0, MS)
    assert row.event_id == f"171085137-{MS}-{amount}"


def test_bitfinex_counts_the_match_and_not_the_start() -> None:
    assert not liquidations_bitfinex._row(bitfinex_cells(0.25, 0, None))[2]


class Answers(Client):
    """A client that gives one answer, and remembers what was asked."""

    def __init__(self, venue: str, answer: Any) -> None:
        super().__init__(venue)
        self.answer, self.asked = answer, {}

    def ask(self, symbol: str, method: str, params: Any, now: Any = None) -> Any:
        self.asked = dict(params)
        return self.answer


def test_gate() -> None:
    from regimes_dagster.partitions import Window, utc

    row = {
        "lsr_taker": 1.2, "lsr_account": 1.1, "long_liq_size": 100, "short_liq_size": 20, "open_interest": 124724,
        "short_liq_usd": 1680.5, "mark_price": "84000", "top_lsr_size": 1.02, "time": 1_742_450_400,
        "short_liq_amount": 0.02, "long_liq_amount": 0.25, "open_interest_usd": 1511, "top_lsr_account": 1.5,
        "long_liq_usd": 21000.0,
    }  # fmt: skip
    client = Answers("gate", [row])
    window = Window(utc("2025-03-20 06:00"), utc("2025-03-20 07:00"))
    (stat,) = liquidations_gate.see(client, perpetual("gate", "BTC/USDT"), window, utc("2025-03-20 12:01")).stats or ()
    assert (stat.long_usd, stat.short_usd) == (21_000.0, 1_680.5)
    assert stat.end_ms == 1_742_454_000_000, "the venue names the start of the hour, we its end"
    assert client.asked["from"] == 1_742_450_400, "seconds, not milliseconds"
