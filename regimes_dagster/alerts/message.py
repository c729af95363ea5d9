"""What an alert says: the one value that every format is written from.

What belongs here: the fields of an alert that leave the house, the order of its payload's keys, and the names it
carries in headers. What does not: how the body looks (``body.py``, ``discord.py``, ``slack.py``, ``telegram.py``).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

SCHEMA_VERSION = 1

#: The guide's keys of the payload first, in the guide's order, then those the specification adds. PostgreSQL's jsonb
#: keeps no order, so the order is declared here and put back when the body is written.
DATA_KEYS: dict[str, tuple[str, ...]] = {
    "LIQUIDATION_CASCADE": (
        "total_liquidated_usd", "velocity_usd_per_hour", "side_bias", "severity",
        "window_hours", "long_usd", "short_usd", "critical_velocity_usd_per_hour", "intensity_z", "liq_to_oi_pct",
        "coverage", "is_lower_bound", "market_wide", "price_change_pct",
    ),
    "FUNDING_ANOMALY": (
        "funding_rate", "funding_z_score", "anomaly_score", "reasons",
        "funding_rate_8h", "funding_apr", "interval_h", "venue", "change_24h_pp", "half_life_h",
    ),
    "FUNDING_REVERSAL": (
        "kind", "trend_before", "trend_after", "peak_z", "change_24h_pp", "funding_rate", "funding_rate_8h", "venue",
    ),
    "VOLATILITY_REGIME_CHANGE": (
        "previous_regime", "regime", "volatility", "volatility_close", "direction", "risk_multiplier",
        "position_scale", "vol_pctl_90d", "vol_forecast_24h", "flash_wick",
    ),
    "CORRELATION_BREAK": (
        "return_correlation", "divergence_strength", "signal",
        "baseline_correlation", "break_z", "break_strength", "trigger", "spread_z", "beta", "evidence",
    ),
    "REGIME_CONFIRMED": (
        "primary_regime", "confidence", "confidence_weighted", "regimes", "long_bias", "risk_multiplier", "heat",
    ),
    "PIPELINE_FAILED": ("job", "run_id", "step", "error_class"),
    "DATA_GAP": ("newest_ts", "missing_hours", "limit_minutes"),
    "TEST": ("test", "endpoint"),
}  # fmt: skip

#: How many of those keys the guide prints: the last to go when a body is too long.
GUIDE_DATA_KEYS: dict[str, int] = {"LIQUIDATION_CASCADE": 4, "FUNDING_ANOMALY": 4, "CORRELATION_BREAK": 3}


@dataclass(frozen=True)
class Message:
    """One alert as it is told to a receiver.

    Attributes
    ----------
    ts
        Hour that triggered the alert; the ``timestamp`` of the body, so that a body can be made again.
    data
        Payload; numbers may be NaN or infinite (written as null).
    reminder
        0 for the alert itself, n for the n-th repetition of one that is still active.
    """

    alert_id: str
    episode_id: str
    phase: str
    event_type: str
    symbol: str
    severity: str
    ts: pd.Timestamp
    title: str
    description: str
    source: str
    data: Mapping[str, Any]
    asset_pair: str | None = None
    is_simulated: bool = False
    reminder: int = 0


def alert_id(episode_id: str, phase: str, level: int) -> str:
    """The id of an alert: the same whoever computes it, however often."""
    return f"{episode_id}:{phase}:{level}"


def webhook_id(message: Message) -> str:
    """``msg_`` and 24 hex digits: the same for every retry, replay and endpoint, so that receivers can drop doubles.

    A reminder is news on purpose, so it has an id of its own.
    """
    name = message.alert_id if not message.reminder else f"{message.alert_id}#{message.reminder}"
    return "msg_" + hashlib.sha256(name.encode()).hexdigest()[:24]


def ordered_data(event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The payload in its declared order; keys that are not declared follow in alphabetical order."""
    known = [key for key in DATA_KEYS.get(event_type, ()) if key in data]
    return {key: data[key] for key in (*known, *sorted(set(data) - set(known)))}
