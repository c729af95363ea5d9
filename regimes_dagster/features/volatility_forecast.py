"""What volatility the next 24 hours will bring: a log-HAR regression, and an EWMA until there is history for it.

What belongs here: the regressors, the daily fit and the forecast. What does not: persistence figures fitted along with
it (``volatility_persistence.py``) and where fitted models are kept.

The model, per symbol and hour s (label = END of hour)::

    v_n(s)  = 24 x mean Garman-Klass variance of the last n bars           floored at 1e-12, 90 % of bars needed
    y(s)    = ln( sum of squared hourly log returns over (s, s + 24 h] )   same floor, 22 of 24 needed
    X(s)    = 1, ln v24, ln v168, ln v720, min(ret24, 0) / sqrt(v24), shares of the next 24 h in Sat, Sun, Mon
    forecast = sqrt( exp(X b) x smear ),   smear = mean(exp(residual))     (Duan 1983)

Sources: Corsi, J. Financial Econometrics 7 (2009); Duan, JASA 78 (1983). Weekday terms cut the QLIKE loss by 14 to 27 %
on BTC, ETH and SOL, as much as the log-HAR gains over a GARCH(1,1).

A model fitted at midnight ``t`` has seen the rows ``t - 365 d < s <= t - 24 h``, whose targets are known at ``t``, and
is used for ``t < ts <= t + 24 h``. The normal equations are summed from whole UTC days in a fixed order, so that a fit
gives the same digits in a backfill and in a live run.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.volatility_estimators import (
    HOURS_PER_DAY,
    MAX_VOLATILITY,
    Bools,
    Floats,
    Ints,
    rolling_mean,
    rolling_sum,
)
from regimes_dagster.parameters import VolatilityParameters

VARIANCE_FLOOR = 1e-12
HORIZON_H = 24
LONG_BARS = (24, 168, 720)
MIN_TARGET_BARS = 22

#: 90 % of a window's bars, as everywhere.
VALID_SHARE = 0.9

EWMA_DECAY = 0.80
#: Six half-lives of the decay (3.1 days each): what is older weighs 1.4 %.
EWMA_DAYS = 19

#: Weekdays with a term of their own (Monday is 0): the others do not differ measurably.
SEASONAL_DAYS = (5, 6, 0)
TERMS = ("const", "ln_v24", "ln_v168", "ln_v720", "leverage", "sat", "sun", "mon")

#: Level around which the log variances are centred: leaves the fit as it is, and its equations well conditioned.
LOG_VARIANCE_CENTRE = -7.5


@dataclass(frozen=True)
class Design:
    """Regressors, targets and EWMA variances of one symbol on the hourly grid.

    Attributes
    ----------
    hours
        [T] hours since the epoch.
    x
        float[P, T], one row per term in use, NaN where an input is insufficient.
    y
        float[T], target of the row, NaN where not yet or not sufficiently known.
    ewma
        float[T], EWMA of the variances of the last ``EWMA_DAYS`` spans of 24 h, NaN where insufficient.
    """

    hours: Ints
    x: Floats
    y: Floats
    ewma: Floats

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms in use."""
        return TERMS[: len(self.x)]

    @property
    def usable(self) -> Bools:
        """Rows that a fit may use."""
        return np.isfinite(self.y) & np.isfinite(self.x).all(axis=0)


@dataclass(frozen=True)
class Fits:
    """Models fitted at several midnights; where ``enough`` is False there is no log-HAR, and the EWMA serves.

    Attributes
    ----------
    midnights
        [D] hours since the epoch.
    coefficients
        float[D, P].
    smear
        float[D].
    n_rows
        int[D].
    enough
        bool[D].
    """

    midnights: Ints
    coefficients: Floats
    smear: Floats
    n_rows: Ints
    enough: Bools


def design(hours: Ints, garman_klass: Floats, returns: Floats, params: VolatilityParameters) -> Design:
    """Regressors and targets of one symbol.

    Parameters
    ----------
    hours
        [T] consecutive hours since the epoch.
    garman_klass
        [T] Garman-Klass variance per bar, NaN where the bar is missing.
    returns
        [T] hourly log returns, NaN where missing.
    """
    log_v = []
    for n in LONG_BARS:
        v = HOURS_PER_DAY * rolling_mean(garman_klass, n, int(np.ceil(VALID_SHARE * n)))
        log_v.append(np.log(np.maximum(v, VARIANCE_FLOOR)))
    known = np.isfinite(returns)
    enough = rolling_sum(known.astype(np.float64), HORIZON_H) >= MIN_TARGET_BARS
    travelled = np.where(enough, rolling_sum(np.where(known, returns, 0.0), HORIZON_H), np.nan)
    leverage = np.minimum(travelled, 0.0) / np.exp(0.5 * log_v[0])
    x = [np.ones(len(hours)), *(part - LOG_VARIANCE_CENTRE for part in log_v), leverage]
    if params.seasonal:
        day, hour_of_day = _day_and_hour(hours)
        ahead = hour_of_day / HOURS_PER_DAY
        today, tomorrow = weekday(day), weekday(day + 1)
        x += [(1 - ahead) * (today == d) + ahead * (tomorrow == d) for d in SEASONAL_DAYS]

    variance = HOURS_PER_DAY * rolling_mean(returns**2, HORIZON_H, MIN_TARGET_BARS)
    variance = np.maximum(variance, VARIANCE_FLOOR)
    y = np.full(len(hours), np.nan)
    y[: max(len(hours) - HORIZON_H, 0)] = np.log(variance[HORIZON_H:])
    return Design(hours, np.array(x), y, _ewma(variance))


