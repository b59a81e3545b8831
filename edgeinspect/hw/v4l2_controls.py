"""The recipe's camera settings as V4L2 controls: automatics off, set, read back."""

from __future__ import annotations

from typing import Protocol

from edgeinspect.errors import CameraFault
from edgeinspect.part import CameraControls

# <linux/v4l2-controls.h>
GAIN = 0x00980913
AUTO_WHITE_BALANCE = 0x0098090C
RED_BALANCE, BLUE_BALANCE = 0x0098090E, 0x0098090F
WHITE_BALANCE_K = 0x0098091A
AUTO_GAIN = 0x00980912
EXPOSURE_AUTO, EXPOSURE_100_US = 0x009A0901, 0x009A0902
FOCUS, FOCUS_AUTO = 0x009A090A, 0x009A090C
_EXPOSURE_MANUAL = 1  # V4L2_EXPOSURE_MANUAL


class _Device(Protocol):
    def control_range(self, control: int) -> tuple[int, int] | None: ...
    def set_control(self, control: int, value: int) -> None: ...
    def get_control(self, control: int) -> int: ...


class V4l2Controls:
    """The camera's controls.

    Attributes:
        exposure_us: the fixed exposure that the camera confirmed last; None if it is not fixed.
    """

    def __init__(self, device: _Device) -> None:
        self._device = device
        self._asked = CameraControls()
        self.exposure_us: float | None = None

    def apply(self, controls: CameraControls) -> None:
        """Set the requested controls and read them back.

        Raises:
            CameraFault: the camera lacks a control, its range is smaller, or it takes another
                value.
        """
        if controls.red_gain is not None or controls.blue_gain is not None:
            self._set("red_gain", RED_BALANCE, controls.red_gain, off=(AUTO_WHITE_BALANCE, 0))
            self._set("blue_gain", BLUE_BALANCE, controls.blue_gain)
        self._set(
            "white_balance_k",
            WHITE_BALANCE_K,
            controls.white_balance_k,
            off=(AUTO_WHITE_BALANCE, 0),
        )
        exposure = controls.exposure_us
        ticks = None if exposure is None else max(1, round(exposure / 100))
        off = (EXPOSURE_AUTO, _EXPOSURE_MANUAL)
        self._set("exposure_us", EXPOSURE_100_US, ticks, off=off)
        self._set("gain", GAIN, controls.gain, off=(AUTO_GAIN, 0))
        self._set("lens_position", FOCUS, controls.lens_position, off=(FOCUS_AUTO, 0))
        self._asked = controls
        self.exposure_us = self.read_back().exposure_us

    def _set(
        self, key: str, control: int, value: float | None, *, off: tuple[int, int] | None = None
    ) -> None:
        if value is None:
            return
        bounds = self._device.control_range(control)
        if bounds is None:
            raise CameraFault(
                f"This camera has no control for camera.{key}.",
                next_action=f"Remove camera.{key}, or use a camera that has this control.",
            )
        wanted = round(value)
        if not bounds[0] <= wanted <= bounds[1]:
            raise CameraFault(
                f"camera.{key} asks for {wanted} in the camera's own steps, but the camera accepts "
                f"{bounds[0]} to {bounds[1]}.",
                next_action=f"Correct camera.{key}.",
            )
        if off is not None and self._device.control_range(off[0]) is not None:
            self._device.set_control(*off)
        self._device.set_control(control, wanted)

    def read_back(self) -> CameraControls:
        """Return the present values of all requested controls."""
        asked = self._asked
        ticks = self._read(EXPOSURE_100_US, asked.exposure_us)
        return CameraControls(
            exposure_us=None if ticks is None else 100.0 * ticks,
            gain=self._read(GAIN, asked.gain),
            red_gain=self._read(RED_BALANCE, asked.red_gain),
            blue_gain=self._read(BLUE_BALANCE, asked.blue_gain),
            white_balance_k=self._read(WHITE_BALANCE_K, asked.white_balance_k),
            lens_position=self._read(FOCUS, asked.lens_position),
        )

    def _read(self, control: int, asked: float | None) -> float | None:
        return None if asked is None else float(self._device.get_control(control))
