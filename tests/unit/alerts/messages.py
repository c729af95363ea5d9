"""Messages for the format tests: the guide's own numbers, and odd texts of every kind."""

from typing import Any

import pandas as pd
from hypothesis import strategies as st

from regimes_dagster.alerts.message import DATA_KEYS, Message
from regimes_dagster.vocabulary import SEVERITIES

#: The guide's printed examples, with the whitespace of their JSON and its text as printed (σ as a real letter).
CASCADE = """{
  "event_type": "LIQUIDATION_CASCADE",
  "symbol": "BTC/USDT",
  "severity": "CRITICAL",
  "data": {
    "total_liquidated_usd": 1500000,
    "velocity_usd_per_hour": 375000,
    "side_bias": "LONG",
    "severity": 1.875
  }
}"""
FUNDING = """{
  "event_type": "FUNDING_ANOMALY",
  "symbol": "BTC/USDT",
  "severity": "WARNING",
  "data": {
    "funding_rate": 0.00125,
    "funding_z_score": 2.3,
    "anomaly_score": 2.8,
    "reasons": ["Z-score anomaly: 2.30σ", "High volatility: 0.00042"]
  }
}"""
CORRELATION = """{
  "event_type": "CORRELATION_BREAK",
  "asset_pair": "BTC/USDT/ETH/USDT",
  "data": {
    "return_correlation": -0.65,
    "divergence_strength": 0.65,
    "signal": "POTENTIAL_PAIR_TRADE"
  }
}"""
REQUEST = """{
     "event_type": "LIQUIDATION_CASCADE",
     "timestamp": "2024-02-03T12:34:56.789Z",
     "symbol": "BTC/USDT",
     "severity": "CRITICAL",
     "title": "Liquidation Cascade Detected - BTC/USDT",
     "description": "Large liquidation event with velocity 375000 USD/h",
     "source": "CASCADE",
     "data": { ... }
   }"""


def message(**values: Any) -> Message:
    """The guide's cascade, with some values replaced."""
    given: dict[str, Any] = {
        "alert_id": "0123456789abcdef:OPEN:1",
        "episode_id": "0123456789abcdef",
        "phase": "OPEN",
        "event_type": "LIQUIDATION_CASCADE",
        "symbol": "BTC/USDT",
        "severity": "CRITICAL",
        "ts": pd.Timestamp("2024-02-03T12:34:56.789Z"),
        "title": "Liquidation Cascade Detected - BTC/USDT",
        "description": "Large liquidation event with velocity 375000 USD/h",
        "source": "CASCADE",
        "data": {
            "severity": 1.875,
            "side_bias": "LONG",
            "total_liquidated_usd": 1500000.0,
            "velocity_usd_per_hour": 375000.0,
        },
    }
    return Message(**{**given, **values})


#: What breaks chat formats: emoji with joiners, right-to-left text and overrides, combining marks, NUL and other
#: controls, lone surrogates, markup, entities and long runs.
ODD = st.one_of(
    st.text(max_size=300),
    st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=200),
    st.sampled_from(
        [
            "",
            " ",
            "\x00",
            "a\x00b",
            "👩‍👩‍👧‍👦" * 900,
            "🏳️‍🌈" * 400,
            "שלום " * 2000,
            "مرحبا\u202e" * 500,
            "e\u0301" * 3000,
            "&<>" * 2500,
            "&amp;" * 1500,
            "@everyone <!channel> <b>",
            "\ud800",
            "x" * 50_000,
            "\n" * 6000,
            "\u200b" * 10,
            "*_`~|" * 900,
        ]
    ),
)  # fmt: skip

FIGURES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), ODD, st.lists(ODD, max_size=4),
    st.dictionaries(ODD, st.floats(), max_size=3),
)  # fmt: skip


@st.composite
def odd_messages(draw: Any) -> Message:
    """Messages whose every text is odd."""
    event_type = draw(st.sampled_from(sorted(DATA_KEYS)))
    keys = st.one_of(st.sampled_from(DATA_KEYS[event_type]), ODD)
    return message(
        event_type=event_type,
        severity=draw(st.sampled_from(SEVERITIES)),
        symbol=draw(ODD),
        title=draw(ODD),
        description=draw(ODD),
        data=draw(st.dictionaries(keys, FIGURES, max_size=16)),
        is_simulated=draw(st.booleans()),
        reminder=draw(st.integers(0, 2)),
    )
