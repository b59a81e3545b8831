"""``edgeinspect-tools bench``: what can be measured."""

from __future__ import annotations

import click

from edgeinspect.cli.application import LazyCommand, LazyGroup

BENCHMARKS = {
    "station": LazyCommand(
        "edgeinspect_tools.bench.station_bench:command",
        "The station on this machine, beside the model.",
    ),
    "pulse": LazyCommand(
        "edgeinspect_tools.bench.pulse:command", "The pulse thread's error, idle and under load."
    ),
    "model": LazyCommand(
        "edgeinspect_tools.bench.model_bench:command", "A model: operators, size, latency here."
    ),
    "what-if": LazyCommand(
        "edgeinspect_tools.bench.what_if_bench:command", "Replaying a million stored parts."
    ),
    "guarantee": LazyCommand(
        "edgeinspect_tools.bench.guarantee_bench:command", "The promise of suggested thresholds."
    ),
}


@click.command(cls=LazyGroup, commands=BENCHMARKS)
def command() -> None:
    """Measure this machine."""
