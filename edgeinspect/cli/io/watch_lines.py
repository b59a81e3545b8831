"""``edgeinspect io watch``: show each change of the inputs."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.io.opened_lines import (
    chosen,
    force_option,
    idle_station,
    inputs_of,
    io_module,
    wired_station_option,
)
from edgeinspect.cli.options import FiniteRange
from edgeinspect.errors import LineFault
from edgeinspect.terminal.output import examples, json_option, print_json, print_text

if TYPE_CHECKING:
    from edgeinspect.hw.registry import IoModule
    from edgeinspect.settings.station_file import StationFile
    from edgeinspect.settings.wiring import InputLine, Io

_News = tuple[str, bool, int]


@click.command(
    epilog=examples(
        "edgeinspect io watch --config station.yaml",
        "edgeinspect io watch trigger confirm --config station.yaml --seconds 30 --json",
    )
)
@click.argument("names", nargs=-1, metavar="[INPUT]...")
@wired_station_option
@click.option(
    "--seconds", type=FiniteRange(0.1, 86_400), help="How long to watch; until Ctrl-C by default."
)
@force_option
@json_option
def command(
    *,
    names: tuple[str, ...],
    station: StationFile,
    seconds: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Show every change of the station's inputs: trigger, confirm, guard, line_stopped, encoder.

    The command ends after --seconds or with Ctrl-C.
    """
    wires = chosen(names, inputs_of(station), "input")
    module = io_module(station)
    counts = dict.fromkeys(wires, 0)
    with idle_station(station, force=force), contextlib.ExitStack() as closing:
        news: queue.SimpleQueue[_News | LineFault] = queue.SimpleQueue()
        levels = _listen(module, station.io, wires, news, closing)
        if not as_json:
            for name, active in levels.items():
                print_text(f"{name:<14} {_word(active)}")
        with contextlib.suppress(KeyboardInterrupt):
            follow(news, levels, counts, seconds, quiet=as_json)
    if as_json:
        print_json({"active": levels, "edges": counts})


def _listen(
    module: IoModule,
    io: Io,
    wires: Mapping[str, InputLine],
    news: queue.SimpleQueue[_News | LineFault],
    closing: contextlib.ExitStack,
) -> dict[str, bool]:
    """Open the inputs and return their present levels."""
    from edgeinspect.hw.input_faults import ReportsFaults

    levels = {}
    for name, wire in wires.items():
        line = module.level_input(io, wire)
        closing.callback(line.close)
        if isinstance(line, ReportsFaults):
            line.report_faults_to(_Faults(news))
        levels[name] = line.start(
            lambda active, at_mono_ns, name=name: news.put((name, active, at_mono_ns))  # type: ignore[misc]
        )
    return levels


class _Faults:
    def __init__(self, news: queue.SimpleQueue[_News | LineFault]) -> None:
        self._news = news

    def edges_lost(self, count: int) -> None:
        del count  # the newest level is reported anyway

    def failed(self, error: LineFault) -> None:
        self._news.put(error)


def follow(
    news: queue.SimpleQueue[_News | LineFault],
    levels: dict[str, bool],
    counts: dict[str, int],
    seconds: float | None,
    *,
    quiet: bool,
) -> None:
    """Print what the lines do until ``seconds`` have passed, or without end if that is None."""
    began_ns = time.monotonic_ns()
    before: dict[str, int] = {}
    while True:
        left_s = None if seconds is None else seconds - (time.monotonic_ns() - began_ns) / 1e9
        try:
            item = news.get(timeout=None if left_s is None else max(0.0, left_s))
        except queue.Empty:
            return
        if isinstance(item, LineFault):
            raise item
        name, active, at_mono_ns = item
        levels[name] = active
        counts[name] += active
        if not quiet:
            after = f", {(at_mono_ns - before[name]) / 1e6:.3f} ms later" if name in before else ""
            print_text(
                f"{name:<14} {_word(active)} at {(at_mono_ns - began_ns) / 1e9:.6f} s{after}"
            )
        before[name] = at_mono_ns


def _word(active: bool) -> str:
    return "active" if active else "idle  "
