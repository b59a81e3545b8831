"""The whole station with no fake anywhere in its path.

Triggers are edges of gpio-sim, frames come from the kernel's vivid camera through V4L2, the shipped
model inspects them, and the kernel's own trace says what the reject line did.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.control.client import ControlClient
from edgeinspect.errors import EdgeInspectError
from edgeinspect.part import GateOutcome, PartRecord, Region
from edgeinspect.records.reader import RecordReader
from edgeinspect.runtime.plan import bundle_recipe
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import load_station
from tests.vm.guest.gpio_sim import KernelTrace, Set, SimChip, sim_chip
from tests.vm.guest.vivid import Pattern, Vivid, vivid_camera

PARTS = int(os.environ.get("EDGEINSPECT_VM_PARTS", "500"))
KILLS = int(os.environ.get("EDGEINSPECT_VM_KILLS", "50"))
TRIGGER, REJECT = 17, 5
PITCH_S = 0.5
HALF_WINDOW_MS, TOLERANCE_MS = 180, 170
START_LIMIT_S = 600.0
BEYOND_GATE_S = 3.0
RUNNING_S = 3.0
"""A station is killed within this time after it would be ready, or while it starts."""
ONE_TILE = Region(240, 190, 160, 160)
"""Below the text that vivid writes into its pictures; the text's clock makes each picture new."""
GOOD, BAD = Pattern.GRAY_RAMP, (Pattern.CHECKERS_1X1, Pattern.NOISE)
Report = Callable[[str], None]


@pytest.fixture(scope="module")
def camera() -> Iterator[Vivid]:
    with vivid_camera() as vivid:
        yield vivid


def write_station(folder: Path, *, camera: str, gate: str) -> Path:
    """A station with windows for an emulated machine, and its active recipe."""
    settings = {
        "format": 1,
        "id": "emulated",
        "data_dir": "data",
        "product": "picture",
        "camera": {
            "driver": "v4l2",
            "device": camera,
            "width_px": 640,
            "height_px": 360,
            "frames_per_s": 10,
        },
        "io": {"driver": "gpiod", "chip": "pinctrl-bcm2711"},
        "lines": {
            "trigger": {"line": f"GPIO{TRIGGER}", "bias": "pull-down"},
            "reject": {"line": f"GPIO{REJECT}"},
        },
        "trigger_debounce_ms": 1,
        "track": {
            "tracking": "delay",
            "min_pitch_ms": 450,
            "sensor_to_lens_ms": 0,
            "exposure_window_ms": 440,
            "sensor_to_gate_ms": 1500,
            "window_before_ms": HALF_WINDOW_MS,
            "window_after_ms": HALF_WINDOW_MS,
            "restart_ms": 0,
        },
        "gate": {
            "kind": gate,
            "lease_ms": 1000,
            "decision_margin_ms": 50,
            "timing_tolerance_ms": TOLERANCE_MS,
        },
        "alarms": {"consecutive_rejects": 0, "consecutive_cannot_inspect": 0},
        "engine": {"threads": 1, "arrangement": "threads"},
        "storage": {"max_image_bytes": 50_000_000, "min_free_bytes": 0},
    }
    file = folder / "station.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    station = load_station(file)
    store = RecipeStore(station.recipes_dir)
    bundle = load_bundle(shipped_bundle(SIM_BUNDLE))
    made = store.create(bundle_recipe(bundle, product="picture", roi=ONE_TILE))
    store.activate(made.product, made.revision, author="test", reason="test")
    return file


def status(config: Path) -> dict[str, Any]:
    """Of the running station; {} while it does not answer."""
    socket = config.with_name("data") / "control.sock"
    if not socket.exists():
        return {}
    try:
        with ControlClient(socket, timeout_s=60) as client:
            return dict(client.status())
    except EdgeInspectError:
        return {}


