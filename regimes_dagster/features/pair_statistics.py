"""How two assets move together: correlation, its own baseline, hedge ratio and spread.

What belongs here: the figures of a pair and hour, from hourly log returns. What does not: ranks
(``rank_correlation.py``), whether the spread comes back (``spread_reversion.py``), when a break is called and what
is said about it (``correlation_engine.py``).

Returns are paired: an hour counts where both returns are known. Price levels are never correlated.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.trailing_sums import lagged, trailing_moments, trailing_sum
from regimes_dagster.parameters import CorrelationParameters

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SHORT_H, WEEK_H, MONTH_H = 24, 168, 720
MIN_SHARE = 0.9
#: Correlations are clipped here before Fisher's transform.
FISHER_CLIP = 0.999999
#: Smallest spread of the baseline that a score divides by, in Fisher units.
MIN_BASELINE_SD = 0.05
#: 5 % and 95 % of a normal distribution.
BAND_SIGMA = 1.645
MAX_Z = 20.0
#: A hedge ratio beyond this means that one asset hardly moves: no ratio is given.
MAX_BETA = 50.0
#: 1 + baseline below which a strength relative to it has no meaning.
MIN_ROOM = 0.05
#: Share of the mean square below which a variance is rounding noise (a constant or straight-line price).
_NOISE = 1e-9
#: Squares of Fisher values are taken about their usual level.
_FISHER_CENTRE = 1.0


@dataclass(frozen=True)
class PairSums:
    """Sums over a trailing window of the hours in which both returns are known; float[P, T] each."""

    count: Floats
    a: Floats
    b: Floats
    aa: Floats
    bb: Floats
    ab: Floats

    def covariance(self) -> tuple[Floats, Floats, Floats]:
        """Count times covariance, variance of a and variance of b; a variance that is rounding noise is NaN."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ab = self.ab - self.a * self.b / self.count
            aa = self.aa - self.a * self.a / self.count
            bb = self.bb - self.b * self.b / self.count
        return ab, np.where(aa > _NOISE * self.aa, aa, np.nan), np.where(bb > _NOISE * self.bb, bb, np.nan)

    def correlation(self, minimum: int) -> Floats:
        """Pearson correlation, NaN below ``minimum`` hours or where a price did not move."""
        ab, aa, bb = self.covariance()
        with np.errstate(divide="ignore", invalid="ignore"):
            rho = np.clip(ab / np.sqrt(aa * bb), -1, 1)
        return np.where(self.count >= minimum, rho, np.nan)


class PairedReturns:
    """Hourly log returns of pairs, ready to be summed over any window.

    Parameters
    ----------
    a, b
        float[P, T] log returns of the first and second asset, NaN where unknown.
    first_hour
        Hours since 1970 of the first column.
    """

    def __init__(self, a: Floats, b: Floats, first_hour: int) -> None:
        self.known: Bools = np.isfinite(a) & np.isfinite(b)
        self.a = np.where(self.known, a, 0.0)
        self.b = np.where(self.known, b, 0.0)
        self.first_hour = first_hour

    def sums(self, hours: int) -> PairSums:
        """Sums over the last ``hours`` hours."""

        def total(values: Floats) -> Floats:
            return trailing_sum(values, hours, self.first_hour)

        return PairSums(
            count=total(self.known.astype(np.float64)),
            a=total(self.a),
            b=total(self.b),
            aa=total(self.a * self.a),
            bb=total(self.b * self.b),
            ab=total(self.a * self.b),
        )


@dataclass(frozen=True)
class PairFigures:
    """Figures per pair and hour, float[P, T] each; NaN where too few hours are known.

    Attributes
    ----------
    rho, corr_24h, corr_168h, corr_720h
        Pearson correlation over ``window_h``, 24, 168 and 720 hours.
    n_obs
        Hours known within ``window_h``.
    baseline, band_low, band_high
        Usual correlation and its 5 % and 95 % band, from the Fisher values of the ``baseline_days`` that end
        ``window_h`` ago, so that the current window is not its own yardstick.
    break_z
        Distance from the baseline in its own standard deviations (empirical: textbook Fisher errors are too
        small for overlapping windows of fat-tailed returns).
    break_strength
        ``(baseline - rho) / (1 + baseline)`` in [0, 1]: 0 usual, 1 perfect opposition.
    beta
        Hedge ratio cov(a, b) / var(a) over 720 h that end ``window_h`` ago.
    spread, spread_z
        Sum of ``b - beta a`` over ``window_h``, and the same over its standard deviation in the baseline period.
    """

    rho: Floats
    corr_24h: Floats
    corr_168h: Floats
    corr_720h: Floats
    n_obs: Floats
    baseline: Floats
    band_low: Floats
    band_high: Floats
    break_z: Floats
    break_strength: Floats
    beta: Floats
    spread: Floats
    spread_z: Floats

    def sliced(self, begin: int) -> "PairFigures":
        """The same from a column on."""
        return PairFigures(**{name: values[:, begin:] for name, values in vars(self).items()})


def history_h(params: CorrelationParameters) -> int:
    """Hours before the first hour computed that its figures look at."""
    return params.baseline_days * 24 + 2 * params.window_h + MONTH_H + 1


def pair_figures(pairs: PairedReturns, params: CorrelationParameters) -> PairFigures:
    """Every figure of every pair and hour."""
    window, baseline_h = params.window_h, params.baseline_days * 24
    near = pairs.sums(window)
    rho = near.correlation(params.min_window_h)
    fisher = np.arctanh(np.clip(rho, -FISHER_CLIP, FISHER_CLIP))
    count, mean, sd = (
        lagged(moment, window)
        for moment in trailing_moments(fisher, baseline_h, pairs.first_hour, centre=_FISHER_CENTRE)
    )
    known = count >= params.baseline_min_h
    mean, sd = np.where(known, mean, np.nan), np.where(known, sd, np.nan)
    baseline = np.tanh(mean)

    month = pairs.sums(MONTH_H)
    enough = month.count >= math.ceil(MIN_SHARE * MONTH_H)
    ab, aa, _ = month.covariance()
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = lagged(np.where(enough, ab / aa, np.nan), window)
        beta[~(np.abs(beta) <= MAX_BETA)] = np.nan
        spread = np.where(near.count >= params.min_window_h, near.b - beta * near.a, np.nan)
        n_spread, _, spread_sd = (
            lagged(moment, window) for moment in trailing_moments(spread, baseline_h, pairs.first_hour)
        )
        spread_sd[~((n_spread >= params.baseline_min_h) & (spread_sd > _NOISE))] = np.nan
        strength = np.clip((baseline - rho) / (1 + baseline), 0, 1)
        return PairFigures(
            rho=rho,
            corr_24h=pairs.sums(SHORT_H).correlation(math.ceil(MIN_SHARE * SHORT_H)),
            corr_168h=pairs.sums(WEEK_H).correlation(math.ceil(MIN_SHARE * WEEK_H)),
            corr_720h=month.correlation(math.ceil(MIN_SHARE * MONTH_H)),
            n_obs=near.count,
            baseline=baseline,
            band_low=np.tanh(mean - BAND_SIGMA * sd),
            band_high=np.tanh(mean + BAND_SIGMA * sd),
            break_z=np.clip((fisher - mean) / np.maximum(sd, MIN_BASELINE_SD), -MAX_Z, MAX_Z),
            break_strength=np.where(1 + baseline >= MIN_ROOM, strength, np.nan),
            beta=beta,
            spread=spread,
            spread_z=np.clip(spread / spread_sd, -MAX_Z, MAX_Z),
        )
