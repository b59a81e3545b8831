"""The command ``edgeinspect``: what commands there are, and nothing else."""

from __future__ import annotations

import sys

import click

import edgeinspect
from edgeinspect.cli.application import LazyCommand, LazyGroup, run_command_line
from edgeinspect.terminal.output import examples

COMMANDS = {
    "demo": LazyCommand(
        "edgeinspect.cli.demo.demo_command:command",
        "Show the simulated line at work with the shipped model.",
    ),
    "run": LazyCommand(
        "edgeinspect.cli.run_command:command", "Run a station until it is told to stop."
    ),
    "check": LazyCommand(
        "edgeinspect.cli.check.check_command:command",
        "Check a bundle or a station file without hardware.",
    ),
    "replay": LazyCommand(
        "edgeinspect.cli.replay_command:command",
        "Inspect a folder of pictures through the whole station.",
    ),
    "sim": LazyCommand(
        "edgeinspect.cli.sim_command:command", "Simulate many parts on virtual time, with faults."
    ),
    "status": LazyCommand(
        "edgeinspect.cli.status_command:command", "Ask a running station how it is."
    ),
    "parts": LazyCommand(
        "edgeinspect.cli.parts_command:command", "List, draw, export and count recorded parts."
    ),
    "recipe": LazyCommand(
        "edgeinspect.cli.recipe.recipe_command:command",
        "Change, apply, roll back and audit recipes.",
    ),
    "tune": LazyCommand(
        "edgeinspect.cli.tune.tune_command:command",
        "Find the thresholds that the evidence supports.",
    ),
    "label": LazyCommand(
        "edgeinspect.cli.label_command:command", "Say what recorded parts really are."
    ),
    "io": LazyCommand(
        "edgeinspect.cli.io.io_command:command", "Look at the wires and move outputs by hand."
    ),
    "camera": LazyCommand(
        "edgeinspect.cli.camera.camera_command:command", "Set the station's camera up and check it."
    ),
    "challenge": LazyCommand(
        "edgeinspect.cli.challenge.challenge_command:command",
        "Prove the station with numbered masters.",
    ),
    "study": LazyCommand(
        "edgeinspect.cli.study_command:command", "Study how well the station and people agree."
    ),
    "model": LazyCommand(
        "edgeinspect.cli.model_command:command", "Install, list, verify and change the models."
    ),
    "setup": LazyCommand(
        "edgeinspect.cli.setup_command:command", "Set a flashed station up from station.conf."
    ),
}

EXAMPLES = """
edgeinspect demo                                  see it work, no hardware needed
edgeinspect check station.yaml                    what is missing before the first part
edgeinspect run --config station.yaml             inspect
edgeinspect status --config station.yaml          how it is going
edgeinspect parts list --data-dir data --verdict REJECT
edgeinspect replay pictures/ --bundle models/sim-surface
"""


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    epilog=examples(EXAMPLES),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.version_option(edgeinspect.__version__, prog_name="edgeinspect")
def application() -> None:
    """Inspect parts on a line: camera, int8 model, reject gate, records.

    A part passes only if a fresh picture of it was scored in time, below the threshold. Everything
    else is rejected, and the reason is counted by name.

    \b
    Exit codes: 0 done, 1 the checked thing is not good, 2 wrong usage,
    3 bad configuration, 4 hardware, driver or station missing,
    5 model refused, 6 storage fault, 130 interrupted.
    """


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_command_line(application, program="edgeinspect"))
