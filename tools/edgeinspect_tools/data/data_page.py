"""The data set's report as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeinspect.files.html_report import data_url, render
from edgeinspect_tools.data.dataset import Dataset, Split
from edgeinspect_tools.data.findings import Findings, Outlier
from edgeinspect_tools.data.sheet import SPLIT_COLORS


def report_html(dataset: Dataset, findings: Findings, sheet_png: bytes) -> bytes:
    """Make the page."""
    return render(
        "edgeinspect_tools/data/data_page.html",
        dataset=dataset,
        findings=findings,
        attention=attention(dataset, findings),
        balance=balance_rows(dataset, findings),
        split_colors=SPLIT_COLORS,
        sheet_url=data_url(sheet_png),
        lists=_lists(dataset, findings),
    )


def attention(dataset: Dataset, findings: Findings) -> list[str]:
    """What a person must look at before training, one sentence each."""
    found = [
        (len(dataset.excluded), "pictures are left out: unreadable, or labelled twice"),
        (len(findings.conflicts), "near-duplicate pairs carry different labels"),
        (findings.across_official_split, "near-duplicate pairs straddle the official split"),
        (len(findings.blurred), "pictures are much less sharp than the others"),
        (len(findings.exposure), "pictures are exposed unlike the others"),
        (len(findings.exact_duplicates), "pictures are there more than once"),
        (len(findings.missing), "times a class is missing from a split"),
    ]
    return [f"{count} {text}." for count, text in found if count]


def balance_rows(dataset: Dataset, findings: Findings) -> list[tuple[str, list[int]]]:
    """Number of pictures of each class: in each split, then in all."""
    rows = []
    for label in sorted({item.label for item in dataset.items}):
        counts = [findings.balance[split.value].get(label, 0) for split in Split]
        rows.append((label, [*counts, sum(counts)]))
    return rows


def _lists(dataset: Dataset, findings: Findings) -> list[tuple[str, list[str]]]:
    root = dataset.root
    return [
        ("Left out", [f"{_name(e.path, root)}: {e.reason}" for e in dataset.excluded]),
        (
            "Near-duplicates with different labels",
            [
                f"{_name(c.first, root)} ({c.first_label}) and "
                f"{_name(c.second, root)} ({c.second_label})"
                for c in findings.conflicts
            ],
        ),
        ("Not sharp", _outliers(findings.blurred, root)),
        ("Unusual exposure", _outliers(findings.exposure, root)),
        (
            "Found more than once",
            [", ".join(_name(path, root) for path in same) for same in findings.exact_duplicates],
        ),
        ("Missing", [f"{label} in {split}" for label, split in findings.missing]),
    ]


def _outliers(outliers: Iterable[Outlier], root: Path) -> list[str]:
    return [
        f"{_name(o.path, root)}: {o.what} {o.value:.3g}, median {o.median:.3g}" for o in outliers
    ]


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
