"""``edgeinspect io``: the wires, looked at and moved by hand while the station does not run."""

from __future__ import annotations

import click

from edgeinspect.cli.application import LazyCommand, LazyGroup
from edgeinspect.terminal.output import examples

COMMANDS = {
    "list": LazyCommand(
        "edgeinspect.cli.io.list_lines:command", "List GPIO chips, lines and holders."
    ),
    "watch": LazyCommand(
        "edgeinspect.cli.io.watch_lines:command", "Show the inputs as they change."
    ),
    "pulse": LazyCommand("edgeinspect.cli.io.drive_output:pulse", "Drive one output for a moment."),
    "wiggle": LazyCommand(
        "edgeinspect.cli.io.drive_output:wiggle", "Switch outputs on and off, to find the wires."
    ),
    "calibrate-gate": LazyCommand(
        "edgeinspect.cli.io.calibrate_gate:command", "Measure the way from the trigger to the gate."
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
    """Look at the wires and move outputs by hand.

    Commands that open lines are refused while the station runs, unless --force is given. What
    drives an output needs a name and a reason, which go into the audit trail.
    """
