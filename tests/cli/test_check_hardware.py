"""The guided acceptance: lines on a chip in memory, a linear camera, a person made of answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.assembly.finding import Finding
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.check import hardware_measure, hardware_run, hardware_steps
from edgeinspect.cli.check.hardware_report import report_fields, report_html
from edgeinspect.cli.check.hardware_steps import Person, acceptance
from edgeinspect.cli.main import application
from edgeinspect.errors import CameraFault
from edgeinspect.hw import registry as hw_open
from edgeinspect.hw.board_health import FakeBoard
from edgeinspect.hw.fake_chip import FakeChip
from edgeinspect.part import Frame
from edgeinspect.ports import BoardState
from edgeinspect.settings.station_file import load_station
from tests.helpers.io_station import BEACON, CONFIRM, LABEL, REJECT, TRIGGER, trail, write_station
from tests.helpers.linear_camera import LinearCamera

BOARD = BoardState(
    model="Raspberry Pi 5 Model B",
    temperature_c=51.0,
    under_voltage=False,
    under_voltage_before=False,
    throttled=False,
    throttled_before=False,
)


class Bench:
    def __init__(self) -> None:
        self.chip = FakeChip(LABEL)
        self.camera = LinearCamera()

    def resolve(self, name: str, drivers: object, *, kind: str) -> object:
        return self.chip if kind == "io" else self.camera


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(hw_open, "resolve_driver", made.resolve)
    monkeypatch.setattr(hardware_steps, "_DRIVE_S", 0.0)
    monkeypatch.setattr(hardware_steps, "_EDGE_WAIT_S", 0.2)
    figures = hardware_measure.DiskFigures(40.0, 3.0, 9.0)
    monkeypatch.setattr(hardware_measure, "disk_figures", lambda folder: figures)
    monkeypatch.setattr(
        hardware_measure, "timer_lateness_us", lambda: [float(n) for n in range(300)]
    )
    return made


@pytest.fixture
def station(tmp_path: Path) -> Path:
    return write_station(tmp_path)


def someone(chip: FakeChip, *, deaf: str = "", answers: bool = True) -> Person:
    """Blocks the sensor that is asked for, unless it is ``deaf``."""

    def report(words: str) -> None:
        for name, line in (("trigger", TRIGGER), ("confirm", CONFIRM)):
            if f"the input {name} " in words and name != deaf:
                threading.Thread(target=lambda line=line: chip.pull(line, True)).start()

    return Person(ask=lambda question: answers, instruct=report)


def steps_of(station: Path, person: Person | None, board: BoardState = BOARD) -> dict[str, Finding]:
    steps = acceptance(load_station(station), person=person, board=FakeBoard([board]))
    return {step.name: step for step in steps}


def test_with_a_person_every_line_is_tried_and_left_safe(bench: Bench, station: Path) -> None:
    steps = steps_of(station, someone(bench.chip))
    assert [steps[f"input {name}"].state for name in ("trigger", "confirm")] == ["ok", "ok"]
    assert [steps[f"output {name}"].state for name in ("reject", "beacon")] == ["ok", "ok"]
    assert bench.chip.history(REJECT) == [False, True, False, True, False, False]
    assert bench.chip.history(BEACON)[-1] is True  # active low
    assert steps["camera"].state == "ok" and not bench.camera.is_open
    assert steps["camera"].emulated == "folder of pictures"
    assert steps["temperature"].state == "ok" and "51" in steps["temperature"].detail
    assert steps["storage speed"].state == "ok" and "40 MB/s" in steps["storage speed"].detail
    assert steps["punctuality"].figures["late_us_loaded_p99"] == 297.0
    assert steps["board"].detail == "Raspberry Pi 5 Model B"


def test_a_dead_sensor_and_a_gate_that_does_not_move_fail(bench: Bench, station: Path) -> None:
    steps = steps_of(station, someone(bench.chip, deaf="confirm"))
    assert steps["input confirm"].state == "fail" and steps["input confirm"].exit_code == 4
    assert "no edge" in steps["input confirm"].detail
    refused = iter([True, False, True, False])
    person = Person(ask=lambda question: next(refused), instruct=lambda words: None)
    steps = steps_of(station, person)
    assert steps["output reject"].state == "fail"
    assert "not seen to move" in steps["output reject"].detail


def test_nothing_is_driven_without_a_person_or_with_hands_in_the_line(
    bench: Bench, station: Path
) -> None:
    for person in (None, someone(bench.chip, answers=False)):
        steps = steps_of(station, person)
        assert steps["output reject"].state == steps["output beacon"].state == "not tried"
    assert True not in bench.chip.history(REJECT)


def test_hardware_that_is_missing_fails_by_itself_and_the_rest_is_tried(
    bench: Bench, station: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.chip.hold(TRIGGER, "pigpiod")

    def fail(**_: object) -> Frame:
        raise CameraFault("no frame", next_action="Check its cable.")

    monkeypatch.setattr(bench.camera, "capture", fail)
    hot = BoardState(model="x", temperature_c=90.0, under_voltage=True, throttled=True)
    steps = steps_of(station, someone(bench.chip), hot)
    assert "pigpiod" in steps["input trigger"].detail
    assert steps["camera"].next_action == "Check its cable."
    failed = {name for name, step in steps.items() if step.state == "fail"}
    assert {"input trigger", "camera", "temperature", "throttling", "supply voltage"} <= failed
    assert steps["input confirm"].state == "ok"


def command(
    capsys: pytest.CaptureFixture[str], station: Path, *arguments: str
) -> tuple[int, dict[str, Any]]:
    given = ["check", str(station), "--hardware", *arguments]
    code = run_command_line(application, program="edgeinspect", arguments=given)
    out = capsys.readouterr().out
    return code, json.loads(out.splitlines()[-1]) if "--json" in arguments else {"out": out}


def test_the_command_writes_a_report_that_names_what_was_emulated(
    bench: Bench, station: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, fields = command(capsys, station, "--json", "--report", str(tmp_path / "kept"))
    assert code == fields["exit_code"] == 3  # there is no recipe yet
    assert not fields["good"] and fields["emulated"]["camera"] == "folder of pictures"
    assert {"input trigger", "output reject"} <= set(fields["not_tried"])
    data, page = (Path(file) for file in fields["files"])
    assert json.loads(data.read_text())["steps"] == fields["steps"]
    text = page.read_text()
    assert "emulated: folder of pictures" in text and "Not accepted: recipe" in text
    assert trail(station) == []


def test_with_an_author_the_outputs_go_into_the_audit_trail_first(
    bench: Bench,
    station: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: Iterator[bool] = iter([True] * 4)
    monkeypatch.setattr(hardware_run, "_ask", lambda question: next(asked))
    code, shown = command(capsys, station, "--author", "mia")
    assert code == 3 and "output reject" in shown["out"]
    (entry,) = trail(station)
    assert (entry.action, entry.author) == ("output.acceptance", "mia")
    assert entry.details == {"outputs": ["reject", "beacon"]}
    assert True in bench.chip.history(REJECT)


def test_wrong_usage(bench: Bench, station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, station, "--author", "mia", "--json")[0] == 2
    assert command(capsys, station.parent)[0] == 2
    given = ["check", str(station), "--author", "mia"]
    assert run_command_line(application, program="edgeinspect", arguments=given) == 2


def test_the_page_escapes_and_tells_the_verdict() -> None:
    steps = [Finding(name="<b>", state="ok", detail="a < b", figures={"x": 1.23456})]
    fields = report_fields(Path("s.yaml"), "s", steps, author="<i>", when="2026-01-01T00:00:00")
    page = report_html(fields).decode()
    assert fields["good"] and "Accepted." in page and "1.235" in page
    emulated = [*steps, Finding(name="camera", state="ok", detail="", emulated="vivid")]
    fields = report_fields(Path("s.yaml"), "s", emulated, author="mia", when="2026")
    assert fields["good"] and not fields["accepted"]
    assert "the machine is not accepted" in report_html(fields).decode()
    assert "<b></td>" not in page and "&lt;b&gt;" in page and "&lt;i&gt;" in page


def test_what_is_emulated_is_found_out(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert hardware_measure.machine_emulation(root=tmp_path) == ""
    write("proc/cpuinfo", "flags : fpu hypervisor sse\n")
    assert "hypervisor" in hardware_measure.machine_emulation(root=tmp_path)
    write("sys/class/dmi/id/sys_vendor", "QEMU\n")
    assert hardware_measure.machine_emulation(root=tmp_path) == "virtual machine (QEMU)"
    write("sys/class/video4linux/video3/name", "vivid-000-vid-cap\n")
    write("sys/class/video4linux/video0/name", "UVC Camera\n")
    for device, word in (("/dev/video3", "vivid"), ("/dev/video0", ""), ("/dev/video9", "")):
        assert hardware_measure.video_emulation(device, root=tmp_path) == word
    chip = tmp_path / "sys/devices/platform/gpio-sim.0/gpiochip7"
    chip.mkdir(parents=True)
    (tmp_path / "sys/bus/gpio/devices").mkdir(parents=True)
    (tmp_path / "sys/bus/gpio/devices/gpiochip7").symlink_to(chip)
    for device, word in (("/dev/gpiochip7", "gpio-sim"), ("/dev/gpiochip0", "")):
        assert hardware_measure.chip_emulation(Path(device), root=tmp_path) == word


def test_the_disk_is_really_written_and_left_empty(tmp_path: Path) -> None:
    figures = hardware_measure.disk_figures(tmp_path, records=5)
    assert figures.write_mb_per_s > 0 and figures.fsync_ms_p99 >= figures.fsync_ms_median > 0
    assert list(tmp_path.iterdir()) == []
    with hardware_measure.loaded(lambda: sum(range(100))):
        late = hardware_measure.timer_lateness_us(deadlines=20, period_ms=0.5)
    assert len(late) == 20 and late == sorted(late) and late[0] > 0
