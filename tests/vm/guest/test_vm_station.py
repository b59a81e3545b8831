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
from gpio_sim import KernelTrace, Set, SimChip, sim_chip

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.shipped import SIM_BUNDLE, shipped_bundle
from edgeinspect.errors import EdgeInspectError
from edgeinspect.part import GateOutcome, PartRecord, Region
from edgeinspect.records.reader import RecordReader
from edgeinspect.runtime.control_client import ControlClient
from edgeinspect.runtime.plan import bundle_recipe
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station import load_station

PARTS = int(os.environ.get("EDGEINSPECT_VM_PARTS", "500"))
KILLS = int(os.environ.get("EDGEINSPECT_VM_KILLS", "50"))
TRIGGER, REJECT = 17, 5
PITCH_S = 0.7
START_LIMIT_S = 600.0
ONE_TILE = Region(240, 100, 160, 160)
Report = Callable[[str], None]


@pytest.fixture(scope="module")
def camera() -> Iterator[str]:
    subprocess.run(["modprobe", "vivid", "n_devs=1", "node_types=0x1"], check=True)
    subprocess.run(["udevadm", "settle"], check=True)
    for folder in sorted(Path("/sys/class/video4linux").glob("video*")):
        if (folder / "name").read_text().startswith("vivid"):
            yield f"/dev/{folder.name}"
            break
    subprocess.run(["modprobe", "-r", "vivid"], check=False)


def write_station(folder: Path, *, camera: str, gate: str, everything_passes: bool = False) -> Path:
    """A station with windows wide enough for an emulated machine, and its active recipe."""
    settings = {
        "format": 1,
        "id": "emulated",
        "data_dir": "data",
        "product": "picture",
        "camera": {"driver": "v4l2", "device": camera, "width_px": 640, "height_px": 360},
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
            "exposure_window_ms": 400,
            "sensor_to_gate_ms": 3000,
            "window_before_ms": 200,
            "window_after_ms": 200,
        },
        "gate": {
            "kind": gate,
            "lease_ms": 2000,
            "decision_margin_ms": 50,
            "timing_tolerance_ms": 190,
        },
        "alarms": {"consecutive_rejects": 0, "consecutive_cannot_inspect": 0},
        "engine": {"threads": 1, "arrangement": "threads"},
        "storage": {"max_image_bytes": 50_000_000, "min_free_bytes": 0},
    }
    file = folder / "station.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    station = load_station(file)
    draft = bundle_recipe(load_bundle(shipped_bundle(SIM_BUNDLE)), product="picture", roi=ONE_TILE)
    if everything_passes:
        limits = [t.model_copy(update={"review": 1.0, "reject": 1.0}) for t in draft.thresholds]
        draft = draft.model_copy(update={"thresholds": tuple(limits)})
    store = RecipeStore(station.recipes_dir)
    made = store.create(draft)
    store.activate(made.product, made.revision, author="test", reason="test")
    return file


def status(config: Path) -> dict[str, Any]:
    """Of the running station; {} while it does not answer."""
    try:
        with ControlClient(load_station(config).socket_path, timeout_s=60) as client:
            return dict(client.status())
    except EdgeInspectError:
        return {}


def wait_for(condition: Callable[[], bool], limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.2)


def pulses(sets: Sequence[Set]) -> list[tuple[int, int]]:
    """(on, off) in mono ns of every activation that ended."""
    levels = [first for first, _ in itertools.groupby(sets, key=lambda entry: entry.level)]
    changes = [next(iter(group)) for _, group in itertools.groupby(sets, key=lambda e: e.level)]
    assert len(levels) == len(changes)
    return [
        (on.mono_ns, off.mono_ns)
        for on, off in itertools.pairwise(changes)
        if on.level and not off.level
    ]


def make_part(chip: SimChip) -> None:
    chip.pull(TRIGGER, True)
    time.sleep(0.02)
    chip.pull(TRIGGER, False)


