"""``edgeinspect io calibrate-gate``: measure the travel time from trigger to gate with parts."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import time
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.io.drive_output import record_manual_output
from edgeinspect.cli.io.opened_lines import (
    idle_station,
    io_module,
    person_options,
    wired_station_option,
)
from edgeinspect.cli.options import FiniteRange
from edgeinspect.errors import UsageError
from edgeinspect.terminal.output import examples, json_option, print_result, print_text, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeinspect.ports import Output
    from edgeinspect.runtime.gate_calibration import GateProposal, Trial
    from edgeinspect.settings.station_file import StationFile

_SETTLE_MS = 200.0
CONFIRM_PATIENCE = 3
"""Wait this many times ``confirm.latest_ms`` for a part, because that value may be wrong."""


@click.command(
    epilog=examples(
        """
        edgeinspect io calibrate-gate --config station.yaml --author mia --reason "belt moved"
        edgeinspect io calibrate-gate --config station.yaml --start-ms 400 --pulse-ms 120 \\
          --author mia --reason "new gate"
        """
    )
)
@wired_station_option
@click.option(
    "--start-ms",
    type=FiniteRange(1, 600_000),
    help="Start of the first pulse after the trigger, in ms; from the station file by default.",
)
@click.option(
    "--pulse-ms",
    type=FiniteRange(5, 60_000),
    help="Length of each pulse in ms; the gate window by default.",
)
@click.option(
    "--resolution-ms",
    type=FiniteRange(0.1, 1000),
    default=2.0,
    help="Stop when the travel time is known this precisely, in ms.",
)
@click.option(
    "--patience-s",
    type=FiniteRange(1, 3600),
    default=120.0,
    help="Longest wait for a part, in seconds.",
)
@person_options
@json_option
def command(
    *,
    station: StationFile,
    start_ms: float | None,
    pulse_ms: float | None,
    resolution_ms: float,
    patience_s: float,
    author: str,
    reason: str,
    as_json: bool,
) -> None:
    """Measure the travel time from trigger to gate and its spread, and propose the gate timing.

    Send parts one at a time, and wait until each part has left the gate. Each part gets one gate
    pulse, and the confirm sensor shows whether the part was rejected. You need about 15 parts. Any
    of them may pass or be rejected, so use parts that will not be sold.
    """
    from edgeinspect.runtime.gate_calibration import GateCalibration, GateSearch

    start, length = _defaults(station, start_ms, pulse_ms)
    calibration = GateCalibration(
        search=GateSearch(first_start_ms=start, pulse_ms=length, resolution_ms=resolution_ms),
        pulse_ms=length,
        resolution_ms=resolution_ms,
        tolerance_ms=station.gate.timing_tolerance_ms,
    )
    details = {"start_ms": start, "pulse_ms": length, "resolution_ms": resolution_ms}
    with idle_station(station, force=False), contextlib.ExitStack() as closing:
        bench = TrialBench(station, closing, pulse_ms=length, patience_s=patience_s)
        record_manual_output(
            station, "gate.calibrate", author=author, reason=reason, details=details
        )
        while (wanted_ms := calibration.search.next_start_ms) is not None:
            trial = bench.trial(wanted_ms)
            calibration.note(trial)
            if not as_json:
                print_text(_sentence(len(calibration.trials), trial))
    proposal = calibration.proposal()
    print_result(dataclasses.asdict(proposal), *_words(proposal), as_json=as_json)


class TrialBench:
    """The trigger, confirm sensor and gate, opened for calibration."""

    def __init__(
        self,
        station: StationFile,
        closing: contextlib.ExitStack,
        *,
        pulse_ms: float,
        patience_s: float,
    ) -> None:
        from edgeinspect.line.config import GateKind

        module, io, lines = io_module(station), station.io, station.lines
        assert lines.confirm is not None and station.confirm is not None  # the caller has looked
        wait_ms = pulse_ms + CONFIRM_PATIENCE * max(0.0, station.confirm.latest_ms)
        self._confirm_wait_s = (wait_ms + _SETTLE_MS) / 1000
        self._opens = station.gate.kind is GateKind.NORMALLY_REJECTING
        self._pulse_ns, self._patience_s = round(pulse_ms * 1e6), patience_s
        self._debounce_ns = round(station.trigger_debounce_ms * 1e6)
        self._triggers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._confirms: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._gate: Output = module.output(io, lines.reject)
        closing.callback(self._gate.close)
        for wire, edges in ((lines.trigger, self._triggers), (lines.confirm, self._confirms)):
            line = module.edge_input(io, wire)
            closing.callback(line.close)
            line.start(edges.put)

    def trial(self, start_ms: float) -> Trial:
        """Wait for one part and pulse the gate.

        Raises UsageError if no part comes, or if a second one comes too early.
        """
        from edgeinspect.runtime.gate_calibration import Trial

        drain(self._triggers)
        drain(self._confirms)
        try:
            trigger_ns = self._triggers.get(timeout=self._patience_s)
        except queue.Empty:
            raise UsageError(
                f"No part arrived within {self._patience_s:g} s.",
                next_action="Check the trigger sensor with: edgeinspect io watch trigger",
            ) from None
        start_ns = trigger_ns + round(start_ms * 1e6)
        sleep_until(start_ns)
        self._gate.drive(True)
        sleep_until(start_ns + self._pulse_ns)
        self._gate.drive(False)
        confirm_ns = self._next_confirm()
        self._refuse_second_part(trigger_ns)
        confirmed = confirm_ns is not None
        return Trial(
            start_ms=start_ms,
            caught=confirmed != self._opens,
            confirm_ms=None if confirm_ns is None else (confirm_ns - trigger_ns) / 1e6,
        )

    def _next_confirm(self) -> int | None:
        """Return the first confirm edge of this part, or None if it did not come in time."""
        try:
            return self._confirms.get(timeout=self._confirm_wait_s)
        except queue.Empty:
            return None

    def _refuse_second_part(self, trigger_ns: int) -> None:
        for edge_ns in drain(self._triggers):
            if edge_ns - trigger_ns > self._debounce_ns:
                raise UsageError(
                    f"A second part arrived {(edge_ns - trigger_ns) / 1e6:.0f} ms after the first.",
                    next_action="Send parts one at a time and start again.",
                )


def _defaults(
    station: StationFile, start_ms: float | None, pulse_ms: float | None
) -> tuple[float, float]:
    """Return the pulse's start and length in ms, from the station file if not given."""
    from edgeinspect.settings.distances import DelayTrack

    if station.lines.confirm is None:
        raise UsageError(
            "Calibration needs the confirm sensor, but lines.confirm is not wired.",
            next_action="Wire it, or measure the distance and divide it by the belt speed.",
        )
    track = station.track
    if not isinstance(track, DelayTrack):
        raise UsageError(
            "This belt is tracked by an encoder, so gate positions are distances, not times.",
            next_action="Measure the distance from trigger to gate and multiply by counts_per_mm.",
        )
    length = pulse_ms or track.window_before_ms + track.window_after_ms
    return start_ms or track.sensor_to_gate_ms - length / 2, length


