"""Tables: real ones, with headings that sort, a filter and CSV, in a region of their own that scrolls.

What belongs here: the shape of a table. What does not: which rows it has. Sorting, filtering and CSV happen in the
browser (``assets/tables.js``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dash_app.tree import Tree, h, moment, note

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
        Heading.
    cell : callable
        Text or tree of a row's cell.
    value : callable, optional
        The plain value by which the column sorts and that CSV writes; default the text shown.
    number : bool
        Right-aligned, sorts by number, largest first.
    """

    name: str
    cell: Callable[[Row], Tree | str]
    value: Callable[[Row], Any] | None = None
    number: bool = False


def _value(column: Column, row: Row) -> str | None:
    if column.value is None:
        return None
    value = column.value(row)
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def times(name: str, key: str, style: str = "dh") -> Column:
    """A column of moments."""
    return Column(name, lambda row: moment(row[key], style), lambda row: row[key])


def numbers(name: str, key: str, write: Callable[[Any], str]) -> Column:
    """A column of figures written by one of ``wording``'s functions."""
    return Column(name, lambda row: write(row[key]), lambda row: row[key], number=True)


def texts(name: str, key: str) -> Column:
    """A column of plain text."""
    return Column(name, lambda row: str(row[key]) if row[key] is not None else "–")


def table(
    id_: str,
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    empty: str | Tree,
    row_key: Callable[[Row], str] | None = None,
    tools: bool = False,
    row_class: Callable[[Row], str] | None = None,
) -> Tree:
    """A table, or the designed empty state.

    ``tools`` adds the filter, the number of rows and the CSV button.
    """
    if not rows:
        return empty if isinstance(empty, list) else note(empty)
    head = h(
        "tr",
        None,
        *(
            h(
                "th",
                {
                    "scope": "col",
                    "class": "num" if column.number else None,
                    "aria-sort": "none",
                    "data-name": column.name,
                },
                h("button", {"type": "button", "data-sort": "number" if column.number else "text"}, column.name),
            )
            for column in columns
        ),
    )
    body = [
        h(
            "tr",
            {"key": row_key(row) if row_key else None, "class": row_class(row) if row_class else None},
            *(
                h("td", {"class": "num" if column.number else None, "data-v": _value(column, row)}, column.cell(row))
                for column in columns
            ),
        )
        for row in rows
    ]
    whole = h(
        "div",
        {"class": "scroll", "role": "region", "tabindex": "0", "aria-label": caption},
        h("table", {"data-table": id_}, h("caption", "sr", caption), h("thead", None, head), h("tbody", None, *body)),
    )
    if not tools:
        return whole
    return h(
        "div",
        "tabled",
        h(
            "div",
            "tools",
            h(
                "input",
                {"type": "search", "placeholder": "Filter rows", "aria-label": f"Filter {caption}", "data-filter": id_},
            ),
            h("span", {"class": "soft", "data-count": id_, "role": "status"}, f"{len(rows)} rows"),
            h("button", {"type": "button", "class": "button", "data-csv": id_}, "CSV"),
        ),
        whole,
    )
