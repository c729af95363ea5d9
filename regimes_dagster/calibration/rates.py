"""From computed rows and events to alerts per 30 days and quantiles.

What belongs here: counting and ranking. What does not: computing (``recompute.py``).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from regimes_dagster.features.result import FeatureResult
from regimes_dagster.vocabulary import SEVERITIES, Severity

MONTH_H = 720

QUANTILES = (0.01, 0.05, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Rate:
    """Alerts of one symbol or pair.

    Attributes
    ----------
    opened
        Episodes that would have been posted, per 30 days in which the rule could be evaluated.
    critical
        Of them those that reached CRITICAL, per 30 days.
    n
        Episodes counted.
    days
        Days in which the rule could be evaluated.
    """

    opened: float
    critical: float
    n: int
    days: float


#: Table -> column that is known where the rule could be evaluated.
_EVALUATED = {
    "liquidation_features": "severity",
    "funding_features": "funding_z_score",
    "volatility_features": "volatility",
    "regimes": "confidence",
    "correlation_features": "break_z",
}

#: Table -> figures whose quantiles are shown, with their unit; ``|x|`` is the absolute value.
FIGURES: dict[str, tuple[tuple[str, str], ...]] = {
    "liquidation_features": (("velocity_1h", "USD/h"), ("velocity_4h", "USD/h"), ("severity", "x limit")),
    "funding_features": (("|funding_z_score|", "sigma"), ("|change_24h_pp|", "pp"), ("funding_rate_8h", "per 8 h")),
    "volatility_features": (("volatility", "per 24 h"), ("wick_ratio", "x")),
    "regimes": (("confidence", "share"), ("confidence_weighted", "share")),
    "correlation_features": (("return_correlation", ""), ("break_z", "sigma"), ("break_strength", "")),
}


def alert_rates(result: FeatureResult, table: str, event_type: str, lowest: Severity) -> dict[str, Rate]:
    """Alerts per 30 days of every symbol or pair that could be evaluated at all.

    Parameters
    ----------
    lowest
        Severity from which an alert is posted; episodes that never reach it are not counted.
    """
    rows = result.rows[table]
    hours = evaluated_hours(rows, table)
    posted = SEVERITIES[SEVERITIES.index(lowest) :]
    events = result.events
    told = events[
        (events["event_type"] == event_type)
        & events["phase"].isin(["OPEN", "ESCALATE"])
        & events["suppressed_reason"].isna()
        & events["severity"].isin(posted)
    ]
    opened = told.drop_duplicates("episode_id").groupby("symbol").size()
    critical = told[told["severity"] == "CRITICAL"].drop_duplicates("episode_id").groupby("symbol").size()
    return {
        str(key): Rate(
            float(opened.get(key, 0)) * MONTH_H / n,
            float(critical.get(key, 0)) * MONTH_H / n,
            int(opened.get(key, 0)),
            n / 24,
        )
        for key, n in hours.items()
        if n > 0
    }


def evaluated_hours(rows: pd.DataFrame, table: str) -> dict[str, int]:
    """Hours per symbol or pair in which the rule could be evaluated and was past its warm-up."""
    key = "asset_pair" if "asset_pair" in rows.columns else "symbol"
    known = rows[_EVALUATED[table]].notna()
    if "warming_up" in rows.columns:
        known &= ~rows["warming_up"].astype(bool)
    return {str(name): int(count) for name, count in known.groupby(rows[key]).sum().items()}


def figure_quantiles(rows: pd.DataFrame, table: str) -> pd.DataFrame:
    """Quantiles of the figures that thresholds act on.

    Returns
    -------
    DataFrame
        Columns key (symbol or pair), figure, unit, hours (known ones) and one per ``QUANTILES``.
    """
    key = "asset_pair" if "asset_pair" in rows.columns else "symbol"
    found = []
    for name, unit in FIGURES[table]:
        column = name.strip("|")
        values = rows[column].astype(float)
        values = values.abs() if name != column else values
        for of_key, part in values.groupby(rows[key]):
            known = part.to_numpy()[np.isfinite(part.to_numpy())]
            figures = np.quantile(known, QUANTILES) if len(known) else np.full(len(QUANTILES), np.nan)
            row = {"key": str(of_key), "figure": name, "unit": unit, "hours": len(known)}
            found.append({**row, **dict(zip(map(str, QUANTILES), figures, strict=True))})
    return pd.DataFrame(found, columns=["key", "figure", "unit", "hours", *map(str, QUANTILES)])
