"""``edgeinspect-tools convert``: a trained model to a float .tflite in the bundle's layout."""

from __future__ import annotations

from pathlib import Path

import click

from edgeinspect.cli.options import FILE, FOLDER, FiniteRange
from edgeinspect.terminal.output import console, examples, json_option, print_json, print_text

EXAMPLES = """
edgeinspect-tools convert model.keras --out model_float.tflite
edgeinspect-tools convert saved_model/ --out model_float.tflite --input-shape 1,128,128,1
edgeinspect-tools convert program.pt2 --out model_float.tflite --pictures some/pictures
edgeinspect-tools convert net.py::make_net --weights net.pt --input-shape 1,96,96,3 --out m.tflite
edgeinspect-tools convert model.onnx --out model_float.tflite
"""


@click.command(epilog=examples(EXAMPLES))
@click.argument("source")
@click.option(
    "--out",
    required=True,
    type=FILE,
    help="The float .tflite to write.",
)
@click.option("--input-shape", metavar="1,H,W,C", help="Picture size, if SOURCE does not fix it.")
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PyTorch state dictionary for model.py::factory.",
)
@click.option(
    "--pictures",
    type=click.Path(exists=True, path_type=Path),
    help="Also compare on this picture, or on 16 pictures from this folder.",
)
@click.option(
    "--env-dir",
    type=FOLDER,
    help="Folder for the converters' environments.  [default: ~/.cache/edgeinspect/converters]",
)
@click.option(
    "--deadline",
    default=900.0,
    show_default=True,
    type=FiniteRange(1),
    help="Time limit for one run of the converter, in seconds.",
)
@json_option
def command(  # noqa: PLR0917  click passes by name
    source: str,
    out: Path,
    input_shape: str | None,
    weights: Path | None,
    pictures: Path | None,
    env_dir: Path | None,
    deadline: float,
    as_json: bool,
) -> None:
    """Convert SOURCE to a float .tflite with batch 1, channels last, one input and one output.

    SOURCE is a Keras file, a SavedModel folder, a PyTorch program (.pt2) or model.py::factory, an
    ONNX file, or a float .tflite. The converters for PyTorch and ONNX run in an environment of
    their own, which is created on first use. The result is compared with SOURCE before it is
    written.
    """
    from edgeinspect_tools.convert.convert import ConvertOptions, convert_model, save_converted

    options = ConvertOptions(
        input_shape=_shape(input_shape),
        weights=weights,
        pictures=_some(pictures),
        env_dir=env_dir,
        deadline_s=deadline,
    )
    converted = convert_model(
        source, options=options, say=lambda text: console(stderr=True).print(text)
    )
    save_converted(converted, out)
    if as_json:
        print_json(
            {
                "out": str(out),
                "kind": converted.kind,
                "bytes": len(converted.model),
                "input_shape": list(converted.input_shape),
                "output_shape": list(converted.output_shape),
                "environment": str(converted.environment) if converted.environment else None,
                "compared": converted.compared,
                "error": converted.error,
                "same_top": converted.same_top,
            }
        )
        return
    shapes = [" x ".join(map(str, s)) for s in (converted.input_shape, converted.output_shape)]
    print_text(f"{out}: float model from {converted.kind}, {shapes[0]} to {shapes[1]}.")
    if converted.compared:
        print_text(
            f"Compared with its source on {converted.compared} pictures: largest difference "
            f"{converted.error:.1e} of the largest output, top class the same in "
            f"{converted.same_top:.1%}."
        )


def _shape(text: str | None) -> tuple[int, int, int, int] | None:
    from edgeinspect.errors import UsageError

    if text is None:
        return None
    try:
        batch, height, width, channels = (int(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(f"--input-shape is {text!r}; expected 1,HEIGHT,WIDTH,CHANNELS.") from error
    if batch != 1 or min(height, width) < 1 or channels not in (1, 3):
        raise UsageError(f"--input-shape is {text!r}; expected a batch of 1 and 1 or 3 channels.")
    return batch, height, width, channels


def _some(pictures: Path | None) -> list[Path]:
    from edgeinspect_tools.data.picture_files import pictures_below

    if pictures is None or pictures.is_file():
        return [pictures] if pictures is not None else []
    found = pictures_below(pictures)
    return found[:: max(1, len(found) // 16)][:16]
