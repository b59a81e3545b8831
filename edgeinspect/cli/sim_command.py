"""``edgeinspect sim``: simulate many parts on virtual time with injected faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeinspect.cli.options import gate_option
from edgeinspect.errors import NotGood, UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, progress, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeinspect.sim.truth import Account


@click.command(
    epilog=examples(
        "edgeinspect sim --parts 10000",
        "edgeinspect sim --parts 1000000 --jobs 2 --gate normally-passing-guarded",
        "edgeinspect sim --parts 50000 --faults stuck_gate_passing,clock_step --seed 7",
        "edgeinspect sim --list-faults",
    )
)
@click.option("--parts", type=click.IntRange(1), default=10_000, help="Number of parts.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    help="Random seed; the same seed gives the same run.",
)
@click.option(
    "--faults",
    default="all",
    metavar="all|none|NAME[,NAME]",
    help="Faults to inject, each at its default rate; NAME=RATE sets a rate per part.",
)
@gate_option
@click.option(
    "--tracking",
    type=click.Choice(("delay", "encoder")),
    default="delay",
    help="How the station follows parts: by fixed delay or by encoder.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, help="Processes to run in parallel."
)
@click.option("--list-faults", is_flag=True, help="List every fault and exit.")
@json_option
def command(
    *,
    parts: int,
    seed: int,
    faults: str,
    gate: str,
    tracking: str,
    jobs: int,
    list_faults: bool,
    as_json: bool,
) -> int:
    """Run many parts through a simulated line and check what the station did with each.

    The station's real logic runs on virtual time with made-up scores; no pictures are rendered.
    The exit code is 1 if any part was swapped, duplicated, unaccounted for or wrongly passed.
    """
    if list_faults:
        _list_faults(as_json)
        return 0
    from edgeinspect.sim.shards import run_simulation

    with progress("Simulating", parts, quiet=as_json) as report:
        account = run_simulation(
            parts=parts,
            seed=seed,
            faults=parse_faults(faults),
            gate=gate,
            tracking=tracking,
            jobs=jobs,
            progress=report,
        )
    print_result(account.as_dict(), *_words(account), as_json=as_json)
    return 0 if account.good else NotGood.exit_code


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


def _words(account: Account) -> Iterator[RenderableType]:
    from edgeinspect.cli.truth_account import account_table

    hours = account.simulated_s / 3600
    title = f"Truth account: {account.gate}, seed {account.seed}, {hours:,.1f} h of belt time"
    yield account_table(account.as_dict(), title=title)
    for seed, parts in account.failing_shards:
        yield f"To repeat it: edgeinspect sim --parts {parts} --seed {seed} --gate {account.gate}"


def _list_faults(as_json: bool) -> None:
    from edgeinspect.sim.injected_faults import FAULTS

    entries = [{"name": n, "rate": f.rate, "about": f.about} for n, f in FAULTS.items()]
    rows = [(name, f"{fault.rate:g}", fault.about) for name, fault in FAULTS.items()]
    shown = table(("fault", "per part", "what happens"), rows, right=("per part",))
    print_result({"faults": entries}, shown, as_json=as_json)
