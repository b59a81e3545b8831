"""The interfaces between the station and everything outside it.

Each Protocol has its drivers and one strict fake in ``edgeinspect/hw``. Only drivers translate
vendor errors into ``edgeinspect.errors``; they keep the cause.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import InferenceFailed
from edgeinspect.faults import FaultName
from edgeinspect.part import CameraControls, Frame

EdgeListener = Callable[[int], None]
"""Called in the driver's thread with the kernel's CLOCK_MONOTONIC timestamp (ns) of one active
edge. It must return at once and must not raise."""


class Clock(Protocol):
    """The station's two clocks. Only ``now_mono_ns`` may be used for calculations."""

    def now_mono_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""

    def now_wall(self) -> datetime.datetime:
        """Return UTC, timezone-aware, for people; it may jump."""

    def is_synchronized(self) -> bool:
        """Return whether the wall clock is known to follow a time server."""


class Camera(Protocol):
    """A camera that is opened once and delivers one frame per request."""

    def open(self, controls: CameraControls) -> None:
        """Open and configure. Raises CameraFault or DriverMissing."""

    def apply(self, controls: CameraControls) -> None:
        """Change the controls between two frames. Raises CameraFault."""

    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        """Return the first frame whose exposure began at or after ``not_before_mono_ns``.

        Blocks until then; gives up at ``deadline_mono_ns``. The core checks the frame's timestamp
        again, so a driver that is wrong costs a good part and never passes a bad one.

        Raises:
            CameraFault: no such frame came by the deadline, or the camera failed.
        """

    def check(self) -> None:
        """Check that the camera still works; called about once a second while no part comes.

        This distinguishes a camera that has stopped from a line without parts.

        Raises:
            CameraFault: the camera has stopped or was unplugged.
        """

    def close(self) -> None:
        """Release the camera; closing twice is allowed."""


class EdgeInput(Protocol):
    """An input line whose active edges count: trigger, confirm sensor, guard sensor."""

    def start(self, listener: EdgeListener) -> None:
        """Open the line and report every active edge from now on. Raises LineFault."""

    def close(self) -> None:
        """Stop reporting and release the line; closing twice is allowed."""


class LevelInput(Protocol):
    """An input line whose level counts: line-stopped (inhibit)."""

    def start(self, listener: Callable[[bool, int], None]) -> bool:
        """Report ``(active, edge_mono_ns)`` of every change from now on; return the present level.

        Raises LineFault.
        """

    def close(self) -> None:
        """Stop reporting and release the line; closing twice is allowed."""


class EncoderInput(Protocol):
    """A counter of belt movement."""

    def start(self, listener: Callable[[int, int], None]) -> None:
        """Report ``(count, edge_mono_ns)`` from now on. Raises LineFault.

        The count never decreases.
        """

    def close(self) -> None:
        """Stop reporting and release the lines; closing twice is allowed."""


class Output(Protocol):
    """An output line that starts at its safe level and returns to it on ``close``."""

    def drive(self, active: bool) -> None:
        """Set the line. Raises LineFault."""

    def close(self) -> None:
        """Drive the safe level, then release the line; closing twice is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor of a model.

    Attributes:
        name: the tensor's name in the model.
        shape: as stored in the model, batch first.
        dtype: "int8" or "uint8".
        scale, zero_point: real = (quantized - zero_point) * scale.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    def holds(self, values: NDArray[np.generic]) -> bool:
        """Whether an array can be one element of a batch: shape without the batch axis, dtype."""
        return values.shape == self.shape[1:] and values.dtype == self.dtype

    def check_tile(self, tile: NDArray[np.generic]) -> None:
        """Raises InferenceFailed: the tile is not one that the model takes."""
        if not self.holds(tile):
            raise InferenceFailed(
                f"Expected a tile of {self.dtype} {self.shape[1:]}, got {tile.dtype} {tile.shape}."
            )


class Engine(Protocol):
    """A verified int8 model that turns quantized tiles into quantized outputs.

    Attributes:
        input_spec: the tensor that each tile must match.
        output_spec: the tensor that each output matches.
        description: runtime, version, kernels (delegate) and threads in use, for people.
    """

    input_spec: TensorSpec
    output_spec: TensorSpec
    description: str

    def run(self, tiles: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Run the model on every tile; return one output per tile, in order.

        Each tile must have the input's shape without the batch axis, and its dtype. Outputs have no
        batch axis, either. Raises InferenceFailed.
        """

    def close(self) -> None:
        """Release the model; closing twice is allowed."""


class StationEngine(Engine, Protocol):
    """An engine that a station works with: it reports its troubles."""

    def trouble(self) -> Mapping[FaultName, str]:
        """Return the present troubles: fault names with a sentence each; empty if all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardState:
    """Temperature and power of the board; None where the board reports nothing.

    Attributes:
        model: the board's name; "" if it has none.
        temperature_c: temperature of the processor, degrees Celsius.
        under_voltage, throttled: whether it happens now.
        under_voltage_before, throttled_before: whether it has happened since the board started.
    """

    model: str = ""
    temperature_c: float | None = None
    under_voltage: bool | None = None
    under_voltage_before: bool | None = None
    throttled: bool | None = None
    throttled_before: bool | None = None


class Board(Protocol):
    """The computer that the station runs on."""

    def read(self) -> BoardState:
        """Return the present state; values that the board does not report are None.

        Never raises.
        """