def test_parts_go_through_the_real_station(tmp_path: Path, camera: str, report: Report) -> None:
    config = write_station(tmp_path, camera=camera, gate="normally-passing")
    with sim_chip() as chip, KernelTrace() as trace:
        log = (tmp_path / "log").open("wb")
        running = subprocess.Popen(
            [sys.executable, "-m", "edgeinspect", "run", "--config", str(config)], stderr=log
        )
        try:
            wait_for(lambda: status(config).get("state") == "inspecting", START_LIMIT_S)
            wait_for(lambda: not status(config)["rejecting_everything"], START_LIMIT_S)
            for _ in range(PARTS):
                make_part(chip)
                time.sleep(PITCH_S)
            wait_for(lambda: status(config)["records_acknowledged"] >= PARTS, 600)
            final = status(config)
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(600)
        seen = pulses(trace.sets(REJECT, chip))
        assert not chip.level(REJECT)
    sys.stdout.write(f"{(tmp_path / 'log').read_text()}\n{final}\n")
    with RecordReader(tmp_path / "data") as reader:
        records = [part.record for part in reader.parts()]
    check_records(records, seen, report)


def check_records(
    records: Sequence[PartRecord], seen: Sequence[tuple[int, int]], report: Report
) -> None:
    assert len(records) == PARTS, "a part was lost"
    outcomes = [record.gate_outcome for record in records]
    rejected = [r for r in records if r.gate_outcome is GateOutcome.REJECTED]
    passed = [r for r in records if r.gate_outcome is GateOutcome.PASSED]
    inspected = [r for r in records if r.inspection is not None]
    report(
        f"{PARTS} parts, {len(inspected)} inspected by the shipped model, {len(rejected)} "
        f"rejected, {len(passed)} passed, {len(records) - len(rejected) - len(passed)} other"
    )
    assert GateOutcome.LOST not in outcomes
    assert len(rejected) + len(passed) == PARTS, [o for o in outcomes if o.value not in "passed"]
    assert len(inspected) > PARTS / 2
    begin_errors, end_errors = [], []
    for record in rejected:
        start, end = record.window_start_mono_ns, record.window_end_mono_ns
        assert start is not None and end is not None
        (pulse,) = [(on, off) for on, off in seen if on < end and start < off]
        begin_errors.append((pulse[0] - start) / 1e6)
        end_errors.append((pulse[1] - end) / 1e6)
    for record in passed:
        start, end = record.window_start_mono_ns, record.window_end_mono_ns
        assert start is not None and end is not None
        assert not [1 for on, off in seen if on < end and start < off]
    for name, errors in (("begins", begin_errors), ("ends", end_errors)):
        p50, p99 = np.percentile(errors, (50, 99))
        report(
            f"a reject pulse {name} {p50:.2f} ms (median), {p99:.2f} ms (p99), "
            f"{max(errors):.2f} ms (most) after its window does, on the emulated line"
        )
    assert max(begin_errors) <= 190 and min(end_errors) >= -190
    assert min(begin_errors) >= -1 and max(end_errors) <= 190


@contextlib.contextmanager
def parts_without_end(chip: SimChip) -> Iterator[None]:
    ended = threading.Event()

    def go() -> None:
        while not ended.wait(0.5):
            make_part(chip)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def test_kills_leave_the_line_safe_and_starts_make_no_glitch(
    tmp_path: Path, camera: str, report: Report
) -> None:
    config = write_station(
        tmp_path, camera=camera, gate="normally-rejecting", everything_passes=True
    )
    dice = random.Random(1)
    opened = active_when_killed = 0
    nursery = str(Path(__file__).with_name("nursery.py"))
    log = (tmp_path / "log").open("wb")
    with sim_chip() as chip, parts_without_end(chip):
        with subprocess.Popen(
            [sys.executable, nursery, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as mother:
            assert mother.stdin is not None and mother.stdout is not None
            assert mother.stdout.readline() == "ready\n"
            for _ in range(KILLS):
                with KernelTrace() as trace:
                    mother.stdin.write("go\n")
                    mother.stdin.flush()
                    station = int(mother.stdout.readline())
                    time.sleep(dice.uniform(0.5, 15.0))
                    active_when_killed += chip.level(REJECT)
                    os.kill(station, signal.SIGKILL)
                    assert mother.stdout.readline() == "ended\n"
                    assert not chip.level(REJECT), "a killed station left its gate open"
                    sets = trace.sets(REJECT, chip)
                # The gate is shut when the line is taken, and opens only for parts that passed:
                # each opening lasts until its window ends or the station is killed.
                assert not sets or sets[0].level is False
                spans = [(off - on) / 1e6 for on, off in pulses(sets)]
                assert all(span > 100 for span in spans), f"a glitch: {spans} ms"
                opened += len(spans)
            mother.stdin.close()
        report(
            f"{KILLS} kills, {active_when_killed} of them with the gate open, line safe after "
            f"each; {opened} whole openings for passed parts between them, no other pulse"
        )
