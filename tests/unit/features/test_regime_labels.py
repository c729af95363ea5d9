"""The classifier as the guide and the table say, its vectorised form, dead-band, and a classifier of one's own."""

import math
import sys
import types

import numpy as np
import pytest

from regimes_dagster.features.regime_deadband import apply_deadband, unlatched
from regimes_dagster.features.regime_labels import (
    LABELS,
    classify_regime,
    classify_regime_simple,
    load_classifier,
    taxonomy,
)
from regimes_dagster.parameters import MultiTimeframeParameters

NAN = float("nan")


@pytest.mark.parametrize("vol_z", [-9.0, -1.5, 0.0, 1.6, 15.0])
def test_the_guides_example_is_super_hot_whatever_the_volatility(vol_z: float) -> None:
    assert classify_regime_simple(1.6, vol_z, 0.81) == ("SUPER_HOT", 0.95)


@pytest.mark.parametrize(
    ("price_z", "vol_z", "heat", "label"),
    [
        (NAN, 0, 0.5, "UNKNOWN"), (0, NAN, 0.5, "UNKNOWN"),
        (1.6, 0, 0.8, "BULL_TREND"), (1.5, 0, 0.9, "BULL_TREND"),
        (-1.6, 1.6, 0.5, "CAPITULATION"), (-1.5, 1.6, 0.5, "BEAR_TREND"), (-1.6, 1.5, 0.5, "BEAR_TREND"),
        (0.5, 1.6, 0.5, "CHOPPY"), (-0.5, 1.6, 0.5, "CHOPPY"), (0.51, 1.6, 0.5, "WARMING"),
        (1.01, 0, 0.5, "BULL_TREND"), (1.0, 0, 0.5, "WARMING"), (0.5, 0, 0.5, "NEUTRAL"),
        (-1.01, 0, 0.5, "BEAR_TREND"), (-1.0, 0, 0.5, "COOLING"), (-0.5, 0, 0.5, "NEUTRAL"),
        (0.2, -1.01, 0.5, "QUIET"), (0.2, -1.0, 0.5, "NEUTRAL"), (0, 1.5, 0.5, "NEUTRAL"),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_wins(price_z: float, vol_z: float, heat: float, label: str) -> None:
    assert classify_regime_simple(price_z, vol_z, heat)[0] == label


def test_scores_of_trends_are_normal_probabilities() -> None:
    assert classify_regime_simple(1.2, 0)[1] == pytest.approx(0.88493, abs=1e-5)
    assert classify_regime_simple(-1.2, 0)[1] == pytest.approx(0.88493, abs=1e-5)
    assert classify_regime_simple(0.0, 0)[1] == 1
    assert classify_regime_simple(0.4, 0)[1] == pytest.approx(1 - 2 * (0.655422 - 0.5), abs=1e-5)


def test_the_array_rules_agree_with_the_scalar_ones_everywhere() -> None:
    edges = [NAN, -2, -1.5, -1.01, -1, -0.5, -0.3, 0, 0.5, 0.51, 1, 1.2, 1.5, 1.51, 3]
    pz, vz, heat = (a.ravel() for a in np.meshgrid(edges, edges, [0.0, 0.5, 0.8, 0.81]))
    expected = [classify_regime_simple(p, v, h) for p, v, h in zip(pz, vz, heat, strict=True)]
    names = np.array(taxonomy(MultiTimeframeParameters()).names, dtype=object)
    codes = taxonomy(MultiTimeframeParameters()).codes(pz, vz, heat)
    assert names[codes].tolist() == [label for label, _ in expected]
    label, score = classify_regime(pz, vz, heat)
    assert label.tolist() == [name for name, _ in expected]
    np.testing.assert_allclose(score, [value for _, value in expected])


def test_every_label_stays_within_the_bounds_of_the_contract() -> None:
    assert len({label.name for label in LABELS}) == 10
    assert all(0.7 <= label.risk_multiplier <= 2.5 and -1 <= label.long_bias <= 1 for label in LABELS)


def slow_deadband(price: list[float], vol: list[float]) -> list[tuple[int, bool]]:
    """The rule in words: a level is entered above its edge, and kept until the score is at or below the inner one."""
    out, level, wild = [], 0, False
    for p, v in zip(price, vol, strict=True):
        if math.isnan(p) or math.isnan(v):
            level, wild = 0, False
        else:
            sign = 1 if p > 0 else -1
            reached = 2 if abs(p) > 1 else 1 if abs(p) > 0.5 else 0
            kept = 2 if abs(p) > 0.75 else 1 if abs(p) > 0.25 else 0
            before = abs(level) if level * sign > 0 else 0
            level = sign * max(reached, min(before, kept))
            wild = v > 1.5 or (wild and v > 1.0)
        out.append((level, wild))
    return out


def test_the_deadband_is_that_of_a_slow_loop() -> None:
    rng = np.random.default_rng(1)
    price = np.cumsum(rng.normal(0, 0.15, 4000)) % 4 - 2
    vol = np.cumsum(rng.normal(0, 0.2, 4000)) % 4 - 1
    price[rng.random(4000) < 0.01] = np.nan
    band = apply_deadband(price[None], vol[None], unlatched(1))
    mild_up, strong_up, mild_down, strong_down, wild = band.latches[:, 0]
    level = mild_up.astype(int) + strong_up - mild_down - strong_down
    assert list(zip(level.tolist(), wild.tolist(), strict=True)) == slow_deadband(price.tolist(), vol.tolist())


def test_a_held_score_keeps_its_label_and_a_clear_one_is_untouched() -> None:
    names = np.array(taxonomy(MultiTimeframeParameters()).names, dtype=object)
    price = np.array([[1.1, 0.8, 0.75, 0.3, 0.25, -0.6, -0.3, 0.0]])
    vol = np.zeros_like(price)
    band = apply_deadband(price, vol, unlatched(1))
    labels = names[taxonomy(MultiTimeframeParameters()).codes(band.price_z, band.vol_z, np.full_like(price, 0.5))][0]
    assert labels.tolist() == [
        "BULL_TREND", "BULL_TREND", "WARMING", "WARMING", "NEUTRAL", "COOLING", "COOLING", "NEUTRAL",
    ]  # fmt: skip
    assert band.price_z[0, 0] == 1.1


def test_the_deadband_resumes_from_its_memory() -> None:
    rng = np.random.default_rng(2)
    price, vol = rng.normal(0, 1, (3, 200)), rng.normal(0, 1.5, (3, 200))
    whole = apply_deadband(price, vol, unlatched(3))
    for cut in (1, 50, 199):
        left = apply_deadband(price[:, :cut], vol[:, :cut], unlatched(3))
        right = apply_deadband(price[:, cut:], vol[:, cut:], left.latches[:, :, -1])
        np.testing.assert_array_equal(right.latches, whole.latches[:, :, cut:])
        np.testing.assert_array_equal(right.price_z, whole.price_z[:, cut:])


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("own_regimes")
    module.classify = lambda p, v, h: ("MOON", 1.0) if p > 2 else classify_regime_simple(p, v, h)  # type: ignore[attr-defined]
    module.wrong = lambda p: p  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_regimes", module)
    return module


MOON = {"emoji": "🌕", "family": 1, "long_bias": 1.0, "risk_multiplier": 2.0}


@pytest.mark.usefixtures("own_module")
def test_a_classifier_of_ones_own_is_called_and_may_add_labels() -> None:
    params = MultiTimeframeParameters.model_validate({"classifier": "own_regimes:classify", "labels": {"MOON": MOON}})
    labels = taxonomy(params)
    codes = labels.codes(np.array([2.5, 0.0, NAN]), np.zeros(3), np.full(3, 0.5))
    assert [labels.names[code] for code in codes] == ["MOON", "NEUTRAL", "UNKNOWN"]


@pytest.mark.usefixtures("own_module")
def test_a_label_without_meaning_is_refused_with_the_section_to_write() -> None:
    labels = taxonomy(MultiTimeframeParameters(classifier="own_regimes:classify"))
    with pytest.raises(ValueError, match=r"\[multi_timeframe.labels.MOON\]"):
        labels.codes(np.array([2.5]), np.zeros(1), np.full(1, 0.5))


@pytest.mark.usefixtures("own_module")
def test_a_classifier_with_the_wrong_signature_is_refused() -> None:
    labels = taxonomy(MultiTimeframeParameters(classifier="own_regimes:wrong"))
    with pytest.raises(ValueError, match="must take three floats"):
        labels.codes(np.array([2.5]), np.zeros(1), np.full(1, 0.5))


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_regimes", "write module:function"),
        ("no_such_module_at_all:f", "cannot import no_such_module_at_all"),
        ("own_regimes:nothing", "has no function nothing"),
    ],
)
def test_a_wrong_classifier_path_says_what_is_wrong(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_classifier(path)


def test_a_label_may_be_given_another_meaning_but_unknown_may_not() -> None:
    calm = {"emoji": "🫧", "family": 0, "long_bias": 0.0, "risk_multiplier": 0.9}
    labels = taxonomy(MultiTimeframeParameters.model_validate({"labels": {"QUIET": calm}}))
    assert len(labels.labels) == 10
    assert labels.labels[labels.names.index("QUIET")].emoji == "🫧"
    with pytest.raises(ValueError, match="cannot be changed"):
        taxonomy(MultiTimeframeParameters.model_validate({"labels": {"UNKNOWN": calm}}))
