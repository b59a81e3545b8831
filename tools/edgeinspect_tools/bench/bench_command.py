"""``edgeinspect-tools bench``: the benchmarks."""

from __future__ import annotations

import click

from edgeinspect.cli.application import LazyCommand, LazyGroup

BENCHMARKS = {
    "station": LazyCommand(
        "edgeinspect_tools.bench.station_bench:command",
        "The station's latency, throughput, memory and start.",
    ),
    "pulse": LazyCommand(
        "edgeinspect_tools.bench.pulse:command",
        "Timing error of the pulse thread, idle and under load.",
    ),
    "model": LazyCommand(
        "edgeinspect_tools.bench.model_bench:command", "A model's operators, size and latency."
    ),
    "what-if": LazyCommand(
        "edgeinspect_tools.bench.what_if_bench:command",
        "The time to replay a million stored parts.",
    ),
    "guarantee": LazyCommand(
        "edgeinspect_tools.bench.guarantee_bench:command",
        "Whether suggested thresholds keep their guarantee.",
    ),
}


@click.command(cls=LazyGroup, commands=BENCHMARKS)
def command() -> None:
    """Measure this machine. Each figure is printed with a baseline of the same run."""
