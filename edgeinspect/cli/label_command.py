"""``edgeinspect label``: label recorded parts and export them for training."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.application import LazyGroup
from edgeinspect.cli.options import FOLDER, author_option, data_dir_options, graphics_option
from edgeinspect.cli.tune.part_selection import (
    Selection,
    comparable_scores,
    place_of,
    read_labels,
    select,
    selection_options,
)
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, print_text, table

if TYPE_CHECKING:
    from edgeinspect.labels.label_queue import Wanted
    from edgeinspect.records.reader import RecordReader, StoredPart
    from edgeinspect.terminal.picture_printer import PicturePrinter

KINDS = ("good", "defective", "unsure")
_KEYS = {"g": "good", "d": "defective", "u": "unsure"}
_PICTURE_COLUMNS = 60


@click.group(
    cls=LazyGroup,
    epilog=examples(
        "edgeinspect label set 1742 defective --class scratch --config station.yaml",
        "edgeinspect label queue --config station.yaml",
        "edgeinspect label export labelled/ --config station.yaml",
    ),
)
def command() -> None:
    """Label recorded parts as good, defective or unsure. Earlier labels are kept."""


@command.command(
    "set",
    epilog=examples(
        "edgeinspect label set 1742 good --data-dir data",
        'edgeinspect label set 1742 1743 defective --class scratch --note "edge" --data-dir data',
    ),
)
@click.argument("part_ids", type=int, nargs=-1, required=True, metavar="PART...")
@click.argument("kind", type=click.Choice(KINDS))
@click.option(
    "--class", "defect_class", default="", show_default=False, metavar="NAME", help="Defect class."
)
@click.option(
    "--note", default="", show_default=False, metavar="TEXT", help="Remark to store with the label."
)
@author_option
@data_dir_options
@json_option
def set_label(
    *,
    part_ids: tuple[int, ...],
    kind: str,
    defect_class: str,
    note: str,
    author: str,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Label one or more recorded parts as good, defective or unsure."""
    from edgeinspect.labels.label_store import LabelKind, LabelStore
    from edgeinspect.records.reader import RecordReader

    with RecordReader(data_dir) as reader:
        parts = {part_id: reader.part(part_id) for part_id in part_ids}
    missing = [part_id for part_id, part in parts.items() if part is None]
    if missing:
        raise NotGood(
            f"There is no record of part {missing[0]} in {data_dir}; nothing was labelled.",
            next_action="Correct the part id, or leave that part out.",
        )
    with LabelStore(data_dir) as store:
        labels = [
            store.add(
                part_id,
                LabelKind(kind),
                author=author,
                defect_class=defect_class,
                note=note,
                picture=None if part is None else part.image,
            )
            for part_id, part in parts.items()
        ]
    fields = {"labels": [label.as_dict() for label in labels]}
    words = f"Labelled {len(labels)} part{'s' * (len(labels) > 1)} {kind}."
    print_result(fields, words, as_json=as_json)


@command.command(
    "queue",
    epilog=examples(
        "edgeinspect label queue --config station.yaml             asks part by part",
        "edgeinspect label queue --data-dir data --limit 50 --json",
    ),
)
@selection_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="Parts to show.")
@author_option
@graphics_option
@json_option
def queue(*, limit: int, author: str, graphics: str, as_json: bool, **options: Any) -> None:
    """Label the most useful parts: near a threshold, label against verdict, rare class.

    In a terminal, the command shows each part's picture and asks for a label: g good, d defective,
    u unsure, s skip, q quit. Each answer is stored at once. With --json, or without a terminal,
    the command only lists the parts.
    """
    from edgeinspect.labels.label_queue import label_queue
    from edgeinspect.records.reader import RecordReader

    data_dir, _ = place_of(options)
    labels = read_labels(data_dir)
    with RecordReader(data_dir) as reader:
        selection = select(reader, data_dir, options)
        columns = comparable_scores(reader, selection)
        wanted = label_queue(
            columns,
            selection.base.thresholds,
            labels,
            pictured=reader.pictured_part_ids().tolist(),
            limit=limit,
        )
        if not as_json and sys.stdin.isatty():
            _ask(reader, selection, wanted, author, graphics)
            return
    rows = [
        (part.part_id, part.verdict, part.defect_class, f"{part.score:.4f}", part.reason)
        for part in wanted
    ]
    columns_shown = ("part", "verdict", "class", "score", "why")
    print_result(
        {"queue": [dataclasses.asdict(part) for part in wanted], "labelled": len(labels)},
        table(columns_shown, rows, right=("part", "score")) if rows else "No part with a picture.",
        as_json=as_json,
    )


