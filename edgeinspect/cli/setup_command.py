"""``edgeinspect setup``: what a flashed station takes from ``station.conf``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FILE, FOLDER
from edgeinspect.terminal.output import examples, json_option, print_json, say

if TYPE_CHECKING:
    from edgeinspect.setup.importing import Outcome

BOOT = Path("/boot/firmware")
DATA = Path("/data")


@click.group(
    epilog=examples(
        """
        edgeinspect setup check card/               on a PC, before the card is written
        sudo edgeinspect setup import --boot /media/stick
        """
    )
)
def command() -> None:
    """Set a flashed station up from station.conf and the files beside it."""


@command.command("check")
@click.argument("boot", type=FOLDER, default=BOOT)
@click.option("--data", type=FOLDER, default=DATA, show_default=True, help="The data partition.")
@json_option
@click.pass_context
def check_command(ctx: click.Context, *, boot: Path, data: Path, as_json: bool) -> None:
    """Check the station.conf in BOOT and everything it names; change nothing."""
    from edgeinspect.setup.found import Places
    from edgeinspect.setup.importing import check_setup

    outcome = check_setup(Places(boot=boot, data=data))
    _end(ctx, outcome, as_json=as_json, good="Good: a station would take everything.")


@command.command("import")
@click.option("--boot", type=FOLDER, default=BOOT, show_default=True, help="Has station.conf.")
@click.option("--data", type=FOLDER, default=DATA, show_default=True, help="The data partition.")
@click.option(
    "--source",
    type=click.Choice(("card", "stick")),
    default="card",
    show_default=True,
    help="Where the files come from; kept for people.",
)
@click.option(
    "--older",
    is_flag=True,
    help="Take it although it was taken before, or is older than what is in force.",
)
@json_option
@click.pass_context
def import_command(
    ctx: click.Context, *, boot: Path, data: Path, source: str, older: bool, as_json: bool
) -> None:
    """Take what is new, and write station.log beside station.conf.

    Run by the station at every start. What was taken once, from the card or from any stick, is
    not taken again. Run by root, it reads and writes the station's own files as the station's user.
    """
    from edgeinspect.setup.found import Places
    from edgeinspect.setup.importing import import_setup

    outcome = import_setup(Places(boot=boot, data=data), source=source, allow_older=older)
    _end(ctx, outcome, as_json=as_json, good="Set up.")


@command.command("compare-versions", hidden=True)
@click.argument("running")
@click.argument("offered")
def compare_versions_command(running: str, offered: str) -> None:
    """Print older, same or newer: the OFFERED version of the system against the RUNNING one.

    For the script that installs updates. What states no version is older than what does.
    """
    from edgeinspect.bundle.order import compare_versions

    order = compare_versions(offered, running)
    say("same" if order == 0 else "older" if order < 0 else "newer")


@command.command("note-older-system", hidden=True)
@click.argument("running")
@click.argument("offered")
@click.option("--config", type=FILE, required=True, metavar="STATION_FILE")
@click.option("--author", required=True)
def note_older_command(running: str, offered: str, *, config: Path, author: str) -> None:
    """Say in the audit trail that a system OFFERED, older than the RUNNING one, is installed."""
    from edgeinspect.settings.recipe_store import RecipeStore
    from edgeinspect.settings.station_file import load_station

    RecipeStore(load_station(config).recipes_dir).audit.append(
        "system.update",
        author=author,
        reason="an older system, with --older",
        details={"version": offered, "older_than": {"version": running}},
    )


def _end(ctx: click.Context, outcome: Outcome, *, as_json: bool, good: str) -> None:
    from edgeinspect.setup.importing import State

    code = next((problem.exit_code for problem in outcome.problems), 0)
    if as_json:
        print_json(_fields(outcome, code))
    else:
        for problem in outcome.problems:
            say(str(problem))
        for sentence in outcome.done:
            say(f"Taken: {sentence}")
        for sentence in outcome.left_out:
            say(f"Left out: {sentence}")
        if not outcome.problems:
            say(good if outcome.state is State.IMPORTED else f"{outcome.state.value.capitalize()}.")
    if code:
        ctx.exit(code)


def _fields(outcome: Outcome, code: int) -> dict[str, Any]:
    return {
        "state": outcome.state.value,
        "done": list(outcome.done),
        "left_out": list(outcome.left_out),
        "problems": [str(problem) for problem in outcome.problems],
        "exit_code": code,
    }
