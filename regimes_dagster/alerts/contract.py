"""The payload contract: one JSON Schema per event, written from the declarations here.

What belongs here: types and units of every payload key. What does not: their order (``message.py``) and the body's
envelope rules (``body.py``). ``python -m regimes_dagster.alerts.contract`` writes ``schemas_json/``; a test holds
the files against this module and every emitted payload against the files.
"""

import json
import sys
from pathlib import Path
from typing import Any

from regimes_dagster.alerts.body import GUIDE_KEYS
from regimes_dagster.alerts.message import DATA_KEYS, GUIDE_DATA_KEYS
from regimes_dagster.vocabulary import SEVERITIES

FOLDER = Path(__file__).parent / "schemas_json"

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PAIR = r"^[A-Z0-9]+/[A-Z0-9]+/[A-Z0-9]+/[A-Z0-9]+$"
_SYMBOL = r"^[A-Z0-9]+/[A-Z0-9]+$"

Schema = dict[str, Any]


def _number(unit: str, **limits: float) -> Schema:
    return {"type": ["number", "null"], "description": unit, **limits}


def _text(description: str) -> Schema:
    return {"type": ["string", "null"], "description": description}


def _flag(description: str) -> Schema:
    return {"type": ["boolean", "null"], "description": description}


def _one_of(description: str, *values: str) -> Schema:
    return {"enum": [*values, None], "description": description}


_REGIMES = ("STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME")

#: Type, unit and meaning of every payload key, per event.
DATA: dict[str, dict[str, Schema]] = {
    "LIQUIDATION_CASCADE": {
        "total_liquidated_usd": _number("USD in the window", minimum=0),
        "velocity_usd_per_hour": _number("USD per hour in the window", minimum=0),
        "side_bias": _one_of("Side that was liquidated", "LONG", "SHORT", "BALANCED", "NONE"),
        "severity": _number("Velocity over its limit", minimum=0),
        "window_hours": _number("h", minimum=0),
        "long_usd": _number("USD of liquidated longs", minimum=0),
        "short_usd": _number("USD of liquidated shorts", minimum=0),
        "critical_velocity_usd_per_hour": _number("USD per hour: the limit in force", minimum=0),
        "intensity_z": _number("Standard deviations above the usual velocity"),
        "liq_to_oi_pct": _number("Per cent of the open interest", minimum=0),
        "coverage": _number("Share of the venues that was observed", minimum=0, maximum=1),
        "is_lower_bound": _flag("True where a feed is sampled"),
        "market_wide": _flag("Three or more symbols within the hour"),
        "price_change_pct": _number("Per cent over the window"),
    },
    "FUNDING_ANOMALY": {
        "funding_rate": _number("Fraction per interval"),
        "funding_z_score": _number("Standard deviations"),
        "anomaly_score": _number("Score, above 2 is unusual"),
        "reasons": {"type": ["array", "null"], "items": {"type": "string"}, "description": "In words"},
        "funding_rate_8h": _number("Fraction per 8 h"),
        "funding_apr": _number("Fraction per year"),
        "interval_h": _number("h", minimum=0),
        "venue": _text("Venue of the rate"),
        "change_24h_pp": _number("Percentage points in 24 h"),
        "half_life_h": _number("h", minimum=0),
    },
    "FUNDING_REVERSAL": {
        "kind": _one_of("What happened", "RAPID", "UNWIND", "SIGN_FLIP"),
        "trend_before": _text("Direction before"),
        "trend_after": _text("Direction after"),
        "peak_z": _number("Standard deviations at the peak"),
        "change_24h_pp": _number("Percentage points in 24 h"),
        "funding_rate": _number("Fraction per interval"),
        "funding_rate_8h": _number("Fraction per 8 h"),
        "venue": _text("Venue of the rate"),
    },
    "VOLATILITY_REGIME_CHANGE": {
        "previous_regime": _one_of("Regime before", *_REGIMES, "UNKNOWN"),
        "regime": _one_of("Regime now", *_REGIMES, "UNKNOWN"),
        "volatility": _number("Fraction per 24 h", minimum=0),
        "volatility_close": _number("Fraction per 24 h, close to close", minimum=0),
        "direction": _one_of("Direction of the change", "UP", "DOWN"),
        "risk_multiplier": _number("Caution factor", minimum=0),
        "position_scale": _number("Inverse-volatility scale", minimum=0),
        "vol_pctl_90d": _number("Rank within 90 days", minimum=0, maximum=1),
        "vol_forecast_24h": _number("Fraction per 24 h", minimum=0),
        "flash_wick": _flag("A wick, not a move"),
    },
    "CORRELATION_BREAK": {
        "return_correlation": _number("Correlation over 72 h", minimum=-1, maximum=1),
        "divergence_strength": _number("0 usual, 1 perfect opposition", minimum=0, maximum=1),
        "signal": _one_of("What the pair says", "NONE", "CORRELATION_BREAK", "POTENTIAL_PAIR_TRADE"),
        "baseline_correlation": _number("Usual correlation", minimum=-1, maximum=1),
        "break_z": _number("Standard deviations"),
        "break_strength": _number("0 usual, 1 perfect opposition", minimum=0, maximum=1),
        "trigger": _one_of("Rule that holds", "NONE", "RELATIVE", "ABSOLUTE"),
        "spread_z": _number("Standard deviations of the hedged spread"),
        "beta": _number("Hedge ratio"),
        "evidence": {
            "type": ["object", "null"],
            "description": "How often earlier breaks reverted",
            "properties": {
                "n": _number("Earlier breaks", minimum=0),
                "reversal_rate": _number("Share", minimum=0, maximum=1),
            },
        },
    },
    "REGIME_CONFIRMED": {
        "primary_regime": _text("Label of the heaviest timeframe"),
        "confidence": _number("Share of the timeframes that agree", minimum=0, maximum=1),
        "confidence_weighted": _number("Weighted agreement", minimum=0, maximum=1),
        "regimes": {
            "type": ["object", "null"],
            "description": "Label per timeframe",
            "additionalProperties": {"type": ["string", "null"]},
        },
        "long_bias": _number("Directional lean", minimum=-1, maximum=1),
        "risk_multiplier": _number("Caution factor", minimum=0),
        "heat": _number("Mean rank of the heat inputs", minimum=0, maximum=1),
    },
    "PIPELINE_FAILED": {
        "job": _text("Job of the failed run"),
        "run_id": _text("Run in Dagster"),
        "step": _text("Step that failed"),
        "error_class": _text("Class of the error"),
    },
    "DATA_GAP": {
        "newest_ts": _text("Newest hour with data, UTC"),
        "missing_hours": _number("h", minimum=0),
        "limit_minutes": _number("min", minimum=0),
    },
    "TEST": {"test": _flag("Always true"), "endpoint": _text("Name of the endpoint")},
}


