"""``edgeinspect io calibrate-gate`` against a gate whose place is known, on gpio-sim's lines."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from edgeinspect.hw.gpio_chips import list_chips
from tests.vm.guest.gpio_sim import SimChip, sim_chip

TRIGGER, REJECT, CONFIRM = 17, 5, 22
TRAVEL_MS, FALL_MS = 900.0, 100.0
PULSE_MS, RESOLUTION_MS = 400.0, 100.0
JITTER_MS = 150.0
"""Of this test's own belt, on a machine that is emulated."""
BETWEEN_PARTS_S = 1.0
START_LIMIT_S = 600.0


def write_station(folder: Path) -> Path:
    settings = {
        "format": 1,
        "id": "calibrated",
        "data_dir": "data",
        "product": "picture",
        "camera": {"driver": "v4l2", "device": "/dev/video0"},
        "io": {"driver": "gpiod", "chip": "pinctrl-bcm2711"},
        "lines": {
            "trigger": {"line": f"GPIO{TRIGGER}", "bias": "pull-down"},
            "reject": {"line": f"GPIO{REJECT}"},
            "confirm": {"line": f"GPIO{CONFIRM}", "bias": "pull-down"},
        },
        "trigger_debounce_ms": 1,
        "track": {
            "tracking": "delay",
            "min_pitch_ms": 500,
            "sensor_to_lens_ms": 0,
            "exposure_window_ms": 100,
            "sensor_to_gate_ms": TRAVEL_MS + 100,  # not quite right, as before a calibration
            "window_before_ms": PULSE_MS / 2,
            "window_after_ms": PULSE_MS / 2,
        },
        "gate": {"kind": "normally-passing"},
        "confirm": {"earliest_ms": 0, "latest_ms": 400},
    }
    file = folder / "station.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


def one_part(chip: SimChip) -> None:
    """It passes the sensor, reaches the gate, and falls into the chute if the gate is out then."""
    began_s = time.monotonic()
    chip.pull(TRIGGER, True)
    time.sleep(0.02)
    chip.pull(TRIGGER, False)
    time.sleep(max(0.0, began_s + TRAVEL_MS / 1e3 - time.monotonic()))
    if chip.level(REJECT):
        time.sleep(FALL_MS / 1e3)
        chip.pull(CONFIRM, True)
        time.sleep(0.02)
        chip.pull(CONFIRM, False)


def wait_until_held(offset: int, runs: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while not any(line.used for chip in list_chips() for line in chip.lines[offset : offset + 1]):
        assert runs(), "it has ended"
        assert time.monotonic() < deadline_s, "it does not take its lines"
        time.sleep(0.5)


@contextlib.contextmanager
def calibration(config: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edgeinspect", "io", "calibrate-gate", "--config", str(config)]
    options = ["--resolution-ms", str(RESOLUTION_MS), "--author", "mia", "--reason", "new gate"]
    with subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"},
    ) as process:
        yield process


def test_the_gate_is_found_where_it_is(tmp_path: Path, report: Callable[[str], None]) -> None:
    config = write_station(tmp_path)
    with sim_chip() as chip, calibration(config) as process:
        assert process.stdout is not None
        wait_until_held(CONFIRM, lambda: process.poll() is None)
        reported = []
        while process.poll() is None:
            time.sleep(BETWEEN_PARTS_S)  # one that comes before it is waited for does not count
            one_part(chip)
            reported.append(process.stdout.readline())
            if not reported[-1].startswith("part "):
                break
        rest = "".join([*reported, process.stdout.read()])
        assert process.wait(START_LIMIT_S) == 0, rest
        assert not chip.level(REJECT)
    found = re.search(r"track\.sensor_to_gate_ms\s+([0-9.]+)", rest)
    assert found is not None, rest
    parts = sum(line.startswith("part ") for line in reported)
    report(
        f"calibrate-gate found the gate {float(found[1]):.0f} ms from the trigger, where it is at "
        f"{TRAVEL_MS:.0f} ms, with {parts} parts of {RESOLUTION_MS:.0f} ms resolution (emulated)"
    )
    assert abs(float(found[1]) - TRAVEL_MS) <= RESOLUTION_MS + JITTER_MS
    assert parts > 5