def _sentence(number: int, trial: Trial) -> str:
    seen = "not seen" if trial.confirm_ms is None else f"seen after {trial.confirm_ms:.1f} ms"
    outcome = "moved the part" if trial.caught else "missed the part"
    return f"part {number}: the pulse at {trial.start_ms:.1f} ms {outcome}; in the chute: {seen}"


def _words(proposal: GateProposal) -> tuple[RenderableType, str]:
    rows = [
        ("track.sensor_to_gate_ms", f"{proposal.travel_ms:.1f}"),
        ("track.window_before_ms", f"{proposal.window_before_ms:.1f}"),
        ("track.window_after_ms", f"{proposal.window_after_ms:.1f}"),
        ("confirm.earliest_ms", f"{proposal.confirm_earliest_ms:.1f}"),
        ("confirm.latest_ms", f"{proposal.confirm_latest_ms:.1f}"),
    ]
    return (
        table(("proposed for the station file", "ms"), rows, right=("ms",)),
        f"Measured with {proposal.parts} parts. The travel time is known to within "
        f"{proposal.resolution_ms / 2:g} ms; parts spread over {proposal.spread_ms:.1f} ms. Copy "
        "the values that you accept to the station file and run edgeinspect check on it.",
    )


def drain(edges: queue.SimpleQueue[int]) -> list[int]:
    """Return the edges that have arrived so far."""
    found = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(edges.get_nowait())
    return found


def sleep_until(mono_ns: int) -> None:
    """Wait until this time; return at once if it has passed."""
    time.sleep(max(0.0, (mono_ns - time.monotonic_ns()) / 1e9))
