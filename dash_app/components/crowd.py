"""What a panel shows when there are more symbols than anybody reads at a glance.

What belongs here: how many are shown, the choice of the most telling ones, the line that says how many there are
and where all of them stand. What does not: how one symbol looks.
"""

from collections.abc import Callable, Sequence

from dash_app.tree import Child, Tree, h, link

#: Up to so many symbols every panel shows all of them, in the configured order.
ALL = 8
#: Of more, so many.
SHOWN = 10


def many(count: int) -> bool:
    """Whether there are too many to show all."""
    return count > ALL


def telling(
    names: Sequence[str], first: str, rank: Callable[[str], tuple[float, ...]], shown: int = SHOWN
) -> list[str]:
    """All names if they are few; else the one in view, then those with the highest rank."""
    if not many(len(names)):
        return list(names)
    others = sorted((name for name in names if name != first), key=rank, reverse=True)
    return [name for name in (first, *others) if name in names][:shown]


def counted(parts: Sequence[tuple[str, int, str]]) -> Tree:
    """How many of each kind, as ``12 BULL``; kinds that do not occur are left out."""
    shown = [h("span", kind, h("b", None, str(number)), f" {word}") for word, number, kind in parts if number]
    return h("p", "counted", *shown)


def rest(total: int, shown: int, order: str, href: str, where: str) -> Child:
    """``10 of 100, by confidence · all``; nothing if all are shown."""
    if shown >= total:
        return None
    return h("p", "foot", f"{shown} of {total}, {order} · ", link(href, h("u", None, where)))
