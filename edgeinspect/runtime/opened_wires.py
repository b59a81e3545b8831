"""A station file's wires, as opened drivers."""

from __future__ import annotations

import contextlib
from typing import Protocol, TypeVar, cast

from edgeinspect.errors import UsageError
from edgeinspect.hw.camera_strobe import StrobedCamera
from edgeinspect.hw.opened import Drivers
from edgeinspect.hw.registry import CAMERA_DRIVERS, IO_DRIVERS, resolve_driver
from edgeinspect.ports import Camera, EdgeInput, EncoderInput, LevelInput, Output
from edgeinspect.settings.station_file import Camera as CameraWiring
from edgeinspect.settings.station_file import StationFile
from edgeinspect.settings.wiring import EncoderLine, InputLine, Io, OutputLine

LIGHTS = {
    "green": "stack_light_green",
    "yellow": "stack_light_yellow",
    "red": "stack_light_red",
    "beacon": "beacon",
}
"""The lights of ``Drivers.lights`` and their keys in the station file."""
Driver = TypeVar("Driver", EdgeInput, LevelInput, EncoderInput, Output)


class IoModule(Protocol):
    """What a module in ``edgeinspect/hw`` that drives lines offers.

    An output is requested at its safe level when it is made; an input when it is started.
    Each raises LineFault.
    """

    def edge_input(self, io: Io, wire: InputLine) -> EdgeInput:
        """Make an edge input; its ``start`` opens the line."""
        ...

    def level_input(self, io: Io, wire: InputLine) -> LevelInput:
        """Make a level input; its ``start`` opens the line."""
        ...

    def encoder_input(self, io: Io, wire: EncoderLine) -> EncoderInput:
        """Make an encoder input; its ``start`` opens the line."""
        ...

    def output(self, io: Io, wire: OutputLine) -> Output:
        """Open an output at its safe level. Raises LineFault."""
        ...


class CameraModule(Protocol):
    """What a module in ``edgeinspect/hw`` that drives cameras offers."""

    def open_driver(self, wiring: CameraWiring) -> Camera:
        """Make the camera driver; its ``open`` opens the camera."""
        ...


def open_drivers(station: StationFile) -> Drivers:
    """Make every driver that the station file names; outputs then are at their safe level.

    Raises:
        DriverMissing: a driver's library is not installed; the error names the command that helps.
        HardwareError: a line or the camera cannot be opened; everything is closed again.
        UsageError: the station file is for the simulated line, or the camera's folder is empty.
    """
    if station.io.driver == "sim" or station.camera.driver == "sim":
        raise UsageError(
            f"The station file of {station.id} is wired to the simulated line, not to hardware."
        )
    io = resolve_driver(station.io.driver.value, IO_DRIVERS, kind="io")
    camera = resolve_driver(station.camera.driver.value, CAMERA_DRIVERS, kind="camera")
    return _lines(
        station, cast(IoModule, io), cast(CameraModule, camera).open_driver(station.camera)
    )


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
