"""What a board says of its heat and power, from file trees and programs like the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeinspect.errors import UsageError
from edgeinspect.hw.board_health import FakeBoard, SystemBoard
from edgeinspect.ports import Board, BoardState


class Machine:
    """A /sys tree, a model file and a vcgencmd of our own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.deadline_s = 60.0
        (root / "sys").mkdir()

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def vcgencmd(self, script: str) -> None:
        self.write("bin/vcgencmd", f"#!/bin/sh\n{script}\n")
        (self.root / "bin/vcgencmd").chmod(0o755)

    @property
    def board(self) -> Board:
        return SystemBoard(
            sys=self.root / "sys",
            model_file=self.root / "model",
            vcgencmd=str(self.root / "bin/vcgencmd"),
            deadline_s=self.deadline_s,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_board_that_says_nothing(machine: Machine) -> None:
    assert machine.board.read() == BoardState()


def test_the_processors_zone_counts_before_hotter_others(machine: Machine) -> None:
    machine.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    machine.write("sys/class/thermal/thermal_zone0/temp", "61837\n")
    machine.write("sys/class/thermal/thermal_zone1/type", "gpu\n")
    machine.write("sys/class/thermal/thermal_zone1/temp", "70000\n")
    assert machine.board.read().temperature_c == pytest.approx(61.837)
    machine.write("sys/class/thermal/thermal_zone0/type", "soc\n")
    assert machine.board.read().temperature_c == pytest.approx(70.0)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("0", (False, False, False, False)),
        ("50005", (True, True, True, True)),
        ("0x50000", (False, True, False, True)),
        ("80008", (False, False, True, True)),
        ("20002", (False, False, True, True)),
        ("10000", (False, True, False, False)),
    ],
)
def test_the_firmwares_flags_from_the_kernel(
    machine: Machine, word: str, expected: tuple[bool, bool, bool, bool]
) -> None:
    machine.write("sys/devices/platform/soc/soc:firmware/get_throttled", f"{word}\n")
    machine.vcgencmd("echo throttled=0xf000f")
    state = machine.board.read()
    shown = (
        state.under_voltage,
        state.under_voltage_before,
        state.throttled,
        state.throttled_before,
    )
    assert shown == expected


def test_a_pi_5_keeps_the_file_one_folder_deeper(machine: Machine) -> None:
    folder = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware"
    machine.write(f"{folder}/get_throttled", "1\n")
    assert machine.board.read().under_voltage is True


def test_vcgencmd_answers_where_the_kernel_does_not(machine: Machine) -> None:
    machine.vcgencmd('[ "$1" = get_throttled ] && echo throttled=0x40004')
    state = machine.board.read()
    assert (state.throttled, state.throttled_before, state.under_voltage) == (True, True, False)


@pytest.mark.parametrize(
    "script", ["exit 1", "echo VCHI initialization failed", "echo throttled=", "sleep 30"]
)
def test_a_firmware_that_fails_or_hangs_says_nothing(machine: Machine, script: str) -> None:
    if script.startswith("sleep"):
        script, machine.deadline_s = f"exec {script}", 0.05
    machine.vcgencmd(script)
    assert machine.board.read() == BoardState()


def test_the_mainline_kernels_voltage_alarm(machine: Machine) -> None:
    machine.write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    machine.write("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "0\n")
    machine.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    machine.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    machine.write("model", "Raspberry Pi 4 Model B Rev 1.5\0")
    state = machine.board.read()
    assert (state.under_voltage, state.throttled) == (True, None)
    assert state.model == "Raspberry Pi 4 Model B Rev 1.5"


def test_files_that_hold_no_number_say_nothing(machine: Machine) -> None:
    machine.write("sys/class/thermal/thermal_zone0/temp", "N/A\n")
    machine.write("sys/class/hwmon/hwmon0/name", "rpi_volt\n")
    machine.write("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "\n")
    assert machine.board.read() == BoardState()


def test_this_machine_can_be_asked() -> None:
    temperature_c = SystemBoard().read().temperature_c
    assert temperature_c is None or -40 < temperature_c < 150


def test_the_fake_refuses_more_readings_than_its_script_has() -> None:
    hot = BoardState(temperature_c=90.0)
    fake = FakeBoard([hot])
    assert fake.read() == hot
    with pytest.raises(UsageError, match="script has ended"):
        fake.read()
    assert fake.readings == 1
    assert FakeBoard(otherwise=hot).read() == hot
