"""Reports as one HTML file each that needs nothing else: the parts that pages share.

They print well: the browser's "save as PDF" is the way to paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

GOOD_COLOR, WARN_COLOR, BAD_COLOR = "#3c8d4a", "#b7791f", "#c8464f"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}
h1{margin-bottom:0}h2{margin-top:2rem}.quiet{color:#666}
table{border-collapse:collapse;margin:.5rem 0}
th,td{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}
.bad{border-left:4px solid #c8464f;padding:.1rem 1rem;background:#fbf1f1}
.warn{border-left:4px solid #b7791f;padding:.1rem 1rem;background:#fdf7ea}
.good{border-left:4px solid #3c8d4a;padding:.1rem 1rem;background:#f1f8f2}
.strip{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0;max-width:180px;font-size:13px}
figcaption{overflow-wrap:anywhere}
td.g{color:#3c8d4a;font-weight:600}td.w{color:#b7791f;font-weight:600}
td.b{color:#c8464f;font-weight:600}
.sign{display:flex;gap:3rem;margin-top:3rem}.sign p{flex:1;border-top:1px solid #222;margin:0}
@page{size:A4;margin:15mm}
@media print{body{margin:0;max-width:none;font-size:12px;print-color-adjust:exact;
-webkit-print-color-adjust:exact}h2{break-after:avoid}tr,figure,svg{break-inside:avoid}}
"""


def page(title: str, parts: Iterable[str]) -> bytes:
    """The whole file; ``parts`` are HTML already."""
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>"
    )
    return ("\n".join([head, *parts]) + "\n").encode()


def paragraph(text: str, *, kind: str = "") -> str:
    """Plain text; ``kind`` is quiet, good, warn or bad."""
    mark = f' class="{kind}"' if kind else ""
    return f"<p{mark}>{escape(text)}</p>"


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def rows(
    lines: Iterable[Sequence[object]],
    *,
    head: Sequence[str] = (),
    numbers: Sequence[int] = (),
    marks: Sequence[Sequence[str]] = (),
) -> str:
    """A table.

    Args:
        numbers: columns that are aligned to the right.
        marks: for each line, by column, "g", "w" or "b" for good, warning or bad, else "".
    """
    made = []
    if head:
        made.append("<tr>" + "".join(f"<th>{escape(name)}" for name in head))
    for at, line in enumerate(lines):
        cells = []
        for column, value in enumerate(line):
            names = ["n"] if column in numbers else []
            if at < len(marks) and column < len(marks[at]) and marks[at][column]:
                names.append(marks[at][column])
            mark = f' class="{" ".join(names)}"' if names else ""
            cells.append(f"<td{mark}>{escape(str(value))}")
        made.append("<tr>" + "".join(cells))
    return f"<table>{''.join(made)}</table>"


def strip(figures: Iterable[str]) -> str:
    """Figures side by side, as many as fit."""
    return f'<div class="strip">{"".join(figures)}</div>'


def signatures(*names: str) -> str:
    """Lines to sign on, side by side."""
    return '<div class="sign">' + "".join(f"<p>{escape(name)}</p>" for name in names) + "</div>"
