"""``edgeinspect-tools pack``: a bundle from a quantized run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeinspect.cli.options import FOLDER
from edgeinspect.files.json_text import parse_json
from edgeinspect.terminal.output import examples, json_option, print_json, print_text
from edgeinspect_tools.shared_options import (
    accept_gap_option,
    attribution_option,
    licence_option,
    replace_option,
)

EXAMPLES = """
edgeinspect-tools pack run/ --data run/manifest.json --out brackets --licence proprietary
edgeinspect-tools pack run/ --data pictures/ --out brackets --drawn-golden --without-float
"""


@click.command(epilog=examples(EXAMPLES))
@click.argument("run", type=FOLDER)
@click.option("--data", required=True, help="The data set that the run was trained on.")
@click.option("--out", type=FOLDER, required=True, help="The bundle to write.")
@click.option("--name", default="", help="Name on the card.  [default: the name of --out]")
@click.option("--version", default="1", show_default=True)
@licence_option
@attribution_option
@click.option(
    "--drawn-golden", is_flag=True, help="Use drawn pictures, not the data set's, as golden data."
)
@click.option("--without-float", is_flag=True, help="Leave out the float model.")
@accept_gap_option
@replace_option
@json_option
def command(  # noqa: PLR0917  click passes by name
    run: Path,
    data: str,
    out: Path,
    name: str,
    version: str,
    licence: str,
    attribution: str,
    drawn_golden: bool,
    without_float: bool,
    accept_gap: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Measure a quantized RUN on its test pictures and write a bundle.

    The bundle holds the card, the model, golden data, the certificate, a readable model card
    (card.html), the split, and the float model, so that anybody can verify it.
    """
    from edgeinspect_tools.data.training_data import dataset_of_run
    from edgeinspect_tools.pack.bundle import Identity, pack
    from edgeinspect_tools.pack.names import bundle_name

    trained = load_trained(run)
    identity = Identity(
        name=name or bundle_name(out),
        version=version,
        licence=licence,
        attribution=attribution,
        ship_pictures=not drawn_golden,
        keep_float=not without_float,
    )
    bundle, found = pack(
        trained,
        dataset_of_run(trained.described, data),
        out,
        identity=identity,
        accept_gap=accept_gap,
        replace=replace,
    )
    if as_json:
        print_json({"bundle": str(out), "digest": bundle.digest, **found.figures()})
        return
    from edgeinspect_tools.pack.model_card import figure_sentences

    for sentence in figure_sentences(found.figures()):
        print_text(sentence)
    print_text(f"{out}: {len(bundle.model):,} bytes of model; read {out}/card.html")


def load_trained(run: Path) -> Any:
    """A run with its int8 model.

    Raises:
        UsageError: it is not finished, or not quantized.
        ModelRefused: its files do not belong together.
    """
    from edgeinspect.errors import UsageError
    from edgeinspect_tools.given_model import read_tried
    from edgeinspect_tools.pack.bundle import Trained
    from edgeinspect_tools.quantize.draft_bundle import INT8_MODEL, QUANTIZED_FILE, load_run

    described, float_model = load_run(run)
    try:
        quantized = parse_json((run / QUANTIZED_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{run} is not quantized yet.",
            next_action=f"Run: edgeinspect-tools quantize {run} --data …",
        ) from error
    return Trained(
        described=described,
        float_model=float_model,
        int8_model=read_tried(run / INT8_MODEL),
        quantized=quantized,
    )
