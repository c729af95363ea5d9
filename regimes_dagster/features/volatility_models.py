"""Which forecast model holds at an hour: stored ones first, fitted ones where none is stored.

What belongs here: the rows of ``volatility_models``, and forecasts and persistence figures per hour made with them.
What does not: how a model is fitted (``volatility_forecast.py``, ``volatility_persistence.py``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.result import UTC_US
from regimes_dagster.features.volatility_estimators import HOUR_US, HOURS_PER_DAY, Floats, Ints
from regimes_dagster.features.volatility_forecast import (
    EWMA_DECAY,
    LOG_VARIANCE_CENTRE,
    TERMS,
    Design,
    fit,
    har_variance,
    to_volatility,
)
from regimes_dagster.features.volatility_hysteresis import REGIME_NAMES
from regimes_dagster.features.volatility_persistence import Persistence, daily_persistence, log_levels, weekday_rank
from regimes_dagster.parameters import VolatilityParameters
from regimes_dagster.partitions import utc

MODEL_COLUMNS = ("symbol", "fit_ts", "model", "coefficients", "smear", "n_rows", "config_hash")

#: One model as stored: the columns of ``volatility_models`` but for the symbol and the hash, by midnight (hour number).
StoredModels = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Outlook:
    """Forecast and persistence of one symbol at some hours.

    Attributes
    ----------
    forecast
        [R] fraction per 24 h, NaN where neither model has its inputs.
    model
        object[R] HAR, EWMA or None.
    rank
        [R] weekday-adjusted rank within 90 days.
    half_life_days, acf7
        [R], NaN where null.
    reversion
        [R, 4] share of calmer next days per regime, NaN where null.
    fitted
        Models that were fitted now, by midnight.
    """

    forecast: Floats
    model: npt.NDArray[np.object_]
    rank: Floats
    half_life_days: Floats
    acf7: Floats
    reversion: Floats
    fitted: dict[int, dict[str, Any]]


def models_by_symbol(models: pd.DataFrame | None, config_hash: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Stored models of this configuration, by symbol and midnight; others are left out (they will be fitted anew)."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    if models is None or models.empty:
        return found
    for row in models[models["config_hash"] == config_hash].to_dict("records"):
        midnight = utc(row["fit_ts"]).value // (HOUR_US * 1000)
        smear = row["smear"]
        found.setdefault(str(row["symbol"]), {})[int(midnight)] = {
            "model": row["model"],
            "coefficients": row["coefficients"],
            "smear": None if pd.isna(smear) else float(smear),
            "n_rows": int(row["n_rows"]),
        }
    return found


def models_frame(fitted: Iterable[tuple[str, dict[int, dict[str, Any]]]], config_hash: str) -> pd.DataFrame:
    """Rows of ``volatility_models`` from (symbol, models by midnight), sorted by symbol and fit_ts."""
    rows = [
        {"symbol": symbol, "fit_ts": midnight * HOUR_US, **model, "config_hash": config_hash}
        for symbol, models in fitted
        for midnight, model in models.items()
    ]
    frame = pd.DataFrame(rows, columns=list(MODEL_COLUMNS))
    micros = frame["fit_ts"].to_numpy(dtype=np.int64)
    frame["fit_ts"] = pd.Series(micros.view("datetime64[us]")).dt.tz_localize("UTC").astype(UTC_US)
    frame["smear"] = frame["smear"].astype(np.float64)
    frame["n_rows"] = frame["n_rows"].astype("Int64")
    return frame.sort_values(["symbol", "fit_ts"], kind="stable").reset_index(drop=True)


def look_ahead(
    design: Design,
    volatility: Floats,
    regime_raw: npt.NDArray[np.int8],
    rows: Ints,
    params: VolatilityParameters,
    stored: StoredModels,
) -> Outlook:
    """Forecast and persistence at ``rows`` of one symbol's grid, fitting only the models that are not in ``stored``.

    Parameters
    ----------
    rows
        [R] ascending positions on the grid of ``design``.
    stored
        Models by midnight; the model of an hour is the one fitted at the midnight before it.
    """
    midnight_of = (design.hours[rows] - 1) // HOURS_PER_DAY * HOURS_PER_DAY
    midnights, day_of = np.unique(midnight_of, return_inverse=True)
    absent = np.array([m for m in midnights.tolist() if m not in stored], dtype=np.int64)
    fitted = _fit(design, volatility, regime_raw, absent, params)
    models = [fitted.get(m) or stored[m] for m in midnights.tolist()]

    coefficients = np.full((len(models), len(design.terms)), np.nan)
    smear, half_life, acf7 = (np.full(len(models), np.nan) for _ in range(3))
    reversion = np.full((len(models), len(REGIME_NAMES)), np.nan)
    rank = np.full(len(rows), np.nan)
    levels = log_levels(volatility)
    starts = np.searchsorted(day_of, np.arange(len(models) + 1))
    for d, model in enumerate(models):
        figures = model["coefficients"]
        if model["model"] == "HAR":
            coefficients[d] = [figures["terms"][name] for name in design.terms]
            smear[d] = model["smear"]
        if figures["half_life_days"] is not None:
            half_life[d] = figures["half_life_days"]
        if figures["acf7"] is not None:
            acf7[d] = figures["acf7"]
        if figures["reversion"] is not None:
            reversion[d] = [figures["reversion"][name] for name in REGIME_NAMES]
        if figures["weekday_log_factors"] is not None:
            part = slice(int(starts[d]), int(starts[d + 1]))
            factors = np.array(figures["weekday_log_factors"])
            rank[part] = weekday_rank(design.hours, levels, rows[part], factors)

    har = har_variance(coefficients[day_of].T, smear[day_of], design.x[:, rows])
    ewma = design.ewma[rows]
    with_har = np.isfinite(har)
    variance = np.where(with_har, har, ewma)
    names = np.array([None, "EWMA", "HAR"], dtype=object)[np.where(with_har, 2, np.isfinite(ewma).astype(np.int64))]
    return Outlook(
        to_volatility(variance), names, rank, half_life[day_of], acf7[day_of], reversion[day_of], fitted
    )  # fmt: skip


def _fit(
    design: Design,
    volatility: Floats,
    regime_raw: npt.NDArray[np.int8],
    midnights: Ints,
    params: VolatilityParameters,
) -> dict[int, dict[str, Any]]:
    if not len(midnights):
        return {}
    fits = fit(design, midnights, params)
    persistence = daily_persistence(design.hours, design.y, volatility, regime_raw, midnights, params)
    models: dict[int, dict[str, Any]] = {}
    for d, midnight in enumerate(midnights.tolist()):
        enough = bool(fits.enough[d])
        models[midnight] = {
            "model": "HAR" if enough else "EWMA",
            "coefficients": {**_equation(fits.coefficients[d] if enough else None), **_figures(persistence[d])},
            "smear": float(fits.smear[d]) if enough else None,
            "n_rows": int(fits.n_rows[d]),
        }
    return models


def _equation(coefficients: Floats | None) -> dict[str, Any]:
    if coefficients is None:
        return {"terms": {"decay": EWMA_DECAY}}
    terms = {name: float(b) for name, b in zip(TERMS, coefficients, strict=False)}
    return {"terms": terms, "log_variance_centre": LOG_VARIANCE_CENTRE}


def _figures(persistence: Persistence) -> dict[str, Any]:
    factors, reversion = persistence.weekday_log_factors, persistence.reversion
    return {
        "weekday_log_factors": None if factors is None else [float(f) for f in factors],
        "half_life_days": persistence.half_life_days,
        "acf7": persistence.acf7,
        "reversion": None if reversion is None else dict(zip(REGIME_NAMES, reversion.tolist(), strict=True)),
    }
