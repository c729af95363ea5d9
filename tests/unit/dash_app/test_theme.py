"""The palettes: the same in figures and in the style sheet, and readable."""

import re

import pytest

from dash_app.static import ASSETS
from dash_app.theme import PALETTES

STYLE = (ASSETS / "style.css").read_text()


def _properties(theme: str) -> dict[str, str]:
    selector = r":root\[data-theme=\"light\"\] \{" if theme == "light" else r":root \{"
    block = re.search(selector + r"(.*?)\}", STYLE, re.DOTALL)
    assert block
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-fA-F]{6})", block.group(1)))


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", PALETTES)
def test_figures_and_style_sheet_use_the_same_colours(theme):
    own = _properties(theme)
    assert {name: own[name].lower() for name in PALETTES[theme]} == {
        name: value.lower() for name, value in PALETTES[theme].items()
    }


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", ["text", "soft", "accent", "stable", "high_vol", "extreme", "long", "short"])
def test_words_are_readable_on_a_panel(theme, name):
    assert contrast(PALETTES[theme][name], PALETTES[theme]["panel"]) >= 4.5


@pytest.mark.parametrize(
    ("theme", "colours"),
    [("dark", ("#47CB9F", "#FFC357", "#ED593A", "#C98BF0")), ("light", ("#1B7F69", "#8A5A00", "#B3200A", "#7A28B8"))],
)
def test_regimes_keep_the_colours_chosen_for_colour_blind_readers(theme, colours):
    assert tuple(PALETTES[theme][name] for name in ("stable", "high_vol", "explosive", "extreme")) == colours
