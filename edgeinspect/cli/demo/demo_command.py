"""``edgeinspect demo``: the simulated line with the shipped model, and the truth account."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FILE, FOLDER, GATES, FiniteRange
from edgeinspect.terminal.output import console, examples, json_option, print_json, say

if TYPE_CHECKING:
    from edgeinspect.runtime.plan import StationPlan
    from edgeinspect.sim.truth import Account

DEFAULT_PARTS = 300


@click.command(
    epilog=examples(
        """
        edgeinspect demo
        edgeinspect demo --seconds 20 --gate normally-passing-guarded
        edgeinspect demo --fast --parts 1000 --json
        edgeinspect demo --parts 100 --data-dir demo-data
        edgeinspect demo --parts 60 --picture demo.svg
        """
    )
)
@click.option(
    "--parts", type=click.IntRange(1, 10_000_000), help=f"{DEFAULT_PARTS} if left out: one minute."
)
@click.option("--seconds", type=FiniteRange(min=0.1), help="Stop feeding after this long.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--rate", type=FiniteRange(0.1, 6.0), default=5.0, show_default=True)
@click.option("--defect-rate", type=FiniteRange(0, 1), default=0.08, show_default=True)
@click.option("--gate", type=click.Choice(GATES), default=GATES[0], show_default=True)
@click.option("--fast", is_flag=True, help="Virtual time: same pictures and model, no waiting.")
@click.option("--plain", is_flag=True, help="One line a part, also in a terminal.")
@click.option("--bundle", type=FOLDER, help="Another bundle than the shipped sim-surface.")
@click.option("--data-dir", type=FOLDER, help="Keep records and pictures there.")
@click.option("--picture", type=FILE, metavar="SVG", help="Save the screen as a picture.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Watch a whole station at work on a simulated line; no hardware is needed.

    Parts with real-looking surfaces come along the belt, about five a second. The station takes
    a picture of each, scores it with the shipped model and moves the gate. The line knows the
    truth of every part, so the run ends with an account of what the station did to it. Ctrl-C
    lets the belt run empty and ends with the account; twice, it ends at once.
    """
    with _data_dir(options["data_dir"]) as place:
        plan = _plan(options["bundle"], gate=options["gate"], data_dir=place)
        result, account = _run(plan, options, as_json=as_json)
    if as_json:
        print_json(result)
    else:
        _say(result, account, kept=options["data_dir"])
    if not account.good:
        ctx.exit(1)


@contextlib.contextmanager
def _data_dir(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="edgeinspect-demo-") as folder:
        yield Path(folder)


def _plan(bundle: Path | None, *, gate: str, data_dir: Path) -> StationPlan:
    from edgeinspect.bundle.directory import load_bundle
    from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
    from edgeinspect.runtime.plan import make_plan, simulated_recipe
    from edgeinspect.settings.station_file import example_station

    loaded = load_bundle(bundle if bundle is not None else shipped_bundle(SIM_BUNDLE))
    return make_plan(example_station(gate, data_dir=data_dir), simulated_recipe(loaded), loaded)


def _run(
    plan: StationPlan, options: dict[str, Any], *, as_json: bool
) -> tuple[dict[str, Any], Account]:
    parts = options["parts"] or (DEFAULT_PARTS if options["seconds"] is None else 10_000_000)
    shared = {"seed": options["seed"], "defect_rate": options["defect_rate"]}
    if options["fast"]:
        if options["seconds"] is not None or options["picture"] is not None:
            raise click.UsageError("--seconds and --picture need the real clock, without --fast.")
        from edgeinspect.cli.demo.fast_demo import run_fast

        return run_fast(plan, parts=parts, rate_per_s=options["rate"], quiet=as_json, **shared)
    from edgeinspect.cli.demo.live_demo import LiveDemo, PlainShow, QuietShow, ScreenShow

    terminal = sys.stdout.isatty() and not options["plain"]
    show: PlainShow | QuietShow | ScreenShow
    if as_json:
        show = QuietShow()
    elif terminal:
        show = ScreenShow(console())
    else:
        show = PlainShow()
    demo = LiveDemo(plan, parts=parts, rate_per_s=options["rate"], **shared)
    return demo.run(show, seconds=options["seconds"], picture=options["picture"])


def _say(result: dict[str, Any], account: Account, *, kept: Path | None) -> None:
    from rich.text import Text

    from edgeinspect.cli.truth_account import account_table

    speed = result["parts"] * 60 / result["elapsed_s"] if result["elapsed_s"] else 0
    say(
        Text(f"{result['bundle']} on {result['engine']}; "),
        Text(f"{result['elapsed_s']:.0f} s, {speed:,.0f} parts a minute.", end=""),
    )
    title = f"Truth account: {account.gate} gate, seed {account.seed}"
    say(account_table(account.as_dict(), title=title))
    for name, fault in result["station_faults"].items():
        say(Text(f"Station fault: {name.replace('_', ' ')}: {fault['detail']}", "yellow"))
    if kept is not None:
        say(f"Look into it with: edgeinspect parts list --data-dir {kept} --verdict REJECT")
