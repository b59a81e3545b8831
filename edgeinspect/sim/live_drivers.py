"""The drivers of a station that is wired to the simulated line, for ``live_line``."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

from typing_extensions import override

from edgeinspect.errors import CameraFault, LineFault
from edgeinspect.part import CameraControls, Frame, FrameMeta
from edgeinspect.ports import Camera, EdgeInput, EdgeListener, EncoderInput, LevelInput, Output
from edgeinspect.sim.devices import Eye
from edgeinspect.sim.presets import MS
from edgeinspect.sim.truth import FrameTruth
from edgeinspect.sim.world import LensView

Listener = TypeVar("Listener")


class _SimInput(Generic[Listener]):
    _listener: Listener | None = None

    def close(self) -> None:
        """Report nothing more."""
        self._listener = None


class SimEdgeInput(_SimInput[EdgeListener], EdgeInput):
    """A sensor of the simulated line."""

    @override
    def start(self, listener: EdgeListener) -> None:
        if self._listener is not None:
            raise LineFault("This simulated sensor is already open.")
        self._listener = listener

    def edge(self, edge_mono_ns: int) -> bool:
        """Tell the listener; False if there is none."""
        listener = self._listener
        if listener is not None:
            listener(edge_mono_ns)
        return listener is not None


class SimLevelInput(_SimInput[Callable[[bool, int], None]], LevelInput):
    """The line-stopped signal of the simulated line."""

    _active = False

    @override
    def start(self, listener: Callable[[bool, int], None]) -> bool:
        self._listener = listener
        return self._active

    def change(self, active: bool, edge_mono_ns: int) -> None:
        """Set the level and report it."""
        self._active = active
        listener = self._listener
        if listener is not None:
            listener(active, edge_mono_ns)


class SimEncoderInput(_SimInput[Callable[[int, int], None]], EncoderInput):
    """The encoder of the simulated line."""

    @override
    def start(self, listener: Callable[[int, int], None]) -> None:
        self._listener = listener

    def move_to(self, count: int, edge_mono_ns: int) -> None:
        """Report a new count."""
        listener = self._listener
        if listener is not None:
            listener(count, edge_mono_ns)


class SimOutput(Output):
    """An output line; idle is its safe level. Driving it never waits."""

    def __init__(self, drive: Callable[[bool], None]) -> None:
        self._drive = drive
        self._closed = False

    @override
    def drive(self, active: bool) -> None:
        if self._closed:
            raise LineFault("This simulated output is closed.")
        self._drive(active)

    @override
    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._drive(False)


class SimCamera(Camera):
    """A camera over the simulated line. It exposes when asked and then computes the picture.

    Args:
        look: waits until the given time and returns the view of the lens.
        eye: computes the picture of a view.
        frames: what each frame really shows is noted here, by its number.
    """

    def __init__(
        self,
        look: Callable[[int], LensView],
        eye: Eye,
        *,
        rng: Random,
        frames: dict[int, FrameTruth],
    ) -> None:
        self._look = look
        self._eye = eye
        self._rng = rng
        self._frames = frames
        self._sequence = 0
        self._controls: CameraControls | None = None

    @override
    def open(self, controls: CameraControls) -> None:
        self._controls = controls

    @override
    def apply(self, controls: CameraControls) -> None:
        self._controls = controls

    @override
    def close(self) -> None:
        self._controls = None

    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        """See ``edgeinspect.ports.Camera``."""
        controls = self._controls
        if controls is None:
            raise CameraFault("The simulated camera is not open.")
        begin_ns = max(not_before_mono_ns, time.monotonic_ns())
        exposure_ns = begin_ns + self._rng.randint(0, 2 * MS)
        if exposure_ns > deadline_mono_ns:
            raise CameraFault("The frame was requested too late for the simulated camera.")
        view = self._look(exposure_ns)
        pixels = self._eye.expose(view, exposure_ns)
        self._sequence += 1
        number = view.part.number if view.part is not None else None
        self._frames[self._sequence] = FrameTruth(number, view.placed, exposure_ns)
        meta = FrameMeta(self._sequence, exposure_ns, time.monotonic_ns(), controls)
        return Frame(meta, pixels)

    def check(self) -> None:
        """The simulated camera never stops by itself."""
