"""Votes of the timeframes: the guide's example, ties, missing timeframes, bias and caution."""

import numpy as np
import pytest

from regimes_dagster.features.market_heat import market_heat, percentile_rank, volume_ratio
from regimes_dagster.features.regime_labels import taxonomy
from regimes_dagster.features.regime_votes import Votes, count_votes
from regimes_dagster.parameters import MultiTimeframeParameters

PARAMS = MultiTimeframeParameters()
LABELS = taxonomy(PARAMS)
WEIGHTS = [tf.weight for tf in PARAMS.timeframes.values()]


def vote(*names: str, price_z: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)) -> Votes:
    codes = [np.array([[LABELS.names.index(name)]], dtype=np.int8) for name in names]
    scores = [np.array([[z]]) for z in price_z]
    return count_votes(codes, scores, WEIGHTS, LABELS)


def test_three_of_four_votes_are_a_confidence_of_075_which_is_above_070() -> None:
    votes = vote("NEUTRAL", "BULL_TREND", "WARMING", "BULL_TREND")
    assert votes.confidence[0, 0] == 0.75
    assert votes.confidence[0, 0] > PARAMS.confirm_threshold
    assert votes.family[0, 0] == 1
    assert votes.share[0, 0] == pytest.approx(0.85)


def test_the_primary_regime_is_the_label_of_the_heaviest_timeframe_of_the_family() -> None:
    votes = vote("SUPER_HOT", "BULL_TREND", "WARMING", "BULL_TREND")
    assert LABELS.names[votes.primary[0, 0]] == "WARMING"
    assert LABELS.names[vote("BULL_TREND", "WARMING", "NEUTRAL", "SUPER_HOT").primary[0, 0]] == "SUPER_HOT"


def test_a_tie_between_families_goes_to_the_one_with_the_highest_timeframe() -> None:
    # .15 + .35 against .25 + .25
    assert vote("BULL_TREND", "BEAR_TREND", "BULL_TREND", "BEAR_TREND").family[0, 0] == -1
    assert vote("BEAR_TREND", "BULL_TREND", "BEAR_TREND", "BULL_TREND").family[0, 0] == 1


def test_missing_timeframes_abstain_and_weights_are_renormalised() -> None:
    votes = vote("UNKNOWN", "BULL_TREND", "BULL_TREND", "NEUTRAL")
    assert votes.n_timeframes[0, 0] == 3
    assert votes.confidence[0, 0] == pytest.approx(2 / 3)
    assert votes.share[0, 0] == pytest.approx(0.6 / 0.85)
    assert votes.long_bias[0, 0] == pytest.approx(0.6 / 0.85)


def test_below_three_timeframes_there_is_no_confidence_but_a_regime() -> None:
    votes = vote("UNKNOWN", "UNKNOWN", "BULL_TREND", "BULL_TREND")
    assert np.isnan(votes.confidence[0, 0])
    assert np.isnan(votes.confidence_weighted[0, 0])
    assert LABELS.names[votes.primary[0, 0]] == "BULL_TREND"


def test_without_any_timeframe_everything_is_unknown() -> None:
    votes = vote(*["UNKNOWN"] * 4, price_z=(float("nan"),) * 4)
    assert LABELS.names[votes.primary[0, 0]] == "UNKNOWN"
    assert votes.family[0, 0] == 0
    assert np.isnan([votes.long_bias[0, 0], votes.risk_multiplier[0, 0], votes.share[0, 0]]).all()


def test_caution_is_the_largest_of_the_heavy_timeframes() -> None:
    assert vote("CAPITULATION", "QUIET", "QUIET", "QUIET").risk_multiplier[0, 0] == 0.7
    assert vote("QUIET", "CAPITULATION", "QUIET", "QUIET").risk_multiplier[0, 0] == 2.5
    assert np.isnan(vote("QUIET", "UNKNOWN", "UNKNOWN", "UNKNOWN").risk_multiplier[0, 0])


def test_soft_agreement_is_continuous_and_follows_the_formula() -> None:
    from scipy.stats import norm

    z = (0.2, 0.7, 1.4, -0.4)
    votes = vote("NEUTRAL", "WARMING", "BULL_TREND", "NEUTRAL", price_z=z)
    expected = sum(w * norm.cdf((x - 0.5) / 0.5) for w, x in zip(WEIGHTS, z, strict=True))
    assert votes.confidence_weighted[0, 0] == pytest.approx(expected)
    flat = vote("NEUTRAL", "NEUTRAL", "NEUTRAL", "NEUTRAL", price_z=z)
    expected = sum(
        w * (1 - norm.cdf((x - 0.5) / 0.5) - norm.cdf((-x - 0.5) / 0.5)) for w, x in zip(WEIGHTS, z, strict=True)
    )
    assert flat.confidence_weighted[0, 0] == pytest.approx(expected)


def test_a_rank_is_the_share_of_values_below_with_ties_counted_half() -> None:
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(2, 300)), 1)
    x[rng.random((2, 300)) < 0.1] = np.nan
    rank = percentile_rank(x, window=50, minimum=20)
    for k, t in [(0, 299), (1, 120), (0, 60), (1, 10)]:
        past = x[k, max(t - 49, 0) : t + 1]
        past = past[~np.isnan(past)]
        if np.isnan(x[k, t]) or len(past) < 20:
            assert np.isnan(rank[k, t])
        else:
            expected = ((past < x[k, t]).sum() + 0.5 * (past == x[k, t]).sum()) / len(past)
            assert rank[k, t] == pytest.approx(expected)


def test_volume_is_measured_against_the_median_of_the_last_thirty_days() -> None:
    rng = np.random.default_rng(1)
    volume = np.exp(rng.normal(10, 1, (1, 24 * 45)))
    volume[0, 40] = np.nan
    first_hour = 24 * 19_000 + 7  # 07:00
    ratio = volume_ratio(volume, first_hour)
    t = 1000
    midnight = t - (first_hour + t) % 24
    days = [np.nansum(volume[0, midnight - 24 * (i + 1) + 1 : midnight - 24 * i + 1]) for i in range(30)]
    assert ratio[0, t] == pytest.approx(volume[0, t - 23 : t + 1].sum() / np.median(days))
    assert np.isnan(ratio[0, 24 * 20])


def test_heat_is_one_half_with_fewer_than_two_inputs() -> None:
    x = np.random.default_rng(2).normal(size=(1, 1500))
    assert (market_heat(x) == 0.5).all()
    both = market_heat(x, x)
    assert (both[0, :719] == 0.5).all()
    np.testing.assert_allclose(both[0, 719:], percentile_rank(x)[0, 719:])
