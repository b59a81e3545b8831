"""From a station file's wires to drivers, with the vendor's modules replaced by fakes."""

from __future__ import annotations

import types
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pytest

from edgeinspect.errors import DriverMissing, LineFault, UsageError
from edgeinspect.hw import registry as hw_open
from edgeinspect.hw.camera_strobe import StrobedCamera
from edgeinspect.hw.fake_io import FakeEdgeInput, FakeLevelInput, FakeOutput
from edgeinspect.hw.folder_camera import FolderCamera
from edgeinspect.hw.opened import Drivers
from edgeinspect.runtime import opened_wires
from edgeinspect.settings.station_file import Camera, StationFile, example_station
from edgeinspect.settings.wiring import InputLine, Io, OutputLine

Fake = TypeVar("Fake", FakeEdgeInput, FakeLevelInput, FakeOutput)


@pytest.fixture
def station(tmp_path: Path) -> StationFile:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((4, 4), np.uint8))
    example = example_station("normally-passing-guarded", data_dir=tmp_path)
    camera = Camera(driver="folder", device=str(folder))
    io = Io(driver="gpiod", chip="pinctrl-rp1")
    return example.model_copy(update={"camera": camera, "io": io})


class FakeModule(types.ModuleType):
    """An io driver's module that makes strict fakes and can fail at one wire."""

    def __init__(self, fails_at: object = None) -> None:
        super().__init__("fake")
        self.made: dict[int, FakeEdgeInput | FakeLevelInput | FakeOutput] = {}
        self.fails_at = fails_at

    def edge_input(self, io: Io, wire: InputLine) -> FakeEdgeInput:
        return self._make(wire, FakeEdgeInput())

    def level_input(self, io: Io, wire: InputLine) -> FakeLevelInput:
        return self._make(wire, FakeLevelInput())

    def output(self, io: Io, wire: OutputLine) -> FakeOutput:
        return self._make(wire, FakeOutput())

    def _make(self, wire: object, driver: Fake) -> Fake:
        if self.fails_at is not None and wire == self.fails_at:
            raise LineFault("The line is busy.")
        self.made[id(wire)] = driver
        return driver


def opened(station: StationFile, module: FakeModule, monkeypatch: pytest.MonkeyPatch) -> Drivers:
    real = hw_open.resolve_driver

    def resolve(name: str, drivers: object, *, kind: str) -> object:
        return module if kind == "io" else real(name, drivers, kind=kind)  # type: ignore[arg-type]

    monkeypatch.setattr(hw_open, "resolve_driver", resolve)
    return opened_wires.open_drivers(station)


def test_every_wire_gets_its_driver(station: StationFile, monkeypatch: pytest.MonkeyPatch) -> None:
    module = FakeModule()
    drivers = opened(station, module, monkeypatch)
    lines = station.lines
    assert drivers.trigger is module.made[id(lines.trigger)]
    assert drivers.gate is module.made[id(lines.reject)]
    assert drivers.guard is module.made[id(lines.guard)]
    assert isinstance(drivers.camera, FolderCamera)
    wired = {key for key, _ in lines.wired()}
    given = {"green", "yellow", "red", "beacon"} & set(drivers.lights)
    assert {opened_wires.LIGHTS[name] for name in given} == wired & set(
        opened_wires.LIGHTS.values()
    )
    assert (drivers.heartbeat is not None) == ("heartbeat" in wired)
    assert drivers.encoder is None


def test_a_wired_lamp_belongs_to_the_camera_and_is_closed_with_the_outputs(
    station: StationFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = station.lines.model_copy(update={"strobe": OutputLine(line=12)})
    lit = station.model_copy(update={"lines": lines})
    module = FakeModule()
    drivers = opened(lit, module, monkeypatch)
    assert isinstance(drivers.camera, StrobedCamera)
    lamp = drivers.strobe
    assert isinstance(lamp, FakeOutput) and not lamp.is_closed
    assert drivers.close_outputs() == [] and lamp.is_closed


def test_what_was_opened_is_closed_if_a_later_wire_fails(
    station: StationFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = FakeModule(fails_at=station.lines.trigger)
    with pytest.raises(LineFault, match="busy"):
        opened(station, module, monkeypatch)
    assert module.made
    assert all(driver.is_closed for driver in module.made.values())


def test_a_driver_that_is_not_there_is_named_with_the_remedy(
    station: StationFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hw_open, "_importable", lambda module: module != "gpiod")
    with pytest.raises(DriverMissing, match="Run: pip install"):
        opened_wires.open_drivers(station)


def test_the_simulated_line_is_not_opened_as_hardware(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="simulated line"):
        opened_wires.open_drivers(example_station("normally-rejecting", data_dir=tmp_path))
