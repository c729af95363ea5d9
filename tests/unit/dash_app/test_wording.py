"""Figures as people read them."""

import pytest

from dash_app import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "$0"),
        (812, "$812"),
        (1_500, "$1.5k"),
        (375_000, "$375k"),
        (999_600, "$1.00M"),
        (1_500_000, "$1.50M"),
        (2.1e9, "$2.10B"),
        (-1_200, "−$1.2k"),
    ],
)
def test_money_has_three_digits_and_a_unit(value, text):
    assert wording.money(value) == text


def test_velocity_says_per_hour():
    assert wording.money(375_000, per_hour=True) == "$375k/h"


@pytest.mark.parametrize(
    ("value", "text"), [(67_412.3, "$67,412"), (152.371, "$152.37"), (0.48213, "$0.4821"), (None, "–")]
)
def test_a_price_has_the_digits_its_size_needs(value, text):
    assert wording.price(value) == text


def test_signs_are_real_minus_signs():
    assert wording.sigma(-2.53) == "−2.5σ"
    assert wording.basis_points(-0.000123) == "−1.23 bp"
    assert wording.percent(-0.031, sign=True) == "−3.10 %"


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (None, "–"),
        (0, "0 h"),
        (0.5, "30 min"),
        (1, "1 h"),
        (8.5, "8.5 h"),
        (47, "47 h"),
        (60, "2.5 d"),
        (2_400, "100 d"),
    ],
)
def test_hours_take_the_unit_that_reads_best(hours, text):
    assert wording.hours(hours) == text
