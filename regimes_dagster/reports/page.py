"""The page around charts and tables: head, style, foot.

What belongs here: the frame of every report, its colours in light, dark and print, and tables. What does not: charts
(``charts.py``) and what is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

DISCLAIMER = "Not investment advice. Figures describe the venues and the period named, nothing else."

_STYLE = """
:root{color-scheme:light dark;--page:#f3f5f9;--panel:#fff;--line:#d5dce8;--text:#131a26;--soft:#4c5a70;--accent:#2453c4;
--good:#1b7f69;--bad:#b3200a;--s0:#2453c4;--s1:#b3200a;--s2:#1b7f69;--s3:#7a28b8;--s4:#8a5a00;--s5:#0f6b80}
@media (prefers-color-scheme:dark){:root{--page:#0b0f17;--panel:#121926;--line:#263145;--text:#e8edf6;--soft:#a6b2c6;
--accent:#86a8ff;--good:#47cb9f;--bad:#ff8a6b;--s0:#86a8ff;--s1:#ff8a6b;--s2:#47cb9f;--s3:#c98bf0;--s4:#ffc357;--s5:#5cc8e0}}
@media(max-width:560px){section{padding:14px 12px}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);
font:15px/1.55 Inter,system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
main{max-width:980px;margin:0 auto;padding:28px 18px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:0 0 4px}h3{font-size:15px;margin:22px 0 6px}
.soft,figcaption p,footer{color:var(--soft)}.lead{margin:0 0 20px;color:var(--soft)}
section{background:var(--panel);border:1px solid var(--line);border-radius:10px;padding:20px 22px;margin:18px 0}
nav{display:flex;flex-wrap:wrap;gap:6px 16px;margin:12px 0}a{color:var(--accent)}
.warning{border-left:4px solid var(--bad);padding:8px 12px;background:var(--panel);margin:14px 0}
figure{margin:20px 0 6px}figcaption p{margin:2px 0 8px;font-size:13.5px}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:13px Inter,system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--text)}
svg text.tick,svg text.value{fill:var(--soft);font-size:12px}svg text.group{font-weight:600}
svg text.marked{fill:var(--text);font-weight:700}
.grid{stroke:var(--line)}.reference{stroke:var(--text);stroke-dasharray:5 4;stroke-width:1.5}
.mark{stroke:var(--soft);stroke-dasharray:3 3}
.interval{stroke:var(--accent);stroke-width:4;stroke-linecap:round;opacity:.4}
.dot{fill:var(--accent)}.baseline{stroke:var(--bad);stroke-width:3}
.line{fill:none;stroke-width:2.2}.band{stroke:none;opacity:.14}
.s0{stroke:var(--s0)}.s1{stroke:var(--s1)}.s2{stroke:var(--s2)}.s3{stroke:var(--s3)}.s4{stroke:var(--s4)}.s5{stroke:var(--s5)}
.point.s0,.band.s0{fill:var(--s0)}.point.s1,.band.s1{fill:var(--s1)}.point.s2,.band.s2{fill:var(--s2)}
.point.s3,.band.s3{fill:var(--s3)}.point.s4,.band.s4{fill:var(--s4)}.point.s5,.band.s5{fill:var(--s5)}.point{stroke:none}
.scroll{overflow-x:auto}.scroll table{min-width:640px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px 5px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:600}td.number,th.number{text-align:right;white-space:nowrap}
tr.current td{font-weight:700}
td.nowrap{white-space:nowrap}.holds{color:var(--good);font-weight:700}.fails{color:var(--bad);font-weight:700}
details{margin-top:18px}summary{cursor:pointer;color:var(--accent)}
footer{font-size:13px;margin-top:26px}code{font-size:13px}
@media print{body{background:#fff}section{break-inside:avoid;border:0;padding:0}nav{display:none}}
"""


_CURRENT = ' class="current"'


@dataclass(frozen=True)
class Section:
    """A part of a page: ``anchor`` names it in links, ``body`` is HTML."""

    anchor: str
    title: str
    body: str


def page(title: str, lead: str, sections: Sequence[Section], *, warning: str | None = None) -> str:
    """A whole HTML document without any reference to another file.

    Parameters
    ----------
    title, lead, warning
        Plain text.
    """
    links = "".join(f'<a href="#{escape(s.anchor)}">{escape(s.title)}</a>' for s in sections)
    parts = "".join(f'<section id="{escape(s.anchor)}"><h2>{escape(s.title)}</h2>{s.body}</section>' for s in sections)
    note = f'<p class="warning" role="note">{escape(warning)}</p>' if warning else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>{note}<nav>{links}</nav>{parts}'
        f"<footer>{DISCLAIMER}</footer></main></body></html>\n"
    )


@dataclass(frozen=True)
class Cell:
    """A table cell: plain text and how it is shown."""

    text: str
    kind: str = ""


def table(head: Sequence[Cell | str], rows: Sequence[Sequence[Cell | str]], *, current: int | None = None) -> str:
    """An HTML table; ``current`` is the number of a row to stress."""
    body = "".join(
        f"<tr{_CURRENT if number == current else ''}>{''.join(_cell(cell, 'td') for cell in row)}</tr>"
        for number, row in enumerate(rows)
    )
    heads = "".join(_cell(cell, "th") for cell in head)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: Cell | str, tag: str) -> str:
    cell = Cell(cell) if isinstance(cell, str) else cell
    kind = f' class="{cell.kind}"' if cell.kind else ""
    return f"<{tag}{kind}>{escape(cell.text)}</{tag}>"
