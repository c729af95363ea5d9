"""Validity tests 6 and 7: how good is the forecast of the next day's volatility?

What belongs here: losses against the rivals and the share of the log variance that is foreseen. What does not: the
rivals (``rival_forecasts.py``).

Loss QLIKE = x - ln x - 1 with x = realised / forecast variance (Patton, J. Econometrics 160 (2011)): it ranks forecasts
rightly although the realised variance is noisy. Target: sum of squared hourly log returns of the next UTC day. Every
forecast is judged on the same days: those for which all models have one.
"""

import math
from collections.abc import Mapping

import numpy as np

from regimes_dagster.evidence.block_bootstrap import combined_interval, mean_interval
from regimes_dagster.evidence.finding import Finding, Test, nothing_to_measure
from regimes_dagster.evidence.hac import diebold_mariano, two_sided_p
from regimes_dagster.evidence.inputs import DAY_H, Floats, Inputs
from regimes_dagster.evidence.rival_forecasts import realised_days, rival_forecasts
from regimes_dagster.parameters import VolatilityParameters
from regimes_dagster.reports.charts import Dot, DotPlot

QLIKE = "06_forecast_qlike"
LOG_R2 = "07_forecast_log_r2"
QLIKE_TITLE = "Forecast of the next day's volatility"
QLIKE_QUESTION = (
    "Does the 24-hour forecast lose less (QLIKE) than a random walk, an EWMA and a log-HAR without weekdays?"
)
R2_TITLE = "Share of tomorrow's log variance that is foreseen"
R2_QUESTION = "How much of the variation of the next day's log variance does each forecast foresee, out of sample?"

FULL = "full model"
MODELS = ("random walk", "EWMA 0.80", "log-HAR", "log-HAR + leverage", FULL)
RIVAL_TO_BEAT = "EWMA 0.80"
WITHOUT_WEEKDAYS = "log-HAR"
DM_TARGET = 3.0

MIN_DAYS = 60
#: Blocks of a week, in days.
BLOCK_DAYS = 7


def forecast_tests(inputs: Inputs, params: VolatilityParameters) -> list[Test]:
    """Tests 6 and 7 on the same daily forecasts."""
    if inputs.volatility.empty:
        return [
            nothing_to_measure(QLIKE, QLIKE_TITLE, QLIKE_QUESTION, "no volatility features in the period"),
            nothing_to_measure(LOG_R2, R2_TITLE, R2_QUESTION, "no volatility features in the period"),
        ]
    losses: list[Finding] = []
    shares: list[Finding] = []
    for k, symbol in enumerate(inputs.symbols):
        realised, forecasts = daily_forecasts(inputs, k, params)
        losses.extend(_losses(symbol, realised, forecasts))
        shares.extend(_shares(symbol, realised, forecasts))
    return [
        Test(QLIKE, QLIKE_TITLE, QLIKE_QUESTION, losses, [_chart(losses, "qlike_", "QLIKE loss, lower is better", 1)]),
        Test(LOG_R2, R2_TITLE, R2_QUESTION, shares, [_chart(shares, "log_r2_", "Share foreseen, higher is better", 1)]),
    ]


def daily_forecasts(inputs: Inputs, k: int, params: VolatilityParameters) -> tuple[Floats, dict[str, Floats]]:
    """Realised variance of each day and every model's forecast of it, on the days that all of them cover."""
    grid = inputs.grid
    columns = np.arange(inputs.begin, len(grid.ts) - DAY_H)
    midnights = columns[(grid.first_hour + columns) % DAY_H == 0]
    realised = realised_days(inputs, k)[midnights + DAY_H]
    rivals = rival_forecasts(inputs, k, midnights, params)
    published = inputs.column(inputs.volatility, "vol_forecast_24h")[k, midnights - inputs.begin] ** 2
    values = (rivals.random_walk, rivals.ewma, rivals.log_har, rivals.log_har_leverage, published)
    forecasts = dict(zip(MODELS, values, strict=True))
    known = np.isfinite(realised) & (realised > 0)
    for values_of_model in forecasts.values():
        known &= np.isfinite(values_of_model) & (values_of_model > 0)
    return realised[known], {name: forecast[known] for name, forecast in forecasts.items()}


def qlike(realised: Floats, forecast: Floats) -> Floats:
    """Loss per day from variances, float[D]."""
    x = realised / forecast
    return np.asarray(x - np.log(x) - 1)


def log_r2(realised: Floats, forecast: Floats) -> float:
    """1 - sum (y - f - mean error)^2 / sum (y - mean)^2 with y, f the logs of variance and forecast.

    The mean error is taken out: a variance forecast is meant to lie above the typical log variance.
    """
    y, f = np.log(realised), np.log(forecast)
    error = y - f
    return float(1 - error.var() / y.var()) if len(y) and y.var() > 0 else math.nan


def _losses(symbol: str, realised: Floats, forecasts: Mapping[str, Floats]) -> list[Finding]:
    loss = {name: qlike(realised, forecast) for name, forecast in forecasts.items()}
    n = len(realised)
    walk = float(loss[MODELS[0]].mean()) if n else math.nan
    findings = []
    for name, values in loss.items():
        interval = mean_interval(values[None], f"{QLIKE}|{symbol}|{name}", block=BLOCK_DAYS)
        note = "baseline: random walk" if name == FULL else None
        baseline = walk if name == FULL else math.nan
        findings.append(Finding.of(symbol, f"qlike_{_key(name)}", interval, n, baseline=baseline, note=note))
    for rival in MODELS[:-1]:
        t = diebold_mariano(loss[rival], loss[FULL]) if n else math.nan
        decides = rival == RIVAL_TO_BEAT
        weekdays = rival == WITHOUT_WEEKDAYS
        findings.append(
            Finding(
                symbol,
                f"dm_t_against_{_key(rival)}",
                t,
                baseline=0.0,
                target=f"> {DM_TARGET:g}" if decides else "the weekday terms help" if weekdays else None,
                holds=t > DM_TARGET if decides and math.isfinite(t) else None,
                n=n,
                p=two_sided_p(t) if weekdays else None,
                claim=1 if weekdays else 0,
                note="Diebold-Mariano t of the mean loss difference (Newey-West error); positive: the full model wins",
            ).unless_few(MIN_DAYS)
        )
    return findings


def _shares(symbol: str, realised: Floats, forecasts: Mapping[str, Floats]) -> list[Finding]:
    findings = []
    y = np.log(realised)
    for name, forecast in forecasts.items():
        error = y - np.log(forecast)
        parts = np.stack([np.ones_like(y), y, y**2, error, error**2])
        interval = combined_interval(parts, _share, f"{LOG_R2}|{symbol}|{name}", block=BLOCK_DAYS)
        findings.append(Finding.of(symbol, f"log_r2_{_key(name)}", interval, len(y), baseline=0.0))
    return findings


def _share(sums: Floats) -> Floats:
    n, y, yy, e, ee = sums.T
    return np.asarray(1 - (ee - e * e / n) / (yy - y * y / n))


def _key(model: str) -> str:
    return model.replace(" + ", "_").replace(" ", "_").replace("-", "_").replace(".", "").lower()


def _chart(findings: list[Finding], prefix: str, title: str, scale: float) -> DotPlot:
    names = {f"{prefix}{_key(name)}": name for name in MODELS}
    dots = [Dot(f.symbol, names[f.metric], f.value, f.low, f.high) for f in findings if f.metric in names]
    caption = "Daily forecasts made at 00:00 UTC; 95 % block-bootstrap intervals (blocks of 7 days)."
    return DotPlot(title, dots, scale=scale, caption=caption)
