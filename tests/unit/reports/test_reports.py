"""Reports stand alone: no script, no address, well-formed, with whatever text they are given."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.reports.axis import axis_of, short
from regimes_dagster.reports.charts import WIDTH, Dot, DotPlot, Line, LineChart, draw
from regimes_dagster.reports.page import Cell, Section, page, table

NASTY = "<b>\"&'</b>"


def svg_of(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


@given(st.lists(st.floats(-1e9, 1e9) | st.just(math.nan), max_size=8))
def test_an_axis_shows_every_value_at_few_round_ticks(values: list[float]) -> None:
    axis = axis_of(values)
    known = [v for v in values if math.isfinite(v)]
    if known:
        slack = 1e-6 * axis.step
        assert axis.low - slack <= min(known)
        assert max(known) <= axis.high + slack
    assert 2 <= len(axis.ticks) <= 9
    assert axis.low < axis.high
    assert len({axis.label(tick) for tick in axis.ticks}) == len(axis.ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.123456, "0.12"), (12.34, "12.3"), (1234.0, "1,234"), (2.5e6, "2.5 M"), (-0.0123, "-0.0123"),
     (math.nan, "–"), (8_660_000.0, "8.66 M"), (3.0, "3")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_tick_of_a_quarter_keeps_its_digits() -> None:
    axis = axis_of([0.0, 1.25])
    assert [axis.label(tick) for tick in axis.ticks][:3] == ["0", "0.25", "0.50"]


def test_a_dot_plot_places_values_in_order_and_names_them() -> None:
    dots = [
        Dot(NASTY, "low", 1.0, 0.5, 1.5, baseline=1.2),
        Dot(NASTY, "high", 3.0, n=7),
        Dot("none", "unknown", math.nan),
    ]
    html = draw(DotPlot(NASTY, dots, unit="%", reference=2.0, caption=NASTY))
    svg = svg_of(html)
    centres = [float(c.attrib["cx"]) for c in svg.iter("circle")]
    assert len(centres) == 2
    assert 0 < centres[0] < centres[1] < WIDTH
    text = " ".join(svg.itertext())
    assert "not measured" in text
    assert "high (n 7)" in text
    assert "1 % " in text.replace("  ", " ")
    assert NASTY not in html


def test_a_line_chart_marks_the_value_in_force_and_leaves_out_what_is_unknown() -> None:
    lines = [
        Line("a", (0, 1, 2), (1.0, math.nan, 3.0), (0.5, math.nan, 2.0), (1.5, math.nan, 4.0)),
        Line("b", (0,), (2.0,)),
    ]
    svg = svg_of(draw(LineChart("t", lines, "x", "y", steps=("0.1", "0.2", "0.3"), mark="0.2", reference=1.0)))
    assert sum(1 for _ in svg.iter("circle")) == 3
    assert [t.text for t in svg.iter("text") if t.attrib.get("class") == "tick marked"] == ["0.2"]
    assert sum(1 for _ in svg.iter("polygon")) == 1


def test_a_chart_without_any_value_can_be_drawn() -> None:
    assert "not measured" in draw(DotPlot("t", [Dot("g", "l", math.nan)]))
    assert "<svg" in draw(LineChart("t", [Line("a", (), ())], "x", "y", steps=("1",)))


def test_a_page_refers_to_nothing_outside_itself() -> None:
    html = page(
        NASTY,
        NASTY,
        [Section("one", "One", table(("a", Cell("b", "number")), [[NASTY, "2"]], current=0))],
        warning=NASTY,
    )
    assert NASTY not in html
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#)|url\(|@import|<script|https?:", html)
    assert 'href="#one"' in html
    assert 'id="one"' in html
    assert "Not investment advice" in html
    assert '<tr class="current">' in html
