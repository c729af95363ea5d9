"""What LIQUIDATION_CASCADE says.

What belongs here: payload and explanation of one hour. What does not: when it is said (``liquidation_cascade.py``,
``episodes.py``).
"""

from typing import Any

import numpy as np

from regimes_dagster.features.liquidation_rule import SIDES, Cascade
from regimes_dagster.parameters import LiquidationParameters


def payload(cascade: Cascade, k: int, t: int, market_wide: bool) -> dict[str, Any]:
    """The guide's keys and those that the specification adds; unknown figures are null."""
    at = (k, t)
    return {
        "total_liquidated_usd": _number(cascade.long_chosen[at] + cascade.short_chosen[at]),
        "velocity_usd_per_hour": _number(cascade.velocity[at]),
        "side_bias": SIDES[cascade.side[at]],
        "severity": _number(cascade.severity[at]),
        "window_hours": _number(cascade.window_hours[at]),
        "long_usd": _number(cascade.long_chosen[at]),
        "short_usd": _number(cascade.short_chosen[at]),
        "critical_velocity_usd_per_hour": _number(cascade.limit[at]),
        "intensity_z": _number(cascade.intensity_z[at]),
        "liq_to_oi_pct": None,  # no open interest is ingested
        "coverage": _number(cascade.coverage[at]),
        "is_lower_bound": bool(cascade.venues.is_lower_bound[at]),
        "market_wide": market_wide,
        "price_change_pct": _number(100 * np.expm1(cascade.price_change[at])),
    }


def explanation(cascade: Cascade, k: int, t: int, params: LiquidationParameters) -> dict[str, Any]:
    """Inputs, terms per window and thresholds in force."""
    at = (k, t)
    windows = {
        f"{w.hours}h": {
            "total_usd": _number(w.total[at]),
            "velocity_usd_per_hour": _number(w.velocity[at]),
            "velocity_limit": _number(w.limit[at]),
            "usd_floor": _number(w.threshold[at]),
            "mode": "ADAPTIVE" if w.adaptive[at] else "FLOOR",
            "history_hours": int(w.history_n[at]),
        }
        for w in sorted(cascade.windows, key=lambda w: w.hours)
    }
    return {
        "inputs": {
            "long_usd_this_hour": _number(cascade.long_usd[at]),
            "short_usd_this_hour": _number(cascade.short_usd[at]),
            "coverage": _number(cascade.coverage[at]),
            "n_venues": int(cascade.venues.n_venues[at]),
            "volatility_24h": _number(cascade.sigma[at]),
        },
        "terms": {"windows": windows, "scale": _number(cascade.scale[at]), "is_cascade": bool(cascade.is_cascade[at])},
        "thresholds": {
            "cascade_threshold_usd": params.cascade_threshold_usd,
            "critical_velocity": params.critical_velocity,
            "adaptive_quantile": params.adaptive_quantile if params.adaptive else None,
            "critical_severity": params.critical_severity,
            "off_ratio": params.off_ratio,
            "min_coverage": params.min_coverage,
        },
    }


def _number(value: float) -> float | None:
    """A JSON number: null where it is unknown."""
    return float(value) if np.isfinite(value) else None
