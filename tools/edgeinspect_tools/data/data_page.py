"""The data set's report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from edgeinspect_tools.data.dataset import Dataset, Split
from edgeinspect_tools.data.findings import Findings, Outlier
from edgeinspect_tools.data.sheet import SPLIT_COLORS

_SHOWN = 30

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}
h1{margin-bottom:0}h2{margin-top:2rem}small,.quiet{color:#666}
table{border-collapse:collapse;margin:.5rem 0}
th,td{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}
.attention{border-left:4px solid #c8464f;padding:.1rem 1rem;background:#fbf1f1}
.fine{border-left:4px solid #3c8d4a;padding:.1rem 1rem;background:#f1f8f2}
"""


def html_report(dataset: Dataset, findings: Findings, sheet_png: bytes) -> str:
    """Put the report together; every name from the data set is escaped."""
    title = f"Data set {dataset.root.name}"
    picture = base64.b64encode(sheet_png).decode()
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>",
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
        f"<p class=quiet>{escape(dataset.kind)}, {len(dataset.items)} pictures of "
        f"{findings.groups} different parts (the largest group has {findings.largest_group}), "
        f"split with seed {dataset.seed}.",
        *(f"<p>{escape(note)}" for note in findings.notes),
        _attention(dataset, findings),
        "<h2>Classes and splits</h2>",
        _balance(dataset, findings),
        f'<h2>Contact sheet</h2><img alt="contact sheet" src="data:image/png;base64,{picture}">',
        *_details(dataset, findings),
    ]
    return "\n".join(parts) + "\n"


def attention(dataset: Dataset, findings: Findings) -> list[str]:
    """What a person must look at, one sentence each; empty where there is nothing."""
    said = [
        (len(dataset.excluded), "pictures are left out: unreadable, or labelled twice"),
        (len(findings.conflicts), "near-duplicate pairs carry different labels"),
        (findings.across_official_split, "near-duplicate pairs straddle the official split"),
        (len(findings.blurred), "pictures are much less sharp than the others"),
        (len(findings.exposure), "pictures are exposed unlike the others"),
        (len(findings.exact_duplicates), "pictures are there more than once"),
        (len(findings.missing), "times a class is missing from a split"),
    ]
    return [f"{count} {text}." for count, text in said if count]


def _attention(dataset: Dataset, findings: Findings) -> str:
    sentences = attention(dataset, findings)
    if not sentences:
        return "<p class=fine>Nothing needs attention."
    items = "".join(f"<li>{escape(sentence)}" for sentence in sentences)
    return f"<div class=attention><p>To look at before training:<ul>{items}</ul></div>"


def _balance(dataset: Dataset, findings: Findings) -> str:
    labels = sorted({item.label for item in dataset.items})
    heads = "".join(
        f'<th style="color:rgb{SPLIT_COLORS[split]}">{escape(split.value)}' for split in Split
    )
    rows = []
    for label in labels:
        counts = [findings.balance[split.value].get(label, 0) for split in Split]
        cells = "".join(f"<td class=n>{count}" for count in [*counts, sum(counts)])
        rows.append(f"<tr><td>{escape(label)}{cells}")
    return f"<table><tr><th>class{heads}<th>all{''.join(rows)}</table>"


def _details(dataset: Dataset, findings: Findings) -> list[str]:
    root = dataset.root
    return [
        _list("Left out", [f"{_name(e.path, root)}: {e.reason}" for e in dataset.excluded]),
        _list(
            "Near-duplicates with different labels",
            [
                f"{_name(c.first, root)} ({c.first_label}) and "
                f"{_name(c.second, root)} ({c.second_label})"
                for c in findings.conflicts
            ],
        ),
        _list("Not sharp", _outliers(findings.blurred, root)),
        _list("Exposed otherwise", _outliers(findings.exposure, root)),
        _list(
            "There more than once",
            [", ".join(_name(path, root) for path in same) for same in findings.exact_duplicates],
        ),
        _list("Missing", [f"{label} in {split}" for label, split in findings.missing]),
    ]


def _outliers(outliers: Iterable[Outlier], root: Path) -> list[str]:
    return [
        f"{_name(o.path, root)}: {o.what} {o.value:.3g}, median {o.median:.3g}" for o in outliers
    ]


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = "".join(f"<li>{escape(line)}" for line in lines[:_SHOWN])
    more = f"<p class=quiet>and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"<h2>{escape(title)}</h2><ul>{shown}</ul>{more}"


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