def json_schema(event_type: str) -> Schema:
    """The schema of one event's whole body.

    The envelope is closed: the guide's eight keys (and ``asset_pair`` for correlation), no other. The guide's payload
    keys are required; ``truncated`` marks a payload that was cut to 20 kB.
    """
    symbol: Schema = {"type": "string", "pattern": _SYMBOL}
    if event_type == "CORRELATION_BREAK":
        symbol = {"type": "string", "pattern": _PAIR}
    elif event_type in ("PIPELINE_FAILED", "TEST"):
        symbol = {"const": "ALL"}
    envelope: Schema = {
        "event_type": {"const": event_type},
        "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
        "symbol": symbol,
        "severity": {"enum": list(SEVERITIES)},
        "title": {"type": "string", "minLength": 1},
        "description": {"type": "string"},
        "source": {"type": "string", "minLength": 1},
        "data": {
            "type": "object",
            "properties": {**DATA[event_type], "truncated": {"const": True}},
            "required": list(DATA_KEYS[event_type][: GUIDE_DATA_KEYS.get(event_type, 1)]),
            "additionalProperties": False,
        },
    }
    if event_type == "CORRELATION_BREAK":
        envelope["asset_pair"] = {"type": "string", "pattern": _PAIR}
    required = [*GUIDE_KEYS, *(["asset_pair"] if "asset_pair" in envelope else [])]
    return {
        "$schema": _DRAFT,
        "title": event_type,
        "type": "object",
        "properties": envelope,
        "required": required,
        "additionalProperties": False,
    }


def render(event_type: str) -> str:
    """Text of the event's file."""
    return json.dumps(json_schema(event_type), indent=2, ensure_ascii=False) + "\n"


def path(event_type: str) -> Path:
    """File of the event's schema."""
    return FOLDER / f"{event_type.lower()}.json"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in DATA:
        path(name).write_text(render(name), encoding="utf-8")
    sys.stdout.write(f"wrote {len(DATA)} schemas to {FOLDER}\n")
