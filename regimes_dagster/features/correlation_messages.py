"""What a CORRELATION_BREAK event says.

What belongs here: severity, words and payload. What does not: when it is raised (``correlation_engine.py``).
"""

import math
from collections.abc import Mapping
from typing import Any

from regimes_dagster.features.break_rule import CRITICAL_LEVEL
from regimes_dagster.parameters import CorrelationParameters

FEATURE = "correlation_features"
EVENT_TYPE = "CORRELATION_BREAK"
SOURCE = "CORRELATION"


def divergence_strength(rho: float, break_strength: float, trigger: str) -> float:
    """``-rho`` in opposition (the guide: -0.65 gives 0.65), else the strength relative to the baseline."""
    return -rho if trigger == "ABSOLUTE" else break_strength


def break_message(
    event: Mapping[Any, Any],
    figures: Mapping[str, float],
    *,
    trigger: str,
    signal: str,
    half_life_h: float,
    adf_p: float,
    evidence: Mapping[str, Any],
    params: CorrelationParameters,
    config_hash: str,
) -> dict[str, Any]:
    """One row of ``episode_events``.

    Parameters
    ----------
    event
        Row of ``Episodes.events``.
    figures
        ``PairFigures`` of the pair at the hour of the event, NaN where unknown (null in the payload).
    """
    pair = event["key"]
    rho, baseline = figures["rho"], figures["baseline"]
    usual = "" if math.isnan(baseline) else f", usually {baseline:.2f}"
    ended = event["phase"] == "CLOSE"
    headline = "Correlation Break Ended" if ended else "Correlation Break"
    words = "is back near its usual level" if ended else "fell out of its usual range"
    return {
        "feature": FEATURE,
        "episode_id": event["episode_id"],
        "phase": event["phase"],
        "level": event["level"],
        "event_type": EVENT_TYPE,
        "key": pair,
        "symbol": pair,
        "asset_pair": pair,
        "ts": event["ts"],
        "onset_ts": event["onset_ts"],
        "severity": "CRITICAL" if event["peak"] >= CRITICAL_LEVEL else "WARNING",
        "title": f"{headline} - {pair}",
        "description": f"72 h correlation {words}: {rho:.2f}{usual}".replace("72 h", f"{params.window_h} h"),
        "source": SOURCE,
        "data": {
            "return_correlation": _number(rho),
            "divergence_strength": _number(divergence_strength(rho, figures["break_strength"], trigger)),
            "signal": signal,
            "baseline_correlation": _number(baseline),
            "break_z": _number(figures["break_z"]),
            "break_strength": _number(figures["break_strength"]),
            "trigger": trigger,
            "spread_z": _number(figures["spread_z"]),
            "beta": _number(figures["beta"]),
            "evidence": dict(evidence),
        },
        "explain": {
            "inputs": {name: _number(figures[name]) for name in ("rho", "n_obs", "corr_24h", "corr_168h", "corr_720h")},
            "terms": {
                **{
                    name: _number(figures[name])
                    for name in ("baseline", "band_low", "band_high", "break_z", "beta", "spread_z")
                },
                "drop": _number(baseline - rho),
                "half_life_h": _number(half_life_h),
                "adf_p": _number(adf_p),
            },
            "thresholds": {
                "break_z": params.break_z,
                "min_drop": params.min_drop,
                "absolute_threshold": params.absolute_threshold,
                "critical_z": params.critical_z,
                "off_z": params.off_z,
            },
        },
        "suppressed_reason": event["suppressed_reason"],
        "config_hash": config_hash,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
