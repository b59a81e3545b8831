"""The recipe's camera settings as libcamera's controls, and back from a frame's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeinspect.errors import CameraFault
from edgeinspect.part import CameraControls

_AF_MODE_MANUAL = 0  # libcamera.controls.AfModeEnum.Manual


def libcamera_controls(
    controls: CameraControls,
    advertised: Mapping[str, tuple[Any, Any, Any]],
    *,
    frames_per_s: float | None,
) -> dict[str, Any]:
    """What to set, by libcamera's names.

    Args:
        controls: the settings of the recipe.
        advertised: (least, greatest, default) of every control of this camera.
        frames_per_s: None leaves the frame rate alone.

    Raises:
        CameraFault: the camera lacks a control, or not in this range.
    """
    wanted: dict[str, Any] = {}
    if controls.exposure_us is not None:
        exposure_us = round(controls.exposure_us)
        wanted["ExposureTime"] = _checked("ExposureTime", exposure_us, advertised, "exposure_us")
    if controls.gain is not None:
        wanted["AnalogueGain"] = _checked("AnalogueGain", controls.gain, advertised, "gain")
    if controls.red_gain is not None and controls.blue_gain is not None:
        for gain, key in ((controls.red_gain, "red_gain"), (controls.blue_gain, "blue_gain")):
            _checked("ColourGains", gain, advertised, key)
        wanted["ColourGains"] = (controls.red_gain, controls.blue_gain)
    if controls.white_balance_k is not None:
        kelvin = round(controls.white_balance_k)
        wanted["ColourTemperature"] = _checked(
            "ColourTemperature", kelvin, advertised, "white_balance_k"
        )
    if "AwbEnable" in advertised and wanted.keys() & {"ColourGains", "ColourTemperature"}:
        wanted["AwbEnable"] = False
    if controls.lens_position is not None:
        wanted["LensPosition"] = _checked(
            "LensPosition", controls.lens_position, advertised, "lens_position"
        )
        if "AfMode" in advertised:
            wanted["AfMode"] = _AF_MODE_MANUAL
    if frames_per_s is not None:
        duration_us = round(1e6 / frames_per_s)
        _checked("FrameDurationLimits", duration_us, advertised, "frames_per_s")
        wanted["FrameDurationLimits"] = (duration_us, duration_us)
    return wanted


def _checked(
    name: str, value: Any, advertised: Mapping[str, tuple[Any, Any, Any]], key: str
) -> Any:
    if name not in advertised:
        raise CameraFault(
            f"This camera has no control {name}, which camera.{key} needs.",
            next_action=f"Remove camera.{key}, or use a camera that has this control.",
        )
    least, greatest = (_scalar(bound) for bound in advertised[name][:2])
    inside = (least is None or value >= least) and (greatest is None or value <= greatest)
    if not inside:
        raise CameraFault(
            f"camera.{key} sets {name} to {value:g}, but this camera accepts {least:g} to "
            f"{greatest:g}.",
            next_action=f"Correct camera.{key}.",
        )
    return value


def _scalar(bound: Any) -> float | None:
    """A bound of a scalar or array control; None where it says nothing (0 means no limit there)."""
    if isinstance(bound, (tuple, list)):
        bound = bound[0] if bound else None
    return float(bound) if isinstance(bound, (int, float)) else None


def read_back(metadata: Mapping[str, Any]) -> CameraControls:
    """What the sensor did for this frame, in the recipe's words."""
    red, blue = metadata.get("ColourGains") or (None, None)
    return CameraControls(
        exposure_us=_number(metadata.get("ExposureTime")),
        gain=_number(metadata.get("AnalogueGain")),
        red_gain=_number(red),
        blue_gain=_number(blue),
        white_balance_k=_number(metadata.get("ColourTemperature")),
        lens_position=_number(metadata.get("LensPosition")),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
