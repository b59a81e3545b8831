"""``edgeinspect-tools bench``: what can be measured."""

from __future__ import annotations

import click

from edgeinspect.ui.application import LazyCommand, LazyGroup

BENCHMARKS = {
    "station": LazyCommand(
        "edgeinspect_tools.bench.station:command", "The station on this machine, beside the model."
    ),
    "pulse": LazyCommand(
        "edgeinspect_tools.bench.pulse:command", "The pulse thread's error, idle and under load."
    ),
    "model": LazyCommand(
        "edgeinspect_tools.bench.model:command", "A model: operators, size, latency here."
    ),
    "what-if": LazyCommand(
        "edgeinspect_tools.bench.what_if:command", "Replaying a million stored parts."
    ),
    "guarantee": LazyCommand(
        "edgeinspect_tools.bench.guarantee:command", "The promise of suggested thresholds."
    ),
}


@click.command(cls=LazyGroup, commands=BENCHMARKS)
def command() -> None:
    """Measure this machine."""
