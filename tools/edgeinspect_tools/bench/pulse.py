"""``edgeinspect-tools bench pulse``: how exactly the pulse thread keeps its times.

The same armed times are driven by the runtime's pulse thread and by a bare loop that only sleeps
and drives, turn by turn in the same run, on an idle machine first and then beside inference and
recording at full load. The error is when the output had been driven less when it was due.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from edgeinspect.faults import FaultName
from edgeinspect.hw.clock import SystemClock
from edgeinspect.line.config import GateConfig, GateKind
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.pulse_thread import PulseThread
from edgeinspect.runtime.realtime import make_this_thread_punctual
from edgeinspect.runtime.station import SWITCH_INTERVAL_S
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table
from edgeinspect_tools.bench.figures import percentiles_us

MS = 1_000_000
PULSE_NS = 12 * MS
BATCH = 50
PERCENTILES = ("p50_us", "p99_us", "p99_9_us", "max_us")


@dataclass(frozen=True, slots=True)
class PulseErrors:
    """Microseconds from the due time to the driven line, over both edges of every pulse."""

    p50_us: float
    p99_us: float
    p99_9_us: float
    max_us: float
    edges: int

    @classmethod
    def of_ns(cls, errors_ns: Sequence[int]) -> PulseErrors:
        """Percentiles of errors in nanoseconds."""
        p50, p99, p999, largest = percentiles_us(errors_ns, 50, 99, 99.9, 100)
        return cls(p50, p99, p999, largest, len(errors_ns))


class StampedOutput:
    """An output that notes when it was driven."""

    def __init__(self) -> None:
        self.driven: list[tuple[bool, int]] = []

    def drive(self, active: bool) -> None:
        """Note the level and the time."""
        self.driven.append((active, time.monotonic_ns()))

    def close(self) -> None:
        """Nothing is held."""


@click.command(
    epilog=examples(
        """
        edgeinspect-tools bench pulse
        edgeinspect-tools bench pulse --pulses 20000 --json
        """
    )
)
@click.option(
    "--pulses",
    type=click.IntRange(50, 1_000_000),
    default=1000,
    show_default=True,
    help="Number of pulses.",
)
@click.option(
    "--core", type=click.IntRange(0, 1023), help="Reserve this core for the pulse thread."
)
@json_option
def command(*, pulses: int, core: int | None, as_json: bool) -> None:
    """Measure the pulse thread's error, idle and under full load, beside a bare timed loop."""
    import sys

    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        idle, refused = measure(pulses, core=core)
        with full_load():
            loaded, _ = measure(pulses, core=core)
    finally:
        sys.setswitchinterval(before_s)
    found = {"idle": idle, "full load": loaded}
    if as_json:
        rows = {load: {k: asdict(v) for k, v in kinds.items()} for load, kinds in found.items()}
        print_json({"errors": rows, "refused": refused, "cores": os.cpu_count()})
    else:
        _say(found, refused)


