"""A driver is added by one file and one entry in its table; nothing else knows its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeinspect.errors import ConfigError
from edgeinspect.hw.fake_camera import FakeCamera
from edgeinspect.hw.fake_io import FakeEdgeInput, FakeOutput
from edgeinspect.runtime.models import open_inspectors
from edgeinspect.runtime.opened_wires import open_drivers
from edgeinspect.settings.driver_tables import (
    CAMERA_DRIVERS,
    ENGINES,
    IO_DRIVERS,
    CameraEntry,
    DriverEntry,
    IoEntry,
)
from edgeinspect.settings.station_file import EngineSettings, load_station
from edgeinspect.settings.uncovered import describe_frames, describe_uncovered_faults
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.io_station import write_station


def test_a_camera_and_lines_of_our_own_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_station(
        tmp_path, camera={"driver": "toy", "stamp_error_ms": 2}, io={"driver": "toy"}
    )
    with pytest.raises(ConfigError, match="one of sim, folder, picamera2, v4l2"):
        load_station(file)
    camera = CameraEntry(module="tests.helpers.toy_camera", proof="stamps are guessed{error}")
    monkeypatch.setitem(CAMERA_DRIVERS, "toy", camera)
    with pytest.raises(ConfigError, match="one of sim, rpi-gpio, gpiod"):
        load_station(file)
    lines = IoEntry(module="tests.helpers.toy_lines", kernel_stamps=False)
    monkeypatch.setitem(IO_DRIVERS, "toy", lines)

    station = load_station(file)
    drivers = open_drivers(station)
    assert isinstance(drivers.camera, FakeCamera)
    assert isinstance(drivers.trigger, FakeEdgeInput) and isinstance(drivers.gate, FakeOutput)
    said = "toy: stamps are guessed, off by up to 2 ms as stated"
    assert describe_frames(station.camera) == said
    assert any("io.driver is toy" in fault for fault in describe_uncovered_faults(station))


def test_an_engine_of_our_own_inspects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "toy", DriverEntry(module="tests.helpers.toy_engine"))
    settings = EngineSettings.model_validate({"delegate": "toy"})
    inspectors = open_inspectors(spot_bundle(tmp_path), engine=settings, roi=None)
    assert "reference kernels" in inspectors.description
    inspectors.close()
