"""What FUNDING_ANOMALY and FUNDING_REVERSAL say.

What belongs here: reasons in words, payloads and explanations of one hour. What does not: when they are said
(``funding_anomaly.py``, ``episodes.py``).
"""

from typing import Any

import numpy as np

from regimes_dagster.parameters import FundingParameters

SOURCE = "FUNDING"

Hour = dict[str, Any]


def reasons(
    z: float, change_pp: float, sd: float, predicted_z: float, *, flags: tuple[bool, bool, bool, bool]
) -> list[str]:
    """Reasons in the guide's words: z-score, rapid change, high volatility, and a predicted anomaly.

    Parameters
    ----------
    flags
        z-score anomaly, rapid, high volatility, anomaly of the predicted rate only.
    """
    texts = (
        f"Z-score anomaly: {z:.2f}σ",
        f"Rapid change: {change_pp:+.3f}pp/24h",
        f"High volatility: {sd:.5f}",
        f"Predicted z-score: {predicted_z:.2f}σ",
    )
    return [text for text, flag in zip(texts, flags, strict=True) if flag]


def anomaly_message(symbol: str, hour: Hour) -> tuple[str, str, dict[str, Any]]:
    """Title, description and payload of an anomaly."""
    names = (
        "funding_rate", "funding_z_score", "anomaly_score", "reasons", "funding_rate_8h", "funding_apr", "interval_h",
        "venue", "change_24h_pp", "half_life_h",
    )  # fmt: skip
    title = f"Funding Anomaly Detected - {symbol}"
    rate, score = _text(hour["funding_rate"], ".5f"), _text(hour["anomaly_score"], ".2f")
    return title, f"Funding rate {rate} with anomaly score {score}", {name: json_value(hour[name]) for name in names}


def reversal_message(symbol: str, kind: str, hour: Hour) -> tuple[str, str, dict[str, Any]]:
    """Title, description and payload of a reversal."""
    data = {
        "kind": kind,
        "trend_before": trend(hour["before_24h"]),
        "trend_after": trend(hour["funding_rate_8h"]),
        **{
            name: json_value(hour[name])
            for name in ("peak_z", "change_24h_pp", "funding_rate", "funding_rate_8h", "venue")
        },
    }
    change = _text(hour["change_24h_pp"], "+.3f")
    text = {
        "SIGN_FLIP": f"Funding changed sign, {change} pp in 24 h",
        "RAPID": f"Funding changed by {change} pp in 24 h",
        "UNWIND": f"Extreme funding is unwinding from z {_text(hour['peak_z'], '.2f')}, {change} pp in 24 h",
    }[kind]
    return f"Funding Reversal Detected - {symbol}", text, data


def explanation(hour: Hour, params: FundingParameters) -> dict[str, Any]:
    """Inputs, terms and thresholds in force."""
    inputs = ("venue", "settle_ts", "funding_rate", "interval_h", "funding_rate_8h", "before_24h", "predicted_rate")
    terms = (
        "funding_mean", "funding_volatility", "n_ref", "funding_z_score", "predicted_z", "change_24h_pp",
        "funding_apr", "peak_z", "peak_rate_8h", "peak_mean",
    )  # fmt: skip
    thresholds = (
        "anomaly_z_threshold", "min_deviation", "sd_floor", "reversal_threshold", "volatility_threshold", "critical_z",
        "critical_apr", "off_z", "flip_min_pp", "unwind_peak_z", "unwind_share",
    )  # fmt: skip
    return {
        "inputs": {name: json_value(hour[name]) for name in inputs},
        "terms": {name: json_value(hour[name]) for name in terms},
        "thresholds": {name: getattr(params, name) for name in thresholds},
    }


def trend(rate_8h: float) -> str | None:
    """Who pays: POSITIVE (longs pay), NEGATIVE (shorts pay) or FLAT; ``None`` where unknown."""
    if not np.isfinite(rate_8h):
        return None
    return "FLAT" if rate_8h == 0 else "POSITIVE" if rate_8h > 0 else "NEGATIVE"


def json_value(value: Any) -> Any:
    """Plain JSON: numbers as numbers, unknown as null."""
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def _text(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "unknown"
