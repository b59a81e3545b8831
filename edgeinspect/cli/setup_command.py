"""``edgeinspect setup``: set up a flashed station from ``station.conf``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FOLDER, station_option
from edgeinspect.terminal.output import examples, json_option, print_json, say

if TYPE_CHECKING:
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.setup.importing import Outcome

BOOT = Path("/boot/firmware")
DATA = Path("/data")


@click.group(
    epilog=examples(
        """
        edgeinspect setup check card/               on a PC, before you write the card
        sudo edgeinspect setup import --boot /media/stick
        """
    )
)
def command() -> None:
    """Set up a flashed station from station.conf and the files next to it."""


@command.command("check")
@click.argument("boot", type=FOLDER, default=BOOT)
@click.option("--data", type=FOLDER, default=DATA, show_default=True, help="Data partition.")
@json_option
@click.pass_context
def check_command(ctx: click.Context, *, boot: Path, data: Path, as_json: bool) -> None:
    """Check station.conf in BOOT and every file it names, without changing anything."""
    from edgeinspect.setup.found import Places
    from edgeinspect.setup.importing import check_setup

    outcome = check_setup(Places(boot=boot, data=data))
    _end(ctx, outcome, as_json=as_json, good="Good: a station would accept everything.")


@command.command("import")
@click.option(
    "--boot", type=FOLDER, default=BOOT, show_default=True, help="Directory with station.conf."
)
@click.option("--data", type=FOLDER, default=DATA, show_default=True, help="Data partition.")
@click.option(
    "--source",
    type=click.Choice(("card", "stick")),
    default="card",
    show_default=True,
    help="Where the files come from; noted in the import history.",
)
@click.option(
    "--older",
    is_flag=True,
    help="Import files that were imported before, or that are older than the active ones.",
)
@json_option
@click.pass_context
def import_command(
    ctx: click.Context, *, boot: Path, data: Path, source: str, older: bool, as_json: bool
) -> None:
    """Import everything new, and write station.log next to station.conf.

    The station runs this at every start. Files that were imported once, from the card or a USB
    stick, are not imported again. When root runs this, the station's own files are still read and
    written as the station's user.
    """
    from edgeinspect.setup.found import Places
    from edgeinspect.setup.importing import import_setup

    outcome = import_setup(Places(boot=boot, data=data), source=source, allow_older=older)
    _end(ctx, outcome, as_json=as_json, good="Set up.")


@command.command("compare-versions", hidden=True)
@click.argument("running")
@click.argument("offered")
def compare_versions_command(running: str, offered: str) -> None:
    """Print whether system version OFFERED is older, same or newer than version RUNNING.

    The script that installs updates uses this. A system without a version counts as oldest.
    """
    from edgeinspect.bundle.order import compare_versions

    order = compare_versions(offered, running)
    say("same" if order == 0 else "older" if order < 0 else "newer")


@command.command("note-older-system", hidden=True)
@click.argument("running")
@click.argument("offered")
@station_option(required=True)
@click.option("--author", required=True, help="Your name, for the audit trail.")
def note_older_command(running: str, offered: str, *, station: StationFile, author: str) -> None:
    """Note in the audit trail that system OFFERED, which is older than RUNNING, is installed."""
    from edgeinspect.settings.recipe_store import RecipeStore

    RecipeStore(station.recipes_dir).audit.append(
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
