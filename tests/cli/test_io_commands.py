"""``edgeinspect io``, on a chip in memory."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.io import calibrate_gate
from edgeinspect.cli.main import application
from edgeinspect.hw import fake_chip, gpio_chips
from edgeinspect.hw import registry as hw_open
from edgeinspect.hw.fake_chip import FakeChip
from edgeinspect.hw.gpio_chips import ChipFacts, LineFacts
from edgeinspect.records.records_lock import DataDirectoryLock
from edgeinspect.settings.audit import AUDIT_FILE
from tests.helpers.io_station import (
    BEACON,
    CONFIRM,
    LABEL,
    REJECT,
    TRIGGER,
    trail,
    write_station,
)
from tests.helpers.station_clock import StationClock

PERSON = ("--author", "mia", "--reason", "new valve")


@pytest.fixture
def station(tmp_path: Path) -> Path:
    return write_station(tmp_path)


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> FakeChip:
    made = FakeChip(LABEL)
    monkeypatch.setattr(hw_open, "resolve_driver", lambda name, drivers, kind: made)
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: object, expect: int = 0) -> dict[str, Any]:
    given = ["io", *map(str, arguments), "--json"]
    code = run_command_line(application, program="edgeinspect", arguments=given)
    out, err = capsys.readouterr()
    assert code == expect, out + err
    answer = json.loads(out.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def test_a_pulse_moves_the_line_and_is_in_the_audit_trail(
    chip: FakeChip, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        capsys,
        "pulse",
        "reject",
        "--ms",
        1,
        "--off-ms",
        1,
        "--times",
        2,
        "--config",
        station,
        *PERSON,
    )
    assert chip.history(REJECT) == [False, True, False, True, False, False]
    (entry,) = trail(station)
    assert (entry.action, entry.author, entry.reason) == ("output.pulse", "mia", "new valve")
    assert entry.details == {"output": "reject", "on_ms": 1.0, "times": 2, "forced": False}


def test_wiggle_moves_every_output_in_turn_and_leaves_all_safe(
    chip: FakeChip, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = run(capsys, "wiggle", "--ms", 1, "--times", 1, "--config", station, *PERSON)
    assert answer["outputs"] == ["reject", "beacon"]
    assert chip.history(REJECT) == [False, True, False, False]
    assert chip.history(BEACON) == [True, False, True, True]
    assert trail(station)[0].details["outputs"] == ["reject", "beacon"]


@pytest.mark.parametrize("command", [("pulse", "reject"), ("wiggle",)])
def test_nothing_moves_without_a_name_and_a_reason(
    chip: FakeChip, station: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    run(capsys, *command, "--config", station, expect=2)
    run(capsys, *command, "--config", station, "--author", "", "--reason", "x", expect=2)
    assert True not in chip.history(REJECT)


@pytest.mark.parametrize(
    "command",
    [("pulse", "reject", *PERSON), ("wiggle", *PERSON), ("watch",), ("calibrate-gate", *PERSON)],
)
def test_lines_are_left_alone_while_the_station_runs(
    chip: FakeChip, station: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    (station.parent / "data").mkdir()
    running = DataDirectoryLock(station.parent / "data")
    answer = run(capsys, *command, "--config", station, expect=6)
    running.release()
    assert str(os.getpid()) in answer["error"]["message"]
    assert chip.history(REJECT) == []
    assert not (station.parent / "data" / AUDIT_FILE).exists()


def test_force_moves_a_line_of_a_running_station_and_says_so(
    chip: FakeChip, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (station.parent / "data").mkdir()
    running = DataDirectoryLock(station.parent / "data")
    run(capsys, "pulse", "beacon", "--ms", 1, "--force", "--config", station, *PERSON)
    assert trail(station)[0].details["forced"] is True
    chip.hold(REJECT, "edgeinspect-77")
    answer = run(capsys, "pulse", "reject", "--force", "--config", station, *PERSON, expect=4)
    assert "process 77" in answer["error"]["next_action"]
    running.release()


def test_an_output_that_is_not_wired_is_named(
    chip: FakeChip, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = run(capsys, "pulse", "heartbeat", "--config", station, *PERSON, expect=2)
    assert "reject, beacon" in answer["error"]["next_action"]
    answer = run(capsys, "watch", "reject", "--config", station, expect=2)
    assert "trigger, confirm" in answer["error"]["next_action"]


def test_a_simulated_line_has_no_wires(
    chip: FakeChip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sim = {"camera": {"driver": "sim"}, "io": {"driver": "sim"}}
    station = write_station(tmp_path, **sim)
    assert "simulated" in run(capsys, "watch", "--config", station, expect=2)["error"]["message"]
    assert "--config" in run(capsys, "watch", expect=2)["error"]["next_action"]


def test_watch_counts_edges_and_ends_with_its_time(
    chip: FakeChip,
    station: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgeinspect.cli.io import watch_lines

    def follow(news: Any, levels: Any, counts: Any, seconds: float, *, quiet: bool) -> None:
        chip.pull(CONFIRM, True)
        chip.pull(CONFIRM, False)
        chip.pull(TRIGGER, True)
        original(news, levels, counts, 0.0 if news.empty() else seconds, quiet=quiet)

    original = watch_lines.follow
    monkeypatch.setattr(watch_lines, "follow", follow)
    answer = run(capsys, "watch", "--seconds", 0.5, "--config", station)
    assert answer == {
        "active": {"trigger": True, "confirm": False},
        "edges": {"trigger": 1, "confirm": 1},
    }


def test_watch_ends_when_the_chip_goes(
    chip: FakeChip,
    station: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgeinspect.cli.io import watch_lines

    original = watch_lines.follow

    def follow(*arguments: Any, **options: Any) -> None:
        chip.unplug()
        original(*arguments, **options)

    monkeypatch.setattr(watch_lines, "follow", follow)
    answer = run(capsys, "watch", "--seconds", 60, "--config", station, expect=4)
    assert "was removed or has failed" in answer["error"]["message"]


def test_list_names_lines_holders_and_what_the_station_uses(
    station: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def line(offset: int, **changes: Any) -> LineFacts:
        facts = {"used": False, "consumer": "", "direction": "input", "active_low": False}
        return LineFacts(offset=offset, name=f"GPIO{offset}", **{**facts, **changes})

    def list_chips() -> Iterator[ChipFacts]:
        lines = (line(REJECT), line(TRIGGER, used=True, consumer="blinker"))
        yield ChipFacts(device=Path("/dev/gpiochip0"), label=LABEL, lines=lines)

    monkeypatch.setattr(gpio_chips, "list_chips", list_chips)
    (chip,) = run(capsys, "list", "--config", station)["chips"]
    assert [(entry["name"], entry["station"]) for entry in chip["lines"]] == [
        ("GPIO5", "reject"),
        ("GPIO17", "trigger"),
    ]
    code = run_command_line(application, program="edgeinspect", arguments=["io", "list"])
    assert code == 0 and "blinker" in capsys.readouterr().out
    assert "no GPIO chip" in run(capsys, "list", "--chip", "x", expect=4)["error"]["message"]


class Belt:
    """Brings a part every five seconds, which stands before the gate 200 ms after its trigger.

    A gate that moves then pushes the part into the chute, where the confirm sensor sees it.
    """

    def __init__(self, chip: FakeChip, clock: StationClock, *, also_comes: int = 0) -> None:
        self._chip, self._clock, self._also_comes = chip, clock, also_comes
        self.is_running = True

    def run(self) -> None:
        start_ns = self._clock.now_mono_ns()
        while self.is_running:
            start_ns += 5_000_000_000
            self._clock.sleep_until(start_ns)
            self._blink(TRIGGER)
            self._clock.sleep_until(start_ns + 200_000_000)
            if self._chip.level(REJECT):
                self._blink(CONFIRM)
            for _ in range(self._also_comes):
                self._blink(TRIGGER)

    def _blink(self, line: int) -> None:
        self._chip.pull(line, True)
        self._chip.pull(line, False)


@contextlib.contextmanager
def belt(chip: FakeChip, *, also_comes: int = 0) -> Iterator[None]:
    """A belt with parts, while the command waits on its clock."""
    clock = StationClock()
    moving = Belt(chip, clock, also_comes=also_comes)
    with clock.in_charge(calibrate_gate.__name__, fake_chip.__name__):
        thread = clock.thread(moving.run)
        thread.start()
        yield
        moving.is_running = False
        thread.join()


def test_calibrate_gate_finds_the_gate_and_is_in_the_audit_trail(
    chip: FakeChip, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with belt(chip):
        answer = run(capsys, "calibrate-gate", "--config", station, "--start-ms", 170, *PERSON)
    assert abs(answer["travel_ms"] - 200) <= answer["resolution_ms"] / 2
    assert answer["parts"] >= 7
    assert trail(station)[0].action == "gate.calibrate"
    assert not chip.level(REJECT)
    levels = chip.history(REJECT)
    assert levels.count(True) == answer["parts"]


def test_calibrate_gate_wants_parts_one_at_a_time(
    chip: FakeChip, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    station = write_station(station.parent, trigger_debounce_ms=0)
    command = ("calibrate-gate", "--config", station, "--start-ms", 170, *PERSON)
    with belt(chip, also_comes=1):
        answer = run(capsys, *command, expect=2)
    assert "A second part arrived" in answer["error"]["message"]
    assert not chip.level(REJECT)


def test_calibrate_gate_says_what_it_needs(
    chip: FakeChip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = {"trigger": {"line": TRIGGER}, "reject": {"line": REJECT}}
    station = write_station(tmp_path, lines=lines, confirm=None)
    answer = run(capsys, "calibrate-gate", "--config", station, *PERSON, expect=2)
    assert "lines.confirm is not wired" in answer["error"]["message"]
    station = write_station(tmp_path)
    answer = run(
        capsys,
        *("calibrate-gate", "--config", station, "--patience-s", 1, *PERSON),
        expect=2,
    )
    assert "No part arrived within 1 s" in answer["error"]["message"]
