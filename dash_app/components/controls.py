"""Choices that change the address: symbol, pair, range.

What belongs here: links and selects. Links are used instead of radio buttons: they can be shared, opened in a new
tab, walked by keyboard, and pass accessibility checks. What does not: what the choice changes.
"""

from collections.abc import Sequence

from dash_app.tree import Tree, h, link
from dash_app.view import RANGES, View
from dash_app.wording import base, pair_name

#: Up to so many symbols are shown side by side, more in a list.
SIDE_BY_SIDE = 6


def _links(label: str, current: str, choices: Sequence[tuple[str, str, str]]) -> Tree:
    items = [
        link(
            href,
            text,
            class_="choice on" if value == current else "choice",
            aria_current="true" if value == current else None,
            key=value,
        )
        for value, text, href in choices
    ]
    return h("nav", {"class": "choices", "aria-label": label}, *items)


def _select(label: str, name: str, current: str, values: Sequence[tuple[str, str]]) -> Tree:
    options = [
        h("option", {"value": value, "selected": True if value == current else None}, text) for value, text in values
    ]
    return h("select", {"data-param": name, "aria-label": label, "class": "select"}, *options)


def symbols(view: View, known: Sequence[str]) -> Tree:
    """Which symbol the page is about."""
    if len(known) > SIDE_BY_SIDE:
        return _select("Symbol", "symbol", view.symbol, [(symbol, symbol) for symbol in known])
    return _links("Symbol", view.symbol, [(symbol, base(symbol), view.href(symbol=symbol)) for symbol in known])


def pairs(view: View, known: Sequence[str]) -> Tree:
    """Which pair the page is about."""
    if len(known) > SIDE_BY_SIDE:
        return _select("Pair", "pair", view.pair, [(pair, pair_name(pair)) for pair in known])
    return _links(
        "Pair", view.pair, [(pair, pair_name(pair), view.href(pair=pair, start=None, end=None)) for pair in known]
    )


def ranges(view: View, names: Sequence[str] = ("24h", "72h", "7d", "30d", "90d", "1y", "3y")) -> Tree:
    """How far back the page looks; a zoomed chart shows a way back."""
    zoomed = view.start is not None or view.end is not None
    current = "" if zoomed else view.range_key
    chosen = [(name, name, view.href(range=name, start=None, end=None)) for name in names if name in RANGES]
    tree = _links("Range", current, chosen)
    if zoomed:
        tree.append(
            link(view.href(start=None, end=None), "× zoom", class_="choice on", title="Back to the whole range")
        )
    return tree


def select(label: str, name: str, current: str, values: Sequence[tuple[str, str]]) -> Tree:
    """A list that writes its value to the address."""
    return _select(label, name, current, values)
