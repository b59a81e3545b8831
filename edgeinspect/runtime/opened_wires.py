"""A station file's wires, as opened drivers."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from edgeinspect.errors import UsageError
from edgeinspect.hw.camera_strobe import StrobedCamera
from edgeinspect.hw.opened import Drivers
from edgeinspect.hw.registry import IoModule, camera_module, io_module
from edgeinspect.ports import Camera, EdgeInput, EncoderInput, LevelInput, Output
from edgeinspect.settings.driver_tables import SIM
from edgeinspect.settings.station_file import StationFile
from edgeinspect.settings.wiring import InputLine, OutputLine

LIGHTS = {
    "green": "stack_light_green",
    "yellow": "stack_light_yellow",
    "red": "stack_light_red",
    "beacon": "beacon",
}
"""The lights of ``Drivers.lights`` and their keys in the station file."""
Driver = TypeVar("Driver", EdgeInput, LevelInput, EncoderInput, Output)


def open_drivers(station: StationFile) -> Drivers:
    """Make every driver that the station file names; outputs then are at their safe level.

    Raises:
        DriverMissing: a driver's library is not installed; the error names the command that helps.
        HardwareError: a line or the camera cannot be opened; everything is closed again.
        UsageError: the station file is for the simulated line, or the camera's folder is empty.
    """
    if SIM in (station.io.driver, station.camera.driver):
        raise UsageError(
            f"The station file of {station.id} is wired to the simulated line, not to hardware."
        )
    io, camera = io_module(station.io.driver), camera_module(station.camera.driver)
    return _lines(station, io, camera.open_driver(station.camera))


def _lines(station: StationFile, module: IoModule, camera: Camera) -> Drivers:
    io, lines = station.io, station.lines
    with contextlib.ExitStack() as opened:  # they are closed again if a later one fails

        def edge(wire: InputLine | None) -> EdgeInput | None:
            return None if wire is None else _kept(opened, module.edge_input(io, wire))

        def output(wire: OutputLine | None) -> Output | None:
            return None if wire is None else _kept(opened, module.output(io, wire))

        lights = {name: output(getattr(lines, key)) for name, key in LIGHTS.items()}
        strobe = output(lines.strobe)
        if strobe is not None:
            lead_ns = round(station.camera.strobe_lead_ms * 1e6)
            camera = StrobedCamera(camera, strobe, lead_ns=lead_ns)
        line_stopped = lines.line_stopped
        drivers = Drivers(
            camera=camera,
            strobe=strobe,
            gate=_kept(opened, module.output(io, lines.reject)),
            heartbeat=output(lines.heartbeat),
            line_stop=output(lines.line_stop),
            lights={name: light for name, light in lights.items() if light is not None},
            trigger=_kept(opened, module.edge_input(io, lines.trigger)),
            confirm=edge(lines.confirm),
            guard=edge(lines.guard),
            line_stopped=None
            if line_stopped is None
            else _kept(opened, module.level_input(io, line_stopped)),
            encoder=None
            if station.encoder is None
            else _kept(opened, module.encoder_input(io, station.encoder)),
        )
        opened.pop_all()
    return drivers


def _kept(opened: contextlib.ExitStack, driver: Driver) -> Driver:
    opened.callback(driver.close)
    return driver
