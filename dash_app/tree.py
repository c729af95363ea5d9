"""A small description of page elements that the browser merges into the page.

What belongs here: the one constructor ``h`` and the few shapes built directly from it. A tree is
``[tag, attributes, *children]`` with text as plain strings; ``assets/islands.js`` walks it and touches only what
differs, so that a refresh keeps focus, scroll position and open details, and costs little script time. Text is
always set as text, so that nothing from the database can become markup. What does not: Dash components (the
frame around these trees) and figures.
"""

from datetime import datetime
from typing import Any

Tree = list[Any]
Child = Tree | str | None


def h(tag: str, attributes: dict[str, Any] | str | None = None, *children: Child) -> Tree:
    """One element; a string in place of attributes is its class. Children that are None are left out."""
    if isinstance(attributes, str):
        attributes = {"class": attributes}
    own = {name: value for name, value in (attributes or {}).items() if value is not None and value is not False}
    return [tag, own, *(child for child in children if child is not None)]


def moment(ts: datetime | None, style: str = "dh", *, missing: str = "–") -> Tree | str:
    """A moment that the browser writes in the reader's zone.

    ``style``: ``dh`` day and hour, ``hm`` hour and minute, ``full`` with the year, ``now`` the same for the running
    clock, ``age`` how long ago (both kept up to date by the browser from the server's time).
    """
    if ts is None:
        return missing
    return h("time", {"datetime": ts.isoformat(), "data-time": style}, ts.strftime("%Y-%m-%d %H:%M"))


def link(href: str, *children: Child, **attributes: Any) -> Tree:
    """A link inside the dashboard; the browser follows it without loading the page again."""
    named = {name.replace("_", "-") if name != "class_" else "class": value for name, value in attributes.items()}
    return h("a", {"href": href, "data-nav": "1", **named}, *children)


def note(text: str, *more: Child) -> Tree:
    """A designed empty state: what is missing, and why."""
    return h("p", "empty", text, *more)


def text_of(node: Child) -> str:
    """All text inside a tree, for summaries and tests."""
    if node is None:
        return ""
    if isinstance(node, str):
        return node
    return "".join(text_of(child) for child in node[2:])
