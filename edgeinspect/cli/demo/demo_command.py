"""``edgeinspect demo``: a station on the simulated line, and the truth account."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.cli.options import FILE, FOLDER, FiniteRange, gate_option
from edgeinspect.errors import NotGood
from edgeinspect.terminal.output import console, examples, json_option, print_result

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeinspect.runtime.plan import StationPlan
    from edgeinspect.sim.truth import Account

DEFAULT_PARTS = 300


@click.command(
    epilog=examples(
        "edgeinspect demo",
        "edgeinspect demo --seconds 20 --gate normally-passing-guarded",
        "edgeinspect demo --fast --parts 1000 --json",
        "edgeinspect demo --parts 100 --data-dir demo-data",
        "edgeinspect demo --parts 60 --picture demo.svg",
    )
)
@click.option(
    "--parts",
    type=click.IntRange(1, 10_000_000),
    help=f"Number of parts; {DEFAULT_PARTS} by default, which take about one minute.",
)
@click.option(
    "--seconds", type=FiniteRange(min=0.1), help="Stop feeding parts after this many seconds."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    help="Random seed; the same seed gives the same parts.",
)
@click.option(
    "--rate", type=FiniteRange(0.1, 6.0), default=5.0, help="Parts per second, on average."
)
@click.option(
    "--defect-rate", type=FiniteRange(0, 1), default=0.08, help="Share of defective parts."
)
@gate_option
@click.option("--fast", is_flag=True, help="Use virtual time: same pictures and model, no waiting.")
@click.option("--plain", is_flag=True, help="Print one line per part, even in a terminal.")
@click.option("--bundle", type=FOLDER, help="Use this bundle instead of the shipped sim-surface.")
@click.option("--data-dir", type=FOLDER, help="Keep records and pictures in this directory.")
@click.option("--picture", type=FILE, metavar="SVG", help="Save the screen as a picture.")
@json_option
def command(*, as_json: bool, **options: Any) -> int:
    """Watch a complete station work on a simulated line; no hardware is needed.

    Parts with realistic surfaces come along the belt, about five per second. The station takes
    a picture of each part, scores it with the shipped model and moves the gate. The simulator
    knows which parts are defective and prints a summary at the end. Press Ctrl-C once to let the
    belt run empty and print the summary; press it twice to stop at once.
    """
    with _data_dir(options["data_dir"]) as place:
        plan = _plan(options["bundle"], gate=options["gate"], data_dir=place)
        result, account = _run(plan, options, as_json=as_json)
    print_result(result, *_words(result, account, kept=options["data_dir"]), as_json=as_json)
    return 0 if account.good else NotGood.exit_code


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
            raise click.UsageError("--seconds and --picture cannot be combined with --fast.")
        from edgeinspect.cli.demo.fast_demo import run_fast

        return run_fast(plan, parts=parts, rate_per_s=options["rate"], quiet=as_json, **shared)
    from edgeinspect.cli.demo.live_demo import LiveDemo, PlainShow, ScreenShow, Show

    terminal = sys.stdout.isatty() and not options["plain"]
    if as_json:
        show = Show()
    elif terminal:
        show = ScreenShow(console())
    else:
        show = PlainShow()
    demo = LiveDemo(plan, parts=parts, rate_per_s=options["rate"], **shared)
    return demo.run(show, seconds=options["seconds"], picture=options["picture"])


def _words(
    result: dict[str, Any], account: Account, *, kept: Path | None
) -> Iterator[RenderableType]:
    from rich.text import Text

    from edgeinspect.cli.truth_account import account_table

    speed = result["parts"] * 60 / result["elapsed_s"] if result["elapsed_s"] else 0
    seconds = f"{result['elapsed_s']:.0f} s, {speed:,.0f} parts per minute."
    yield f"{result['bundle']} on {result['engine']}; {seconds}"
    title = f"Truth account: {account.gate} gate, seed {account.seed}"
    yield account_table(account.as_dict(), title=title)
    for name, fault in result["station_faults"].items():
        yield Text(f"Station fault: {name.replace('_', ' ')}: {fault['detail']}", "yellow")
    if kept is not None:
        yield (f"To see the rejects: edgeinspect parts list --data-dir {kept} --verdict REJECT")
