"""``edgeinspect setup``: set up a flashed station from ``station.conf``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.application import LazyGroup
from edgeinspect.cli.options import FOLDER, station_option
from edgeinspect.terminal.output import examples, json_option, print_result, print_text

if TYPE_CHECKING:
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.setup.importing import Outcome

BOOT = Path("/boot/firmware")
DATA = Path("/data")


@click.group(
    cls=LazyGroup,
    epilog=examples(
        "edgeinspect setup check card/               on a PC, before you write the card",
        "sudo edgeinspect setup import --boot /media/stick",
    ),
)
def command() -> None:
    """Set up a flashed station from station.conf and the files next to it."""


@command.command("check")
@click.argument("boot", type=FOLDER, default=BOOT)
@click.option("--data", type=FOLDER, default=DATA, help="Data partition.")
@json_option
def check_command(*, boot: Path, data: Path, as_json: bool) -> int:
    """Check station.conf in BOOT and every file it names, without changing anything."""
    from edgeinspect.setup.found import Places
    from edgeinspect.setup.importing import check_setup

    outcome = check_setup(Places(boot=boot, data=data))
    return _end(outcome, as_json=as_json, good="Good: a station would accept everything.")


@command.command("import")
@click.option("--boot", type=FOLDER, default=BOOT, help="Directory with station.conf.")
@click.option("--data", type=FOLDER, default=DATA, help="Data partition.")
@click.option(
    "--source",
    type=click.Choice(("card", "stick")),
    default="card",
    help="Where the files come from; noted in the import history.",
)
@click.option(
    "--older",
    is_flag=True,
    help="Import files that were imported before, or that are older than the active ones.",
)
@json_option
def import_command(*, boot: Path, data: Path, source: str, older: bool, as_json: bool) -> int:
    """Import everything new, and write station.log next to station.conf.

    The station runs this at every start. Files that were imported once, from the card or a USB
    stick, are not imported again. When root runs this, the station's own files are still read and
    written as the station's user.
    """
    from edgeinspect.setup.found import Places
    from edgeinspect.setup.importing import import_setup

    outcome = import_setup(Places(boot=boot, data=data), source=source, allow_older=older)
    return _end(outcome, as_json=as_json, good="Set up.")


@command.command("compare-versions", hidden=True)
@click.argument("running")
@click.argument("offered")
def compare_versions_command(running: str, offered: str) -> None:
    """Print whether system version OFFERED is older, same or newer than version RUNNING.

    The script that installs updates uses this. A system without a version counts as oldest.
    """
    from edgeinspect.bundle.order import compare_versions

    order = compare_versions(offered, running)
    print_text("same" if order == 0 else "older" if order < 0 else "newer")


@command.command("note-older-system", hidden=True)
@click.argument("running")
@click.argument("offered")
@station_option()
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


def _end(outcome: Outcome, *, as_json: bool, good: str) -> int:
    from edgeinspect.setup.importing import State

    code = next((problem.exit_code for problem in outcome.problems), 0)
    problems = [str(problem) for problem in outcome.problems]
    fields = {
        "state": outcome.state.value,
        "done": list(outcome.done),
        "left_out": list(outcome.left_out),
        "problems": problems,
        "exit_code": code,
    }
    end = good if outcome.state is State.IMPORTED else f"{outcome.state.value.capitalize()}."
    print_result(
        fields,
        *problems,
        *(f"Taken: {sentence}" for sentence in outcome.done),
        *(f"Left out: {sentence}" for sentence in outcome.left_out),
        *([] if problems else [end]),
        as_json=as_json,
    )
    return code