def is_ready(config: Path) -> bool:
    reported = status(config)
    return reported.get("state") == "inspecting" and not reported["rejecting_everything"]


def wait_until_ready(config: Path, *, runs: Callable[[], bool]) -> float:
    """Returns the seconds it took. Looks seldom: who looks takes the processor from the station."""
    began_s = time.monotonic()
    while not is_ready(config):
        assert runs(), "the station has ended"
        assert time.monotonic() < began_s + START_LIMIT_S, "the station does not get ready"
        time.sleep(1.0)
    return time.monotonic() - began_s


def pulses(sets: Sequence[Set]) -> list[tuple[int, int]]:
    """(on, off) in mono ns of every activation that ended."""
    changes = [next(group) for _, group in itertools.groupby(sets, key=lambda entry: entry.level)]
    return [
        (on.mono_ns, off.mono_ns)
        for on, off in itertools.pairwise(changes)
        if on.level and not off.level
    ]


def make_part(chip: SimChip) -> None:
    chip.pull(TRIGGER, True)
    time.sleep(0.02)
    chip.pull(TRIGGER, False)


def send_parts(chip: SimChip, camera: Vivid) -> list[Pattern]:
    """What each part looked like."""
    dice, looks = random.Random(1), []
    for _ in range(PARTS):
        looks.append(GOOD if dice.random() < 0.5 else dice.choice(BAD))
        camera.show(looks[-1])
        make_part(chip)
        time.sleep(PITCH_S)
    return looks


def test_parts_go_through_the_real_station(tmp_path: Path, camera: Vivid, report: Report) -> None:
    config = write_station(tmp_path, camera=camera.device, gate="normally-passing")
    with sim_chip() as chip, KernelTrace() as trace, (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "edgeinspect", "run", "--config", str(config)], stderr=log
        )
        try:
            ready_s = wait_until_ready(config, runs=lambda: running.poll() is None)
            looks = send_parts(chip, camera)
            time.sleep(BEYOND_GATE_S)
            final = status(config)
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(600)
        seen = pulses(trace.sets(REJECT, chip))
        assert not chip.level(REJECT)
    sys.stdout.write(f"{(tmp_path / 'log').read_text()}\n{final}\n")
    report(f"station ready after {ready_s:.0f} s of the guest's time; a part every {PITCH_S} s")
    with RecordReader(tmp_path / "data") as reader:
        records = sorted((part.record for part in reader.parts()), key=lambda r: r.part_id)
    check_records(records, looks, report)
    check_pulses(records, seen, report)


def check_records(records: Sequence[PartRecord], looks: Sequence[Pattern], report: Report) -> None:
    assert len(records) == PARTS, "a part was lost"
    outcomes = [record.gate_outcome for record in records]
    passed = [record for record in records if record.gate_outcome is GateOutcome.PASSED]
    assert outcomes.count(GateOutcome.REJECTED) + len(passed) == PARTS, set(outcomes)
    inspected = sum(record.inspection is not None for record in records)
    bad = sum(look is not GOOD for look in looks)
    escapes = [
        record.part_id
        for record, look in zip(records, looks, strict=True)
        if look is not GOOD and record.gate_outcome is GateOutcome.PASSED
    ]
    report(
        f"{PARTS} parts ({bad} bad), {inspected} inspected by the shipped model, "
        f"{outcomes.count(GateOutcome.REJECTED)} rejected, {len(passed)} passed, 0 lost, "
        f"{len(escapes)} escapes, {PARTS - bad - len(passed)} false rejects"
    )
    assert not escapes
    assert len(passed) > (PARTS - bad) / 2
    assert inspected > PARTS / 2