def measure(pulses: int, *, core: int | None) -> tuple[dict[str, PulseErrors], str]:
    """Errors of "pulse thread" and "bare loop" by turns, and what the system refused."""
    errors: dict[str, list[int]] = {"pulse thread": [], "bare loop": []}
    refused = ""
    for _ in range(max(1, pulses // BATCH)):
        batch, refused = _pulse_thread(BATCH, core)
        errors["pulse thread"] += batch
        errors["bare loop"] += _bare_loop(BATCH, core)
    return {name: PulseErrors.of_ns(values) for name, values in errors.items()}, refused


def _due_times(pulses: int) -> list[tuple[int, int]]:
    """Windows (start, end) in mono ns, 25 to 35 ms apart, from soon on."""
    dice = np.random.default_rng(1)
    at = time.monotonic_ns() + 30 * MS
    windows = []
    for gap_ns in dice.integers(25 * MS, 35 * MS, pulses):
        windows.append((at, at + PULSE_NS))
        at += int(gap_ns)
    return windows


def _pulse_thread(pulses: int, core: int | None) -> tuple[list[int], str]:
    output, clock = StampedOutput(), SystemClock()
    faults = FaultBoard(clock.now_mono_ns)
    pulse = PulseThread(
        config=GateConfig(kind=GateKind.NORMALLY_PASSING),
        output=output,
        clock=clock,
        faults=faults,
        report=lambda event: None,
        core=core,
    )
    windows = _due_times(pulses)
    pulse.renew_lease(windows[-1][1] + 1000 * MS)
    for part_id, (start, end) in enumerate(windows):
        pulse.arm(part_id, start, end)
    thread = threading.Thread(target=pulse.run)
    thread.start()
    _sleep_until(windows[-1][1] + 30 * MS)
    pulse.stop()
    thread.join()
    refused = faults.snapshot().get(FaultName.PULSE_THREAD_DEGRADED)
    errors = edge_errors_ns(windows, output.driven)
    return errors, "" if refused is None else refused.detail


def edge_errors_ns(
    windows: Sequence[tuple[int, int]], driven: Sequence[tuple[bool, int]]
) -> list[int]:
    """Of both edges of every window, in order; ``PULSE_NS`` stands for one that never came."""
    errors = []
    for start, end in windows:
        for level, due in ((True, start), (False, end)):
            came = (at for active, at in driven if active is level and 0 <= at - due < PULSE_NS)
            errors.append(next(came, due + PULSE_NS) - due)
    return errors


def _bare_loop(pulses: int, core: int | None) -> list[int]:
    errors: list[int] = []

    def loop() -> None:
        make_this_thread_punctual(core=core)
        output = StampedOutput()
        for window in _due_times(pulses):
            for due_mono_ns in window:
                _sleep_until(due_mono_ns)
                output.drive(True)
                errors.append(output.driven[-1][1] - due_mono_ns)

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    return errors


def _sleep_until(mono_ns: int) -> None:
    time.sleep(max(0.0, (mono_ns - time.monotonic_ns()) / 1e9))


@contextlib.contextmanager
def full_load() -> Iterator[None]:
    """The shipped model on every core, and a thread that encodes pictures and syncs the disk."""
    from edgeinspect.bundle.directory import load_bundle
    from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
    from edgeinspect.part import Frame, FrameMeta
    from edgeinspect.runtime.models import open_inspectors
    from edgeinspect.settings.station_file import EngineSettings

    opened = open_inspectors(
        load_bundle(shipped_bundle(SIM_BUNDLE)),
        engine=EngineSettings(arrangement="interpreters"),
        roi=None,
        recipe_digest="benchmark",
    )
    pixels = np.random.default_rng(1).integers(0, 255, (480, 640), np.uint8)
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as folder:

        def infer(worker: int) -> None:
            for number in range(1 << 60):
                if stop.is_set():
                    return
                now = time.monotonic_ns()
                opened.inspectors[worker].inspect(Frame(FrameMeta(number, now, now), pixels))

        workers = [
            threading.Thread(target=infer, args=(worker,))
            for worker in range(len(opened.inspectors))
        ]
        workers.append(threading.Thread(target=_record, args=(Path(folder), pixels, stop)))
        for thread in workers:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in workers:
                thread.join()
            opened.close()


def _record(folder: Path, pixels: np.ndarray, stop: threading.Event) -> None:
    import cv2

    while not stop.is_set():
        encoded = cv2.imencode(".png", pixels)[1].tobytes()
        with (folder / "picture.png").open("wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())


def _say(found: Mapping[str, Mapping[str, PulseErrors]], refused: str) -> None:
    rows = [
        (load, name, *(f"{getattr(errors, key):.0f}" for key in PERCENTILES), errors.edges)
        for load, kinds in found.items()
        for name, errors in kinds.items()
    ]
    columns = ("machine", "driven by", "p50 us", "p99 us", "p99.9 us", "most us", "edges")
    print_text(table(columns, rows, title="due time to driven line", right=columns[2:]))
    if refused:
        print_text(f"Not granted: {refused}.")
