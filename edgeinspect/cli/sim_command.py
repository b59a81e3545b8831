"""``edgeinspect sim``: simulate many parts on virtual time with injected faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeinspect.cli.options import GATES
from edgeinspect.errors import UsageError
from edgeinspect.terminal.output import examples, json_option, print_json, progress, say, table

if TYPE_CHECKING:
    from edgeinspect.sim.truth import Account


@click.command(
    epilog=examples(
        """
        edgeinspect sim --parts 10000
        edgeinspect sim --parts 1000000 --jobs 2 --gate normally-passing-guarded
        edgeinspect sim --parts 50000 --faults stuck_gate_passing,clock_step --seed 7
        edgeinspect sim --list-faults
        """
    )
)
@click.option(
    "--parts",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Number of parts.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Random seed; the same seed gives the same run.",
)
@click.option(
    "--faults",
    default="all",
    show_default=True,
    metavar="all|none|NAME[,NAME]",
    help="Faults to inject, each at its default rate; NAME=RATE sets a rate per part.",
)
@click.option(
    "--gate",
    type=click.Choice(GATES),
    default=GATES[0],
    show_default=True,
    help="Kind of reject gate.",
)
@click.option(
    "--tracking",
    type=click.Choice(("delay", "encoder")),
    default="delay",
    show_default=True,
    help="How the station follows parts: by fixed delay or by encoder.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes to run in parallel.",
)
@click.option("--list-faults", is_flag=True, help="List every fault and exit.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    parts: int,
    seed: int,
    faults: str,
    gate: str,
    tracking: str,
    jobs: int,
    list_faults: bool,
    as_json: bool,
) -> None:
    """Run many parts through a simulated line and check what the station did with each.

    The station's real logic runs on virtual time with made-up scores; no pictures are rendered.
    The exit code is 1 if any part was swapped, duplicated, unaccounted for or wrongly passed.
    """
    if list_faults:
        _list_faults(as_json)
        return
    account = _run(
        parts=parts,
        seed=seed,
        faults=parse_faults(faults),
        gate=gate,
        tracking=tracking,
        jobs=jobs,
        quiet=as_json,
    )
    if as_json:
        print_json(account.as_dict())
    else:
        _say(account)
    if not account.good:
        ctx.exit(1)


def parse_faults(text: str) -> str | dict[str, float]:
    """Read the value of ``--faults`` for ``run_simulation``. Raises UsageError."""
    if "=" not in text:
        return text
    from edgeinspect.sim.injected_faults import FAULTS

    rates = {}
    for entry in filter(None, (word.strip() for word in text.split(","))):
        name, _, rate = entry.partition("=")
        usual = FAULTS[name].rate if name in FAULTS else 0.0
        try:
            rates[name] = float(rate) if rate else usual
        except ValueError:
            raise UsageError(
                f"--faults: the rate in {entry!r} is not a number.",
                next_action=f"Write a rate per part, such as {name}=0.001.",
            ) from None
    return rates


def _run(
    *,
    parts: int,
    seed: int,
    faults: str | dict[str, float],
    gate: str,
    tracking: str,
    jobs: int,
    quiet: bool,
) -> Account:
    from edgeinspect.sim.shards import run_simulation

    with progress("Simulating", parts, quiet=quiet) as tell:
        return run_simulation(
            parts=parts,
            seed=seed,
            faults=faults,
            gate=gate,
            tracking=tracking,
            jobs=jobs,
            progress=tell,
        )


def _say(account: Account) -> None:
    from edgeinspect.cli.truth_account import account_table

    hours = account.simulated_s / 3600
    title = f"Truth account: {account.gate}, seed {account.seed}, {hours:,.1f} h of belt time"
    say(account_table(account.as_dict(), title=title))
    for seed, parts in account.failing_shards:
        say(f"To repeat it: edgeinspect sim --parts {parts} --seed {seed} --gate {account.gate}")


def _list_faults(as_json: bool) -> None:
    from edgeinspect.sim.injected_faults import FAULTS

    if as_json:
        entries = [{"name": n, "rate": f.rate, "about": f.about} for n, f in FAULTS.items()]
        print_json({"faults": entries})
        return
    rows = [(name, f"{fault.rate:g}", fault.about) for name, fault in FAULTS.items()]
    say(table(("fault", "per part", "what happens"), rows, right=("per part",)))
