"""Sliding rank correlation against scipy, with ties and missing hours."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from regimes_dagster.features.rank_correlation import sliding_spearman

FIRST, SECOND = [0, 0, 1], [1, 2, 2]


def series(missing: float, ties: bool, hours: int = 260) -> np.ndarray:
    rng = np.random.default_rng(3)
    common = rng.normal(size=hours)
    x = 0.7 * common + rng.normal(size=(3, hours))
    if ties:
        x = np.round(x, 0)
    x[rng.random(x.shape) < missing] = np.nan
    return x


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("missing", [0.0, 0.06])
def test_it_is_spearman_of_the_hours_known_to_both(missing: float, ties: bool) -> None:
    x = series(missing, ties)
    rho = sliding_spearman(x, FIRST, SECOND, window=72, minimum=60, begin=0)
    for p, (i, j) in enumerate(zip(FIRST, SECOND, strict=True)):
        for t in (30, 59, 71, 100, 180, 259):
            a, b = x[i, max(t - 71, 0) : t + 1], x[j, max(t - 71, 0) : t + 1]
            both = ~(np.isnan(a) | np.isnan(b))
            expected = spearmanr(a[both], b[both]).statistic if both.sum() >= 60 else np.nan
            assert rho[p, t] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_the_start_of_the_data_does_not_show() -> None:
    x = series(0.05, ties=True)
    whole = sliding_spearman(x, FIRST, SECOND, window=72, minimum=60, begin=150)
    part = sliding_spearman(x[:, 79:], FIRST, SECOND, window=72, minimum=60, begin=71)
    np.testing.assert_array_equal(part, whole)


def test_a_series_without_any_change_has_no_rank_correlation() -> None:
    x = series(0.0, ties=False)
    x[0] = 0.0
    rho = sliding_spearman(x, FIRST, SECOND, window=72, minimum=60, begin=100)
    assert np.isnan(rho[:2]).all()
    assert np.isfinite(rho[2]).all()


def test_no_pairs_give_no_rows() -> None:
    assert sliding_spearman(series(0, ties=False), [], [], window=72, minimum=60, begin=10).shape == (0, 250)
