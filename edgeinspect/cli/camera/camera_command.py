"""``edgeinspect camera``: the station's camera, while the station does not run."""

from __future__ import annotations

import click

from edgeinspect.cli.application import LazyCommand, LazyGroup
from edgeinspect.terminal.output import examples

COMMANDS = {
    "snap": LazyCommand("edgeinspect.cli.camera.snap:command", "Take one picture."),
    "focus": LazyCommand("edgeinspect.cli.camera.focus:command", "Show a focus meter."),
    "expose": LazyCommand(
        "edgeinspect.cli.camera.expose:command", "Find exposure and gain for the light there is."
    ),
    "stream-check": LazyCommand(
        "edgeinspect.cli.camera.stream:command", "Check rate, freshness and settings of the frames."
    ),
}


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    epilog=examples(
        """
        edgeinspect camera snap part.png --config station.yaml
        edgeinspect camera focus --config station.yaml
        edgeinspect camera expose --config station.yaml --mean 110
        edgeinspect camera stream-check --config station.yaml --frames 500
        """
    ),
)
def command() -> None:
    """Set the station's camera up and check it, with the settings of the active recipe.

    A camera has one user at a time: these commands are refused while the station runs, unless
    --force is given. Of a running station ``edgeinspect parts show`` has the pictures.
    """
