"""The command ``edgeinspect-tools``: what commands there are, and nothing else."""

from __future__ import annotations

import sys

import click

import edgeinspect
from edgeinspect.cli.application import LazyCommand, LazyGroup, run_command_line
from edgeinspect.terminal.output import examples

COMMANDS = {
    "data": LazyCommand(
        "edgeinspect_tools.data.data_command:command",
        "Check a data set of pictures and split it.",
    ),
    "convert": LazyCommand(
        "edgeinspect_tools.convert.convert_command:command",
        "Convert a trained model to a float .tflite.",
    ),
    "edgetpu": LazyCommand(
        "edgeinspect_tools.edgetpu.edgetpu_command:command",
        "Check which operators an Edge TPU would run.",
    ),
    "quantize": LazyCommand(
        "edgeinspect_tools.quantize.quantize_command:command",
        "Quantize a float model to int8 and measure the loss.",
    ),
    "pack": LazyCommand(
        "edgeinspect_tools.pack.pack_command:command", "Make a bundle from a training run."
    ),
    "key": LazyCommand(
        "edgeinspect_tools.sign:key_command", "Make a key pair for signing bundles."
    ),
    "sign": LazyCommand("edgeinspect_tools.sign:sign_command", "Sign a bundle with a key."),
    "verify": LazyCommand(
        "edgeinspect_tools.verify.verify_command:command", "Measure a bundle on held-out pictures."
    ),
    "all": LazyCommand(
        "edgeinspect_tools.all_in_one.all_command:command",
        "Make a bundle from a data set, in one command.",
    ),
    "train": LazyCommand(
        "edgeinspect_tools.train.train_command:command", "Train a network for int8 hardware."
    ),
    "provision": LazyCommand(
        "edgeinspect_tools.provision:command",
        "Make the SD card files of many stations from one list.",
    ),
    "bench": LazyCommand("edgeinspect_tools.bench.bench_command:command", "Measure this machine."),
}

EXAMPLES = """
edgeinspect-tools all pictures/ --out brackets           from pictures to a bundle
edgeinspect-tools verify brackets --data pictures/
edgeinspect-tools data pictures/ --out report/           good/ and one folder per defect
edgeinspect-tools data boards.csv --group-pattern 'lot(\\d+)'
edgeinspect-tools convert model.keras --out model_float.tflite
edgeinspect-tools edgetpu model.tflite
"""


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    epilog=examples(EXAMPLES),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.version_option(edgeinspect.__version__, prog_name="edgeinspect-tools")
def application() -> None:
    """Make a verified bundle for a station, from pictures or from a trained model.

    \b
    Exit codes: 0 done, 1 the checked thing is not good, 2 wrong usage,
    3 bad configuration or data, 4 a program or library is missing, 5 model refused,
    6 storage fault, 130 interrupted.
    """


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_command_line(application, program="edgeinspect-tools"))
