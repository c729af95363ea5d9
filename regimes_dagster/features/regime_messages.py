"""What a REGIME_CONFIRMED event says.

What belongs here: severity, words and payload. What does not: when it is raised (``multi_timeframe.py``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regimes_dagster.parameters import MultiTimeframeParameters

FEATURE = "regimes"
EVENT_TYPE = "REGIME_CONFIRMED"
SOURCE = "REGIME"
#: Level of a confirmation whose primary regime is SUPER_HOT or CAPITULATION.
WARNING_LEVEL = 2


@dataclass(frozen=True)
class Snapshot:
    """One symbol at one hour; mappings are per timeframe, NaN where unknown."""

    symbol: str
    primary: str
    regimes: Mapping[str, str]
    raw: Mapping[str, str]
    price_z: Mapping[str, float]
    vol_z: Mapping[str, float]
    family: int
    n_timeframes: int
    confidence: float
    confidence_weighted: float
    share: float
    long_bias: float
    risk_multiplier: float
    heat: float


def confirmation_message(
    event: Mapping[Any, Any], now: Snapshot, params: MultiTimeframeParameters, config_hash: str
) -> dict[str, Any]:
    """One row of ``episode_events`` from a row of ``Episodes.events`` and the symbol at that hour."""
    votes = 0 if math.isnan(now.confidence) else round(now.confidence * now.n_timeframes)
    ended = event["phase"] == "CLOSE"
    headline = "Regime Confirmation Ended" if ended else "Regime Confirmed"
    bias = "bullish" if event["key"].endswith(":1") else "bearish"
    opened = f"{now.primary}: {votes} of {now.n_timeframes} timeframes are {bias}"
    closed = f"The {bias} confirmation ended; the primary regime is {now.primary}"
    return {
        "feature": FEATURE,
        "episode_id": event["episode_id"],
        "phase": event["phase"],
        "level": event["level"],
        "event_type": EVENT_TYPE,
        "key": event["key"],
        "symbol": now.symbol,
        "asset_pair": None,
        "ts": event["ts"],
        "onset_ts": event["onset_ts"],
        "severity": "WARNING" if event["peak"] >= WARNING_LEVEL else "INFO",
        "title": f"{headline} - {now.symbol}",
        "description": closed if ended else opened,
        "source": SOURCE,
        "data": {
            "primary_regime": now.primary,
            "confidence": _number(now.confidence),
            "confidence_weighted": _number(now.confidence_weighted),
            "regimes": dict(now.regimes),
            "long_bias": _number(now.long_bias),
            "risk_multiplier": _number(now.risk_multiplier),
            "heat": _number(now.heat),
        },
        "explain": {
            "inputs": {
                str(name): {
                    "price_z": _number(now.price_z[name]),
                    "vol_z": _number(now.vol_z[name]),
                    "raw": now.raw[name],
                    "weight": timeframe.weight,
                }
                for name, timeframe in params.timeframes.items()
            },
            "terms": {
                "family": now.family,
                "votes": votes,
                "n_timeframes": now.n_timeframes,
                "weight_share": _number(now.share),
            },
            "thresholds": {
                "confidence": params.confirm_threshold,
                "weight_share": params.confirm_threshold,
                "release": params.release,
            },
        },
        "suppressed_reason": event["suppressed_reason"],
        "config_hash": config_hash,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