def check_pulses(
    records: Sequence[PartRecord], seen: Sequence[tuple[int, int]], report: Report
) -> None:
    """Each rejected part has one pulse of its own, as the kernel saw it, and no passed part any."""
    position_ms, length_ms, mine = [], [], set()
    for record in records:
        start, end = record.window_start_mono_ns, record.window_end_mono_ns
        assert start is not None and end is not None
        over = [(on, off) for on, off in seen if on < end and start < off]
        if record.gate_outcome is GateOutcome.PASSED:
            assert not over, f"part {record.part_id} passed under a pulse"
            continue
        ((on, off),) = over
        mine.add((on, off))
        position_ms.append((on - start) / 1e6)
        length_ms.append((off - on - (end - start)) / 1e6)
    for name, errors in (("begins", position_ms), ("lasts", length_ms)):
        least, p50, p99, most = np.percentile(errors, (0, 50, 99, 100))
        report(
            f"{len(errors)} reject pulses of {2 * HALF_WINDOW_MS} ms; one {name} {p50:+.2f} ms off "
            f"(median; p99 {p99:+.2f}, from {least:+.2f} to {most:+.2f}) on the emulated line"
        )
    # Before the first part and after the last one, the station rejects whatever might come.
    first, last = records[0].window_start_mono_ns or 0, records[-1].window_end_mono_ns or 0
    between = {(on, off) for on, off in seen if on < last and first < off}
    assert mine == between, "a pulse belongs to no part"
    assert min(position_ms) >= -1 and max(position_ms) <= TOLERANCE_MS
    assert max(map(abs, length_ms)) <= TOLERANCE_MS


@contextlib.contextmanager
def parts_without_end(chip: SimChip) -> Iterator[None]:
    ended = threading.Event()

    def go() -> None:
        while not ended.wait(PITCH_S):
            make_part(chip)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


class Nursery:
    """Starts stations one after the other; see ``nursery.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.answer()

    def start(self) -> int:
        """The process id of a station that begins to start."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return int(self.answer())

    def kill(self, station: int) -> None:
        os.kill(station, signal.SIGKILL)
        assert self.answer() == "ended"

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def nursery(config: Path) -> Iterator[Nursery]:
    program = [sys.executable, str(Path(__file__).with_name("nursery.py")), str(config)]
    with (
        config.with_name("log").open("wb") as log,
        subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


def test_kills_leave_the_line_safe_and_starts_make_no_glitch(
    tmp_path: Path, camera: Vivid, report: Report
) -> None:
    config = write_station(tmp_path, camera=camera.device, gate="normally-rejecting")
    camera.show(GOOD)
    dice = random.Random(1)
    opened = open_when_killed = ran_when_killed = 0
    with sim_chip() as chip, nursery(config) as stations, parts_without_end(chip):
        station = stations.start()
        start_s = wait_until_ready(config, runs=lambda: Path(f"/proc/{station}").exists())
        stations.kill(station)
        for _ in range(KILLS):
            with KernelTrace() as trace:
                station = stations.start()
                time.sleep(dice.uniform(0.1, start_s + RUNNING_S))
                open_when_killed += chip.level(REJECT)
                stations.kill(station)
                assert not chip.level(REJECT), "a killed station left its gate open"
                sets = trace.sets(REJECT, chip)
            # The gate is shut when the line is taken, and opens only for parts that passed:
            # each opening lasts until its window ends or the station is killed.
            assert not sets or sets[0].level is False
            spans = [(off - on) / 1e6 for on, off in pulses(sets)]
            assert all(span > HALF_WINDOW_MS for span in spans), f"a glitch: {spans} ms"
            opened += len(spans)
            ran_when_killed += bool(sets)
    report(
        f"{KILLS} kills within {start_s + RUNNING_S:.0f} s of the start, {start_s:.0f} s to ready, "
        f"{ran_when_killed} with the line held, {open_when_killed} with the gate open, line safe "
        f"after each; {opened} whole openings for passed parts between them, no other pulse"
    )
    assert opened > 0
    with RecordReader(tmp_path / "data") as reader:
        ids = [part.record.part_id for part in reader.parts()]
    assert len(set(ids)) == len(ids) > 0
