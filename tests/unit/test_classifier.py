"""A user's own classifier is tried before anything runs."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regimes_dagster.configuration.classifier import check_classifier, known_labels
from regimes_dagster.settings import SettingsError, load_settings

GOOD = """
def classify(price_z, vol_z, heat=0.5):
    return ("SUPER_HOT", 0.95) if heat > 0.8 and price_z > 1.5 else ("NEUTRAL", 0.5)
def two(price_z, vol_z):
    return "NEUTRAL", 0.5
def label_only(price_z, vol_z, heat):
    return "NEUTRAL"
def score_too_high(price_z, vol_z, heat):
    return "NEUTRAL", 95
def new_label(price_z, vol_z, heat):
    return ("MANIA", 0.9) if price_z > 3 else ("NEUTRAL", 0.5)
def divides(price_z, vol_z, heat):
    return "NEUTRAL", 1 / (1 + abs(price_z)) if heat else 1 / 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = sys.path[:]
    (tmp_path / "my_regimes.py").write_text(GOOD)
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("my_regimes", None)


def check(folder: Path, spec: str, more: str = "") -> object:
    (folder / "regimes.toml").write_text(f'[multi_timeframe]\nclassifier = "{spec}"\n{more}')
    return check_classifier(load_settings({}, folder))


def test_without_one_the_built_in_classifier_is_used(tmp_path: Path) -> None:
    assert check_classifier(load_settings({}, tmp_path)) is None


def test_a_module_beside_the_file_is_found(folder: Path) -> None:
    classify = check(folder, "my_regimes:classify")
    assert callable(classify)
    assert classify(1.6, 0.0, 0.81) == ("SUPER_HOT", 0.95)


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("my_regimess:classify", ["cannot be imported", "my_regimess.py"]),
        ("my_regimes:clasify", ["has no function clasify", 'Did you mean "classify"?']),
        ("my_regimes:two", ["must take three numbers"]),
        ("my_regimes:label_only", ["must be (label, score)"]),
        ("my_regimes:score_too_high", ["the score 95", "must be 0 to 1"]),
        ("my_regimes:new_label", ['"MANIA"', "[multi_timeframe.labels.MANIA]"]),
        ("my_regimes:divides", ["ZeroDivisionError", "(-4, -4, 0)"]),
    ],
)
def test_what_is_wrong_with_it_is_said(folder: Path, spec: str, parts: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        check(folder, spec)
    (problem,) = caught.value.problems
    assert problem.key == "multi_timeframe.classifier"
    assert problem.origin == "regimes.toml:2"
    for part in parts:
        assert part in str(problem)


def test_a_new_label_is_accepted_once_it_has_a_meaning(folder: Path) -> None:
    more = '[multi_timeframe.labels.MANIA]\nemoji = "M"\nfamily = 1\nlong_bias = 0.2\nrisk_multiplier = 2.0\n'
    assert callable(check(folder, "my_regimes:new_label", more))


def test_the_labels_of_the_built_in_classifier_are_known(tmp_path: Path) -> None:
    assert {"SUPER_HOT", "CAPITULATION", "NEUTRAL"} <= set(known_labels(load_settings({}, tmp_path)))
