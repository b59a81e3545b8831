"""Finds the module that implements a driver, by the name in ``settings/driver_tables.py``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from edgeinspect.bundle.directory import Bundle
from edgeinspect.errors import DriverMissing, UsageError
from edgeinspect.ports import Camera, EdgeInput, EncoderInput, LevelInput, Output, StationEngine
from edgeinspect.settings.driver_tables import CAMERA_DRIVERS, ENGINES, IO_DRIVERS, DriverEntry
from edgeinspect.settings.station_file import Camera as CameraWiring
from edgeinspect.settings.station_file import EngineSettings
from edgeinspect.settings.wiring import EncoderLine, InputLine, Io, OutputLine


class CameraModule(Protocol):
    """What a module in ``edgeinspect/hw`` that drives cameras offers."""

    def open_driver(self, wiring: CameraWiring) -> Camera:
        """A camera that is not open yet. Raises UsageError."""


class IoModule(Protocol):
    """What a module in ``edgeinspect/hw`` that drives lines offers.

    An output is requested at its safe level when it is made; an input when it is started.
    Each raises LineFault.
    """

    def edge_input(self, io: Io, wire: InputLine) -> EdgeInput:
        """Make an edge input; its ``start`` opens the line."""

    def level_input(self, io: Io, wire: InputLine) -> LevelInput:
        """Make a level input; its ``start`` opens the line."""

    def encoder_input(self, io: Io, wire: EncoderLine) -> EncoderInput:
        """Make an encoder input; its ``start`` opens the line."""

    def output(self, io: Io, wire: OutputLine) -> Output:
        """Open an output at its safe level. Raises LineFault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What an engine is opened for.

    Attributes:
        tiles: of one part.
        cycle_ns: from one part to the next at the least; None: not known.
    """

    tiles: int
    cycle_ns: int | None = None


class EngineModule(Protocol):
    """What a module in ``edgeinspect/hw`` that runs models offers."""

    def open_station_engine(
        self, bundle: Bundle, settings: EngineSettings, work: Workload
    ) -> StationEngine:
        """An engine with the bundle's model. Raises ModelRefused, HardwareError."""


def camera_module(name: str) -> CameraModule:
    """The driver of that name. Raises UsageError, DriverMissing."""
    return cast(CameraModule, resolve_driver(name, CAMERA_DRIVERS, kind="camera"))


def io_module(name: str) -> IoModule:
    """The driver of that name. Raises UsageError, DriverMissing."""
    return cast(IoModule, resolve_driver(name, IO_DRIVERS, kind="io"))


def engine_module(name: str) -> EngineModule:
    """The engine for that accelerator. Raises UsageError, DriverMissing."""
    return cast(EngineModule, resolve_driver(name, ENGINES, kind="engine"))


def resolve_driver(name: str, drivers: Mapping[str, DriverEntry], *, kind: str) -> object:
    """The module that implements the driver ``name``.

    Args:
        name: the driver's name in the table.
        drivers: a table of ``edgeinspect.settings.driver_tables``.
        kind: "camera", "io" or "engine", for the error.

    Raises:
        UsageError: no driver of that name exists; lists those that do.
        DriverMissing: its vendor library, or the driver itself, is not installed.
    """
    entry = drivers.get(name)
    if entry is None:
        known = ", ".join(sorted(drivers))
        raise UsageError(f"Unknown {kind} driver {name!r}; known drivers: {known}.")
    if entry.library and not _importable(entry.library):
        raise DriverMissing(
            f"The {kind} driver {name} needs {entry.library}, which is not installed.",
            next_action=f"Run: {entry.install}",
        )
    if not _importable(entry.module):
        raise DriverMissing(
            f"This version of edgeinspect has no {kind} driver {name}.",
            next_action="Run: pip install --upgrade edgeinspect",
        )
    return importlib.import_module(entry.module)


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
