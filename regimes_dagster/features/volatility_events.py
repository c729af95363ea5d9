"""What a change of the volatility regime says: severity, wording, payload and the reason it fired.

What belongs here: the text and data of VOLATILITY_REGIME_CHANGE. What does not: when it fires (``episodes.py``).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.features.volatility_estimators import Floats
from regimes_dagster.features.volatility_hysteresis import HOLD_HOURS, REGIME_NAMES
from regimes_dagster.parameters import VolatilityParameters

EVENT_TYPE = "VOLATILITY_REGIME_CHANGE"
SOURCE = "VOLATILITY"
INPUTS = (
    "volatility", "volatility_close", "volatility_parkinson", "volatility_gk", "volatility_rs", "wick_ratio",
)  # fmt: skip

ESTIMATOR_NAMES = {
    "close": "close-to-close",
    "parkinson": "Parkinson",
    "garman_klass": "Garman-Klass",
    "rogers_satchell": "Rogers-Satchell",
    "yang_zhang": "Yang-Zhang",
}


def severity(previous: int, target: int) -> str:
    """CRITICAL for a rise to EXTREME, WARNING for a rise to EXPLOSIVE, else INFO (regimes as indices)."""
    if target <= previous:
        return "INFO"
    return {"EXTREME": "CRITICAL", "EXPLOSIVE": "WARNING"}.get(REGIME_NAMES[target], "INFO")


def describe(phase: str, symbol: str, row: Mapping[str, Any], target: int, came_from: int, now: int) -> dict[str, Any]:
    """Severity, title, description, source and data of one phase of a transition.

    Parameters
    ----------
    phase
        OPEN (the regime ``target`` begins, coming from ``came_from``) or CLOSE (it is left for ``now``).
    row
        The row of ``volatility_features`` at that hour.

    Notes
    -----
    A CLOSE has the severity of its OPEN, so that both pass the same filters.
    """
    before, after = (came_from, now) if phase == "OPEN" else (target, now)
    direction = "UP" if after > before else "DOWN"
    data: dict[str, Any] = {
        "previous_regime": REGIME_NAMES[before],
        "regime": REGIME_NAMES[after],
        "volatility": number(row["volatility"]),
        "volatility_close": number(row["volatility_close"]),
        "direction": direction,
        "risk_multiplier": number(row["risk_multiplier"]),
        "position_scale": number(row["position_scale"]),
        "vol_pctl_90d": number(row["vol_pctl_90d"]),
        "vol_forecast_24h": number(row["vol_forecast_24h"]),
        "flash_wick": bool(row["flash_wick"]),
    }
    moved = "rose" if direction == "UP" else "fell"
    figure = _percent(data["volatility"])
    if phase == "OPEN":
        title = f"{symbol}: volatility {moved} to {data['regime']} ({figure} per 24 h)"
        first = f"24-hour volatility {moved} from {data['previous_regime']} to {data['regime']} and stands at {figure}"
    else:
        title = f"{symbol}: volatility left {data['previous_regime']} ({figure} per 24 h)"
        first = f"24-hour volatility left {data['previous_regime']} for {data['regime']} and stands at {figure}"
    sentence = f"{first} ({_percent(data['volatility_close'])} from closes alone)"
    if data["vol_forecast_24h"] is not None:
        sentence += f"; forecast for the next 24 hours {_percent(data['vol_forecast_24h'])}"
    sentence += f". Caution factor {data['risk_multiplier']:g}x"
    if data["position_scale"] is not None:
        sentence += f", position scale {data['position_scale']:.2f}x"
    sentence += "."
    if data["flash_wick"]:
        sentence += " Much of it is a flash wick: ranges are far wider than moves between closes."
    return {
        "severity": severity(came_from, target),
        "title": title,
        "description": sentence,
        "source": SOURCE,
        "data": data,
    }


def explain(row: Mapping[str, Any], edges: Floats, below: Any, params: VolatilityParameters) -> dict[str, Any]:
    """Inputs, edges in force and hysteresis terms behind a transition.

    Parameters
    ----------
    edges
        [3] upper edges of STABLE, HIGH_VOL and EXPLOSIVE for the symbol, fraction per 24 h.
    below
        [3] hours in a row below each edge's release level.
    """
    names = REGIME_NAMES[:3]
    return {
        "inputs": {
            "estimator": params.estimator,
            "window_bars": params.window_bars,
            **{name: number(row[name]) for name in INPUTS},
            "suspect_wick": bool(row["suspect_wick"]),
            "forecast_model": None if pd.isna(row["forecast_model"]) else str(row["forecast_model"]),
        },
        "edges": {f"upper_edge_of_{name}": float(edge) for name, edge in zip(names, edges, strict=True)},
        "hysteresis": {
            "regime_by_edges_alone": row["regime_raw"],
            "margin": params.hysteresis,
            "release_levels": {
                f"upper_edge_of_{name}": float((1 - params.hysteresis) * edge)
                for name, edge in zip(names, edges, strict=True)
            },
            "hours_below_release": {
                f"upper_edge_of_{name}": int(run) for name, run in zip(names, below, strict=True)
            },
            "hours_needed": params.down_bars,
            "hours_held_without_data": HOLD_HOURS,
        },
        "cooldown_h": params.cooldown_h,
    }  # fmt: skip


def number(value: Any) -> float | None:
    """A JSON number, or None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def _percent(fraction: float | None) -> str:
    return "unknown" if fraction is None else f"{100 * fraction:.2f} %"
