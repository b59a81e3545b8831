"""``edgeinspect camera``: set up and check the camera while the station is stopped."""

from __future__ import annotations

import click

from edgeinspect.cli.application import LazyCommand, LazyGroup
from edgeinspect.terminal.output import examples

COMMANDS = {
    "snap": LazyCommand("edgeinspect.cli.camera.snap", "Take one picture."),
    "focus": LazyCommand("edgeinspect.cli.camera.focus", "Show a focus meter."),
    "expose": LazyCommand(
        "edgeinspect.cli.camera.expose", "Find exposure and gain for the current light."
    ),
    "stream-check": LazyCommand(
        "edgeinspect.cli.camera.stream", "Check rate, freshness and settings of the frames."
    ),
}


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    epilog=examples(
        "edgeinspect camera snap part.png --config station.yaml",
        "edgeinspect camera focus --config station.yaml",
        "edgeinspect camera expose --config station.yaml --mean 110",
        "edgeinspect camera stream-check --config station.yaml --frames 500",
    ),
)
def command() -> None:
    """Set up and check the station's camera, with the settings of the active recipe.

    Stop the station first: a camera serves one program at a time, so these commands refuse to work
    while the station runs, unless you give --force. To see pictures of a running station, use
    edgeinspect parts show.
    """
