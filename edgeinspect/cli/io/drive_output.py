"""``edgeinspect io pulse`` and ``io wiggle``: drive outputs by hand, after an audit entry."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.io.opened_lines import (
    chosen,
    force_option,
    idle_station,
    io_module,
    outputs_of,
    person_options,
    wired_station_option,
)
from edgeinspect.cli.options import FiniteRange, option_group
from edgeinspect.terminal.output import examples, json_option, print_json, print_result, print_text

if TYPE_CHECKING:
    from edgeinspect.ports import Output
    from edgeinspect.settings.station_file import StationFile

drive_options = option_group(wired_station_option, person_options, force_option, json_option)


@click.command(
    epilog=examples(
        """
        edgeinspect io pulse reject --ms 80 --config station.yaml --author mia --reason "new valve"
        """
    )
)
@click.argument("name", metavar="OUTPUT")
@click.option(
    "--ms", "on_ms", type=FiniteRange(1, 60_000), default=100.0, help="Length of the pulse in ms."
)
@click.option("--times", type=click.IntRange(1, 1000), default=1, help="Number of pulses.")
@click.option(
    "--off-ms", type=FiniteRange(1, 60_000), default=500.0, help="Pause between pulses in ms."
)
@drive_options
def pulse(
    *,
    name: str,
    on_ms: float,
    times: int,
    off_ms: float,
    station: StationFile,
    author: str,
    reason: str,
    force: bool,
    as_json: bool,
) -> None:
    """Pulse one output. It always returns to its safe level, even after Ctrl-C."""
    chosen((name,), outputs_of(station), "output")
    details = {"output": name, "on_ms": on_ms, "times": times, "forced": force}
    with _opened(station, (name,), force=force) as outputs:
        record_manual_output(station, "output.pulse", author=author, reason=reason, details=details)
        _repeat(outputs[name], on_ms, off_ms, times)
    words = f"{name} was active {times} times for {on_ms:g} ms and is now at its safe level."
    print_result(details, words, as_json=as_json)


@click.command(
    epilog=examples(
        """
        edgeinspect io wiggle --config station.yaml --author mia --reason "which wire is which"
        edgeinspect io wiggle reject beacon --config station.yaml --author mia --reason "rewired"
        """
    )
)
@click.argument("names", nargs=-1, metavar="[OUTPUT]...")
@click.option(
    "--times", type=click.IntRange(1, 1000), default=5, help="How often to switch each output on."
)
@click.option(
    "--ms",
    "half_ms",
    type=FiniteRange(1, 60_000),
    default=300.0,
    help="How long each output stays on, and off, in ms.",
)
@drive_options
def wiggle(
    *,
    names: tuple[str, ...],
    times: int,
    half_ms: float,
    station: StationFile,
    author: str,
    reason: str,
    force: bool,
    as_json: bool,
) -> None:
    """Switch outputs on and off one after the other, so that you can find their wires."""
    wires = chosen(names, outputs_of(station), "output")
    details = {"outputs": list(wires), "on_ms": half_ms, "times": times, "forced": force}
    with _opened(station, tuple(wires), force=force) as outputs:
        record_manual_output(
            station, "output.wiggle", author=author, reason=reason, details=details
        )
        for name, output in outputs.items():
            if not as_json:
                print_text(f"{name}: line {wires[name].line}")
            _repeat(output, half_ms, half_ms, times)
    if as_json:
        print_json(details)


@contextlib.contextmanager
def _opened(
    station: StationFile, names: tuple[str, ...], *, force: bool
) -> Iterator[dict[str, Output]]:
    """Open outputs at their safe levels, and return them there however the block ends."""
    module, wires = io_module(station), outputs_of(station)
    with idle_station(station, force=force), contextlib.ExitStack() as closing:
        outputs = {}
        for name in names:
            outputs[name] = module.output(station.io, wires[name])
            closing.callback(outputs[name].close)
        yield outputs


def record_manual_output(
    station: StationFile,
    action: str,
    *,
    author: str,
    reason: str,
    details: Mapping[str, object],
) -> None:
    """Write to the audit trail before anything moves. Raises UsageError, StorageFault."""
    from edgeinspect.settings.audit import AUDIT_FILE, AuditTrail

    trail = AuditTrail(station.data_dir / AUDIT_FILE)
    trail.append(action, author=author, reason=reason, details=details)


def _repeat(output: Output, on_ms: float, off_ms: float, times: int) -> None:
    for number in range(times):
        if number:
            time.sleep(off_ms / 1000)
        output.drive(True)
        time.sleep(on_ms / 1000)
        output.drive(False)
