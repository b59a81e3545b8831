"""``edgeinspect tune``: the tuning screen and its commands for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeinspect.cli.application import LazyCommand, LazyGroup
from edgeinspect.cli.options import graphics_option, station_option
from edgeinspect.errors import UsageError
from edgeinspect.terminal.output import examples

if TYPE_CHECKING:
    from edgeinspect.settings.station_file import StationFile

COMMANDS = {
    "what-if": LazyCommand(
        "edgeinspect.cli.tune.what_if_command:what_if", "Replay parts with other settings."
    ),
    "suggest": LazyCommand(
        "edgeinspect.cli.tune.suggest_command:suggest", "Suggest a reject threshold."
    ),
}


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    invoke_without_command=True,
    epilog=examples(
        "edgeinspect tune --config station.yaml",
        "edgeinspect tune what-if --config station.yaml --since 8h --review 0.5 --reject 0.7",
        "edgeinspect tune suggest --config station.yaml --max-false-rejects 0.005",
    ),
)
@station_option(required=False)
@click.option("--author", metavar="NAME", help="Your name; the login name by default.")
@click.option(
    "--live/--still",
    "is_live",
    default=True,
    show_default=False,
    help="Follow the running line, or do not.",
)
@graphics_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    station: StationFile | None,
    author: str | None,
    is_live: bool,
    graphics: str,
) -> None:
    """Choose thresholds from recorded evidence and apply them.

    Without a subcommand, this opens the tuning screen. It works over SSH in 80 x 24 characters.
    """
    if ctx.invoked_subcommand is not None:
        if station is not None or author is not None:
            raise UsageError(
                "Options of a subcommand must come after its name.",
                next_action=f"Write: edgeinspect tune {ctx.invoked_subcommand} --config …",
            )
        return
    if station is None:
        raise UsageError("No station file given.", next_action="Give --config STATION_FILE.")
    from edgeinspect.screens.tune.start_screen import run

    ctx.exit(run(station, author=author, is_live=is_live, graphics=graphics))
