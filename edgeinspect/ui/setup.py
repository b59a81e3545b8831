"""``edgeinspect setup``: what a flashed station takes from ``station.conf``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.ui.options import FOLDER
from edgeinspect.ui.output import examples, json_option, print_json, say

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
