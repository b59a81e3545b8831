"""``edgeinspect-tools quantize``: a float model to int8, with the loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgeinspect.cli.options import ANY_PATH, FiniteRange
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table
from edgeinspect_tools.shared_options import accept_gap_option

EXAMPLES = """
edgeinspect-tools quantize run/ --data pictures/
edgeinspect-tools quantize run/ --data run/manifest.json --accept-gap
edgeinspect-tools quantize model_float.tflite --data pictures/ --out model_int8.tflite --std 255
"""


@click.command(epilog=examples(EXAMPLES))
@click.argument("source", type=ANY_PATH, metavar="RUN|FLOAT_TFLITE")
@click.option(
    "--data", required=True, help="The run's data set; for a model file, a folder of pictures."
)
@click.option(
    "--out", type=ANY_PATH, help="The int8 file to write.  [default: RUN/model.int8.tflite]"
)
@accept_gap_option
@click.option("--tensorflow", is_flag=True, help="Try TensorFlow's quantizer as well.")
@click.option(
    "--fine-tune",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Fine-tune with the rounding in it; auto: only if int8 strays too far from float.",
)
@click.option(
    "--mean", default=0.0, show_default=True, help="Grey level that a model file takes as 0."
)
@click.option(
    "--std",
    default=1.0,
    show_default=True,
    type=FiniteRange(min=1e-6),
    help="Grey levels that a model file takes as 1.",
)
@click.option(
    "--activation", type=click.Choice(["none", "sigmoid", "softmax"]), default="none",
    show_default=True, help="Function that turns the outputs of a model file into scores.",
)  # fmt: skip
@json_option
def command(  # noqa: PLR0917  click passes by name
    source: Path,
    data: str,
    out: Path | None,
    accept_gap: bool,
    tensorflow: bool,
    fine_tune: str,
    mean: float,
    std: float,
    activation: str,
    as_json: bool,
) -> None:
    """Quantize a training run or any float TFLite image model to full int8.

    The command calibrates on pictures that cover the range of scores. It tries several ranges for
    the activations, compares each int8 model with the float model on other pictures, and keeps the
    closest. It lists the layers that lose most. It refuses a model that loses more than 0.1 points
    of AUROC or changes verdicts outside the band around a threshold.
    """
    from edgeinspect.files.atomic_file import replace_file
    from edgeinspect_tools.data.training_data import dataset_of_run
    from edgeinspect_tools.given_model import read_tried
    from edgeinspect_tools.quantize.draft_bundle import INT8_MODEL, QUANTIZED_FILE, load_run
    from edgeinspect_tools.quantize.int8_candidates import FineTune, Int8Method, check_gap
    from edgeinspect_tools.quantize.steps import quantize_pictures, quantize_trained

    methods = [Int8Method.TRUE, Int8Method.ROBUST, Int8Method.TIGHT]
    methods += [Int8Method.TENSORFLOW] * tensorflow
    wishes: dict[str, Any] = {
        "methods": methods,
        "fine_tune": FineTune(fine_tune),
        "say": _quiet if as_json else print_text,
    }
    if source.is_dir():
        out = out or source / INT8_MODEL
        described, float_model = load_run(source)
        dataset = dataset_of_run(described, data)
        made = quantize_trained(described, float_model, dataset, **wishes)
    else:
        out = out or source.with_name(f"{source.stem}.int8.tflite")
        how: dict[str, Any] = {"mean": mean, "std": std, "activation": activation}
        made = quantize_pictures(read_tried(source), Path(data), **how, **wishes)
    check_gap(made.gap, made.worst_layers, accept=accept_gap)
    replace_file(out, made.model)
    report = {"file": str(out), "model_bytes": len(made.model), **made.as_dict()}
    if source.is_dir():
        replace_file(source / QUANTIZED_FILE, (json.dumps(report, indent=1) + "\n").encode())
    if as_json:
        print_json(report)
        return
    rows = [(one["tensor"], f"{one['sqnr_db']:.1f}") for one in made.worst_layers]
    print_text(table(("worst layers", "signal to noise, dB"), rows, right=("signal to noise, dB",)))
    print_text(f"{out}: {len(made.model):,} bytes, ranges: {made.method.value}")


def _quiet(text: str) -> None:
    del text