def _ask(
    reader: RecordReader,
    selection: Selection,
    wanted: list[Wanted],
    author: str,
    graphics: str,
) -> None:
    from edgeinspect.labels.label_store import LabelKind, LabelStore
    from edgeinspect.terminal.picture_printer import PicturePrinter

    printer = PicturePrinter(graphics)
    classes = [entry.name for entry in selection.recipe.thresholds]
    given = 0
    with LabelStore(selection.data_dir) as store:
        for number, part in enumerate(wanted, 1):
            stored = reader.part(part.part_id)
            if stored is None:
                continue
            _show(reader, printer, part, stored, f"{number} of {len(wanted)}")
            key = click.prompt(
                "[g]ood, [d]efective, [u]nsure, [s]kip, [q]uit",
                type=click.Choice(("g", "d", "u", "s", "q")),
                show_choices=False,
            )
            if key == "q":
                break
            if key == "s":
                continue
            name = ""
            if key == "d":
                name = click.prompt(
                    f"class ({', '.join(classes)}, or another; empty for none)",
                    default=part.defect_class,
                ).strip()
            store.add(
                part.part_id,
                LabelKind(_KEYS[key]),
                author=author,
                defect_class=name,
                picture=stored.image,
            )
            given += 1
    print_text(
        f"{given} labels were stored." if wanted else "No part with a picture is left to label."
    )


def _show(
    reader: RecordReader, printer: PicturePrinter, part: Wanted, stored: StoredPart, which: str
) -> None:
    from edgeinspect.errors import EdgeInspectError

    print_text(
        f"{which}: part {part.part_id}, {part.verdict}, {part.defect_class} "
        f"{part.score:.4f}, {part.reason}"
    )
    try:
        pixels = reader.picture(stored)
    except EdgeInspectError as error:
        print_text(error.message)
        return
    printer.show(pixels, columns=_PICTURE_COLUMNS)


@command.command("list", epilog=examples("edgeinspect label list --config station.yaml --json"))
@data_dir_options
@json_option
def list_labels(*, data_dir: Path, as_json: bool) -> None:
    """List the current label of each labelled part."""
    labels = list(read_labels(data_dir).values())
    counts = {kind: sum(label.kind == kind for label in labels) for kind in KINDS}
    print_result(
        {"counts": counts, "labels": [label.as_dict() for label in labels]},
        _label_table(labels) if labels else "No part is labelled.",
        as_json=as_json,
    )


@command.command("history", epilog=examples("edgeinspect label history 1742 --data-dir data"))
@click.argument("part_id", type=int)
@data_dir_options
@json_option
def history(*, part_id: int, data_dir: Path, as_json: bool) -> None:
    """Show every label of one part, oldest first; the last one is current."""
    from edgeinspect.labels.label_store import LabelStore

    with LabelStore(data_dir) as store:
        labels = store.history(part_id)
    print_result(
        {"part_id": part_id, "history": [label.as_dict() for label in labels]},
        _label_table(labels) if labels else f"Nobody has labelled part {part_id}.",
        as_json=as_json,
    )


def _label_table(labels: list[Any]) -> Any:
    rows = [
        (
            label.part_id,
            label.kind.value,
            label.defect_class,
            label.labelled_wall.strftime("%Y-%m-%d %H:%M"),
            label.author,
            label.note,
        )
        for label in labels
    ]
    return table(("part", "label", "class", "time (UTC)", "by", "note"), rows, right=("part",))


@command.command(
    "export",
    epilog=examples(
        "edgeinspect label export labelled/ --config station.yaml",
        "edgeinspect-tools data station-export:labelled/",
    ),
)
@click.argument("folder", type=FOLDER)
@data_dir_options
@json_option
def export(*, folder: Path, data_dir: Path, as_json: bool) -> None:
    """Copy labelled pictures to FOLDER, with labels.csv (path, label, group, part_id).

    All pictures of one part form a group. Parts labelled unsure are left out.
    """
    from edgeinspect.labels.label_export import export_labels

    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty.", next_action="Name a new or an empty folder.")
    found = export_labels(data_dir, folder)
    print_result(
        {**found.as_dict(), "folder": str(folder)},
        f"{found.pictures} pictures written to {folder}; {found.unsure} unsure and "
        f"{found.without_picture} without a picture were left out.",
        as_json=as_json,
    )
