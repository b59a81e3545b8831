"""``edgeinspect-tools verify``: a bundle measured on held-out pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FILE, FOLDER
from edgeinspect.errors import UsageError
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table

if TYPE_CHECKING:
    from edgeinspect.bundle.directory import Bundle
    from edgeinspect_tools.data.dataset import Item
    from edgeinspect_tools.verify.measure import Verification

EXAMPLES = """
edgeinspect-tools verify bundle/ --data pictures/
edgeinspect-tools verify bundle/ --data run/manifest.json --html certificate.html --json
edgeinspect-tools verify bundle/ --data new-pictures/ --split all
edgeinspect-tools verify bundle/ --data deeppcb:DeepPCB/PCBData --json
"""
SPLITS = ("test", "validation", "all")


@click.command(epilog=examples(EXAMPLES))
@click.argument("bundle", type=FOLDER)
@click.option("--data", required=True, help="A data set, its manifest.json, or deeppcb:PATH.")
@click.option(
    "--split", type=click.Choice(SPLITS), default="test", show_default=True,
    help="Pictures to use; all: every picture that was not used to make the bundle.",
)  # fmt: skip
@click.option(
    "--float", "float_file", type=FILE, help="The float model, if the bundle does not hold it."
)
@click.option("--html", type=FILE, help="Write the certificate as an HTML page.")
@click.option("--out", type=FILE, help="Write all figures to this JSON file.")
@json_option
@click.pass_context
def command(  # noqa: PLR0917  click passes by name
    ctx: click.Context,
    bundle: Path,
    data: str,
    split: str,
    float_file: Path | None,
    html: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure BUNDLE on held-out pictures: float against int8, and tools against station.

    Pictures that were used to make the bundle, and their near-duplicates, never count as held out;
    they are recognised by their digests. The exit code is 1 if int8 strays too far from float.
    """
    from edgeinspect.bundle.directory import load_bundle

    loaded = load_bundle(bundle)
    if data.startswith("deeppcb:"):
        from edgeinspect_tools.shipped.deeppcb.verify_boards import verify_boards

        figures = verify_boards(loaded, Path(data.partition(":")[2]))
        _finish(figures, out=out, as_json=as_json)
        return
    items = held_out(loaded, data, split)
    float_model = find_float(loaded, float_file)
    found = _verify(loaded, items, float_model, shown=not as_json)
    if html is not None:
        from edgeinspect.files.atomic_file import replace_file
        from edgeinspect_tools.verify.verify_page import report_html

        replace_file(html, report_html(loaded.card, found, data=data))
    _finish(found.figures(), out=out, as_json=as_json, whole=found.as_dict())
    if found.gap is not None and not found.gap.is_within_bound:
        ctx.exit(1)


def held_out(bundle: Bundle, data: str, split: str) -> list[Item]:
    """Return the pictures to verify with.

    Raises:
        UsageError: there are none, or the data set cannot be read.
    """
    from edgeinspect_tools.data.dataset import Split
    from edgeinspect_tools.data.training_data import (
        as_split_before,
        load_data,
        never_used,
        stored_split,
    )

    dataset, before = load_data(data), stored_split(bundle)
    if split == "all":
        items = list(never_used(dataset, before))
    else:
        items = list(as_split_before(dataset, before).of(Split(split)))
    if not items:
        raise UsageError(
            f"{data} has no {split} pictures that were not used to make the bundle.",
            next_action="Give other pictures with --data.",
        )
    return items


def find_float(bundle: Bundle, named: Path | None) -> bytes | None:
    """The float model: named, or in the bundle; None without one. Raises ModelRefused."""
    from edgeinspect_tools.given_model import read_tried
    from edgeinspect_tools.quantize.draft_bundle import FLOAT_MODEL

    if named is not None:
        return read_tried(named)
    if FLOAT_MODEL not in bundle.card.digests:
        return None
    return read_tried(bundle.directory / FLOAT_MODEL)


def _verify(
    bundle: Bundle, items: list[Item], float_model: bytes | None, *, shown: bool
) -> Verification:
    from edgeinspect_tools.progress import bar
    from edgeinspect_tools.verify.measure import verify_bundle

    with bar("Verifying", 2 * len(items), shown=shown) as advance:
        return verify_bundle(bundle, items, float_model, advance=advance)


def _finish(
    figures: dict[str, Any], *, out: Path | None, as_json: bool, whole: dict[str, Any] | None = None
) -> None:
    if out is not None:
        from edgeinspect.files.atomic_file import replace_file

        replace_file(out, (json.dumps(whole or figures, indent=1) + "\n").encode())
    if as_json:
        print_json(figures)
        return
    shown = [
        (name.replace("_", " "), f"{value:.5g}" if isinstance(value, float) else value)
        for name, value in figures.items()
        if not isinstance(value, dict)
    ]
    print_text(table(("figure", "value"), shown, right=("value",)))
