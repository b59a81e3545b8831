"""``edgeinspect-tools data``: checks and splits a data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FOLDER, FiniteRange
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table
from edgeinspect_tools.shared_options import good_option, group_pattern_option

if TYPE_CHECKING:
    from edgeinspect_tools.data.build import Judged

EXAMPLES = """
edgeinspect-tools data pictures/                       good/ or ok/, and a folder per defect
edgeinspect-tools data pictures/ --good gut --out report/
edgeinspect-tools data labels.csv --group-pattern 'part_(\\d+)'
edgeinspect-tools data coco:annotations.json --seed 7 --json
edgeinspect-tools data deeppcb:DeepPCB/PCBData
edgeinspect-tools data station-export:/var/lib/edgeinspect   parts labelled on a station
"""


@click.command(epilog=examples(EXAMPLES))
@click.argument("dataset")
@click.option(
    "--out",
    type=FOLDER,
    help="Write manifest.json, contact_sheet.png and report.html to this folder.",
)
@good_option
@group_pattern_option
@click.option(
    "--near-duplicates",
    default=0.8,
    show_default=True,
    metavar="CORRELATION",
    type=FiniteRange(0.1, 1.0),
    help="Pictures with a higher correlation count as the same part.",
)
@click.option(
    "--split",
    default="60,10,15,15",
    show_default=True,
    metavar="A,B,C,D",
    help="Shares of training, calibration, validation and test pictures.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**31 - 1),
    help="Seed of the split.",
)
@json_option
def command(  # noqa: PLR0917  click passes by name
    dataset: str,
    out: Path | None,
    good: str,
    group_pattern: str,
    near_duplicates: float,
    split: str,
    seed: int,
    as_json: bool,
) -> None:
    """Check DATASET for mistakes, and split it so that each part is in one split only.

    DATASET is a folder with a subfolder for each class (masks beside the pictures are used),
    MVTec's layout, a CSV file with the columns path,label[,group], COCO JSON, Pascal VOC, a
    station's labelled parts (station-export:FOLDER), deeppcb:PATH or magnetic-tile:PATH.
    """
    from edgeinspect_tools.data.build import build_dataset
    from edgeinspect_tools.data.dataset_formats import read_source
    from edgeinspect_tools.progress import bar

    source = read_source(dataset, good=good)
    with bar("Reading pictures", len(source.pictures), shown=not as_json) as advance:
        judged = build_dataset(
            source,
            seed=seed,
            fractions=_shares(split),
            group_pattern=group_pattern,
            correlation=near_duplicates,
            progress=advance,
        )
    if out is not None:
        _write(judged, out)
    if as_json:
        print_json(_summary(judged, out))
    else:
        _print_report(judged, out)


def _shares(text: str) -> dict[Any, float]:
    from edgeinspect.errors import UsageError
    from edgeinspect_tools.data.dataset import Split

    words = text.split(",")
    try:
        return dict(zip(Split, (float(word) for word in words), strict=True))
    except ValueError as error:
        raise UsageError(
            f"--split is {text!r}; expected four numbers such as 60,10,15,15."
        ) from error


def _write(judged: Judged, out: Path) -> None:
    from edgeinspect.files.atomic_file import make_folder, replace_file
    from edgeinspect_tools.data.data_page import report_html
    from edgeinspect_tools.data.manifest import save_manifest
    from edgeinspect_tools.data.sheet import contact_sheet

    make_folder(out)
    sheet = contact_sheet(judged.dataset)
    report = report_html(judged.dataset, judged.findings, sheet)
    replace_file(out / "contact_sheet.png", sheet)
    replace_file(out / "report.html", report)
    save_manifest(judged.dataset, out / "manifest.json")


def _summary(judged: Judged, out: Path | None) -> dict[str, object]:
    dataset, findings = judged.dataset, judged.findings

    def plain(value: object) -> object:
        if isinstance(value, Path):
            inside = value.is_relative_to(dataset.root)
            return str(value.relative_to(dataset.root) if inside else value)
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value

    return {
        "layout": dataset.kind,
        "pictures": len(dataset.items),
        "classes": list(dataset.classes),
        "masks": dataset.has_masks,
        "boxes": dataset.has_boxes,
        "excluded": [{"path": plain(e.path), "reason": e.reason} for e in dataset.excluded],
        **{key: plain(value) for key, value in asdict(findings).items()},
        "manifest": str(out / "manifest.json") if out is not None else None,
    }


def _print_report(judged: Judged, out: Path | None) -> None:
    from edgeinspect_tools.data.data_page import attention, balance_rows
    from edgeinspect_tools.data.dataset import Split

    dataset, findings = judged.dataset, judged.findings
    rows = [[label, *counts] for label, counts in balance_rows(dataset, findings)]
    names = [split.value for split in Split]
    print_text(table(["class", *names, "all"], rows, right=[*names, "all"]))
    for line in (
        f"{len(dataset.items)} pictures ({dataset.kind}) of {findings.groups} different parts; "
        f"{findings.near_duplicate_pairs} near-duplicate pairs.",
        *findings.notes,
        *(f"Look at: {sentence}" for sentence in attention(dataset, findings)),
    ):
        print_text(line)
    if out is not None:
        print_text(f"Written: {out}/manifest.json, contact_sheet.png, report.html")
