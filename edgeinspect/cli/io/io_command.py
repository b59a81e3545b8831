"""``edgeinspect io``: watch inputs and drive outputs by hand while the station is stopped."""

from __future__ import annotations

import click

from edgeinspect.cli.application import LazyCommand, LazyGroup
from edgeinspect.terminal.output import examples

COMMANDS = {
    "list": LazyCommand(
        "edgeinspect.cli.io.list_lines", "List GPIO chips and lines, and who uses them."
    ),
    "watch": LazyCommand("edgeinspect.cli.io.watch_lines", "Show each change of the inputs."),
    "pulse": LazyCommand("edgeinspect.cli.io.drive_output:pulse", "Pulse one output."),
    "wiggle": LazyCommand(
        "edgeinspect.cli.io.drive_output:wiggle", "Switch outputs on and off to find their wires."
    ),
    "calibrate-gate": LazyCommand(
        "edgeinspect.cli.io.calibrate_gate", "Measure the travel time from trigger to gate."
    ),
}


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    epilog=examples(
        """
        edgeinspect io list
        edgeinspect io watch --config station.yaml
        edgeinspect io pulse reject --ms 80 --config station.yaml --author mia --reason "new valve"
        edgeinspect io wiggle --config station.yaml --author mia --reason "which wire is which"
        edgeinspect io calibrate-gate --config station.yaml --author mia --reason "belt moved"
        """
    ),
)
def command() -> None:
    """Watch inputs and drive outputs by hand.

    Stop the station first: commands that open lines refuse to work while it runs, unless you give
    --force. Commands that drive an output need --author and --reason for the audit trail.
    """