def _ewma(variance: Floats) -> Floats:
    """Weights 0.8 ** k over the spans (t - 24 (k + 1), t - 24 k], renormalised; 90 % of the weight must be known."""
    weights = EWMA_DECAY ** np.arange(EWMA_DAYS)
    total, weight = np.zeros_like(variance), np.zeros_like(variance)
    for k, w in enumerate(weights):
        shift = k * HORIZON_H
        if shift >= len(variance):
            break
        part = variance[: len(variance) - shift]
        known = np.isfinite(part)
        total[shift:] += np.where(known, w * part, 0.0)
        weight[shift:] += np.where(known, w, 0.0)
    return np.where(weight >= VALID_SHARE * weights.sum(), total / np.maximum(weight, 1e-300), np.nan)


def fit(design: Design, midnights: Ints, params: VolatilityParameters) -> Fits:
    """Fit the log-HAR at each of ``midnights`` (hours since the epoch, multiples of 24), on what was known then.

    Least squares by the normal equations; directions that the rows do not determine (constant prices) get the
    coefficient of smallest size, so that the fit never fails.
    """
    terms = len(design.x)
    usable = design.usable
    x = np.where(usable, design.x, 0.0)
    y = np.where(usable, design.y, 0.0)
    first_day = (int(design.hours[0]) - 1) // HOURS_PER_DAY
    offset = int(design.hours[0]) - 1 - first_day * HOURS_PER_DAY
    days = -(-(offset + len(y)) // HOURS_PER_DAY)

    gram = np.zeros((days, terms, terms))
    moment = np.zeros((days, terms))
    count = np.zeros(days)
    for hour in range(HOURS_PER_DAY):
        rows = np.arange(hour - offset, len(y), HOURS_PER_DAY)
        which = np.flatnonzero(rows >= 0)
        rows = rows[which]
        part = x[:, rows].T
        gram[which] += part[:, :, None] * part[:, None, :]
        moment[which] += part * y[rows, None]
        count[which] += usable[rows]
    span = params.har_max_days - 1
    gram, moment, count = rolling_sum(gram, span), rolling_sum(moment, span), rolling_sum(count, span)

    # The newest whole day with known targets is the one before the day that ends at the midnight.
    newest = midnights // HOURS_PER_DAY - 2 - first_day
    seen = (newest >= 0) & (newest < days)
    pick = np.clip(newest, 0, days - 1)
    n_rows = np.where(seen, count[pick], 0).astype(np.int64)
    enough = n_rows >= params.har_min_days * HOURS_PER_DAY
    coefficients = np.zeros((len(midnights), terms))
    smear = np.ones(len(midnights))
    if enough.any():
        coefficients[enough] = _solve(gram[pick[enough]], moment[pick[enough]])
        at = np.flatnonzero(usable)
        known_x, known_y = x[:, at], y[at]
        for d in np.flatnonzero(enough):
            last = int(midnights[d]) - HORIZON_H - int(design.hours[0])
            low, high = np.searchsorted(at, (last - span * HOURS_PER_DAY, last), side="right")
            residual = known_y[low:high] - combine(coefficients[d], known_x[:, low:high])
            # exp of what no market does would be infinite; such a row weighs as e^50 already.
            smear[d] = np.exp(np.minimum(residual, 50.0)).mean()
    return Fits(midnights, coefficients, smear, n_rows, enough)


def combine(coefficients: Floats, x: Floats) -> Floats:
    """``X b`` term by term: the same digits whatever the number of rows."""
    total = np.zeros(x.shape[1])
    for b, row in zip(coefficients, x, strict=True):
        total += b * row
    return total


def to_volatility(variance: Floats) -> Floats:
    """Square root of a forecast variance, kept inside what a volatility can be."""
    return np.sqrt(np.clip(variance, VARIANCE_FLOOR, MAX_VOLATILITY**2))


def har_variance(coefficients: Floats, smear: Floats, x: Floats) -> Floats:
    """Forecast variance of the next 24 h, NaN where a regressor is; coefficients [P, R] and smear [R] of each row."""
    return np.asarray(np.exp(np.minimum(combine(coefficients, x), 50.0)) * smear)


def _solve(gram: Floats, moment: Floats) -> Floats:
    values, vectors = np.linalg.eigh(gram)
    large = values > 1e-12 * values[:, -1:]
    inverse = np.where(large, 1.0 / np.where(large, values, 1.0), 0.0)
    turned = (vectors * moment[:, :, None]).sum(axis=1)
    return np.asarray((vectors * (inverse * turned)[:, None, :]).sum(axis=2))


def weekday(day: Ints) -> Ints:
    """Weekday (Monday 0) of days since the epoch, which was a Thursday."""
    return np.asarray((day + 3) % 7)


def _day_and_hour(hours: Ints) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Day that an hour label belongs to (00:00 to the day that ends) and its hour within it, 1..24."""
    day = (hours - 1) // HOURS_PER_DAY
    return day, (hours - day * HOURS_PER_DAY).astype(np.float64)
