"""The command ``edgeinspect``: the table of its subcommands."""

from __future__ import annotations

import sys

import click

import edgeinspect
from edgeinspect.cli.application import LazyCommand, LazyGroup, run_command_line
from edgeinspect.terminal.output import examples

COMMANDS = {
    "demo": LazyCommand(
        "edgeinspect.cli.demo.demo_command", "Run a simulated line with the shipped model."
    ),
    "run": LazyCommand("edgeinspect.cli.run_command", "Run a station until it is stopped."),
    "check": LazyCommand(
        "edgeinspect.cli.check.check_command", "Check a bundle, a station file or the hardware."
    ),
    "replay": LazyCommand(
        "edgeinspect.cli.replay_command", "Inspect a folder of pictures as a station would."
    ),
    "sim": LazyCommand("edgeinspect.cli.sim_command", "Simulate many parts and inject faults."),
    "status": LazyCommand("edgeinspect.cli.status_command", "Show the state of a running station."),
    "parts": LazyCommand(
        "edgeinspect.cli.parts_command", "List, draw, count and export recorded parts."
    ),
    "recipe": LazyCommand(
        "edgeinspect.cli.recipe.recipe_command", "Change, apply, roll back and audit recipes."
    ),
    "tune": LazyCommand(
        "edgeinspect.cli.tune.tune_command", "Choose thresholds from recorded evidence."
    ),
    "label": LazyCommand(
        "edgeinspect.cli.label_command", "Label recorded parts as good or defective."
    ),
    "io": LazyCommand("edgeinspect.cli.io.io_command", "Watch inputs and drive outputs by hand."),
    "camera": LazyCommand(
        "edgeinspect.cli.camera.camera_command", "Set up and check the station's camera."
    ),
    "challenge": LazyCommand(
        "edgeinspect.cli.challenge.challenge_command",
        "Test the station with numbered master parts.",
    ),
    "study": LazyCommand(
        "edgeinspect.cli.study_command", "Measure how well the station and people agree."
    ),
    "model": LazyCommand(
        "edgeinspect.cli.model_command", "Install, list, verify and switch models."
    ),
    "setup": LazyCommand(
        "edgeinspect.cli.setup_command", "Set up a flashed station from station.conf."
    ),
}

EXAMPLES = """
edgeinspect demo                                  see it work, no hardware needed
edgeinspect check station.yaml                    check everything before the first part
edgeinspect run --config station.yaml             inspect parts
edgeinspect status --config station.yaml          see how the station is doing
edgeinspect parts list --data-dir data --verdict REJECT
edgeinspect replay pictures/ --bundle models/sim-surface
"""


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    epilog=examples(EXAMPLES),
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 96,
        "show_default": True,
    },
)
@click.version_option(edgeinspect.__version__, prog_name="edgeinspect")
def application() -> None:
    """Inspect parts on a production line with a camera, an int8 model and a reject gate.

    A part passes only if a fresh picture of it scored below the threshold in time. Every other
    part is rejected, and the reason is counted by name.

    \b
    Exit codes: 0 done, 1 the check failed, 2 wrong usage,
    3 bad configuration, 4 hardware, driver or station missing,
    5 model refused, 6 storage fault, 130 interrupted.
    """


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_command_line(application, program="edgeinspect"))
