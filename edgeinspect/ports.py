"""The seams between the station and everything outside it.

Each Protocol has its drivers and one strict fake in ``edgeinspect/hw``. A driver translates its
vendor's errors into ``edgeinspect.errors`` and keeps the cause; nothing else does.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeinspect.part import Frame

EdgeListener = Callable[[int], None]
"""Called with the kernel's CLOCK_MONOTONIC timestamp (ns) of one active edge, in the driver's
thread. It must return at once and must not raise."""


class Clock(Protocol):
    """The station's two clocks. Only ``now_mono_ns`` may be computed with."""

    def now_mono_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        ...

    def now_wall(self) -> datetime.datetime:
        """UTC, timezone-aware, for people; it may jump."""
        ...

    def is_synchronized(self) -> bool:
        """Whether the wall clock is known to follow a time server."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraControls:
    """What the recipe asks of the camera; None leaves a control as the driver finds it.

    Attributes:
        gain: analogue gain; for a USB camera the number that it uses itself.
        red_gain, blue_gain: fixed white balance, both or none.
        white_balance_k: fixed white balance of a camera that takes a colour temperature, kelvin.
        lens_position: dioptres (1/m); for a USB camera the number that it uses itself.
    """

    exposure_us: float | None = None
    gain: float | None = None
    red_gain: float | None = None
    blue_gain: float | None = None
    white_balance_k: float | None = None
    lens_position: float | None = None


class Camera(Protocol):
    """A camera that is opened once and asked for one frame after the other."""

    def open(self, controls: CameraControls) -> None:
        """Open and configure. Raises CameraFault or DriverMissing."""
        ...

    def apply(self, controls: CameraControls) -> None:
        """Change the controls between two frames."""
        ...

    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        """Return the first frame whose exposure began at or after ``not_before_mono_ns``.

        Blocks until then; gives up at ``deadline_mono_ns``. The core checks the frame's
        timestamp again, so a driver that errs costs a part and never passes one.

        Raises:
            CameraFault: no such frame by the deadline, or the camera failed.
        """
        ...

    def check(self) -> None:
        """Say whether the camera still lives; called about once a second while no part comes.

        Tells a camera that has stopped from a line without parts.

        Raises:
            CameraFault: it has stopped, or was unplugged.
        """
        ...

    def close(self) -> None:
        """Release the camera; closing twice is allowed."""
        ...


class EdgeInput(Protocol):
    """An input line whose active edges matter: trigger, confirm sensor, guard sensor."""

    def start(self, listener: EdgeListener) -> None:
        """Open the line and report every active edge from now on. Raises LineFault."""
        ...

    def close(self) -> None:
        """Stop reporting and release the line; closing twice is allowed."""
        ...


class LevelInput(Protocol):
    """An input line whose level matters: line-stopped (inhibit)."""

    def start(self, listener: Callable[[bool, int], None]) -> bool:
        """Report ``(active, edge_mono_ns)`` of every change from now on; return the level now."""
        ...

    def close(self) -> None: ...


class EncoderInput(Protocol):
    """A counter of belt movement."""

    def start(self, listener: Callable[[int, int], None]) -> None:
        """Report ``(count, edge_mono_ns)``; the count never decreases."""
        ...

    def close(self) -> None: ...


class Output(Protocol):
    """An output line, requested at its safe level and returned to it by ``close``."""

    def drive(self, active: bool) -> None:
        """Set the line. Raises LineFault."""
        ...

    def close(self) -> None:
        """Drive the safe level, then release the line; closing twice is allowed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor of a model.

    Attributes:
        shape: as the model states it, batch first.
        dtype: "int8" or "uint8".
        scale, zero_point: real = (quantized - zero_point) * scale.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


class Engine(Protocol):
    """A verified int8 model that turns quantized tiles into quantized outputs."""

    @property
    def input_spec(self) -> TensorSpec: ...

    @property
    def output_spec(self) -> TensorSpec: ...

    @property
    def description(self) -> str:
        """Runtime, version, kernels (delegate) and arrangement in use, for people."""
        ...

    def run(self, tiles: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Infer every tile; outputs come in the order of the tiles, without the batch axis.

        Each tile has the input's shape without the batch axis and its dtype.
        Raises InferenceFailed.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardState:
    """What the board says of its own heat and power; None where it does not say.

    Attributes:
        model: its name, "" if it has none.
        temperature_c: of the processor, degrees Celsius.
        under_voltage, throttled: whether it lasts now.
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
        """What it says now; what it does not say is None, and nothing is raised."""
        ...
