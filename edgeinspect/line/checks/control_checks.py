"""The camera's own report: a frame must be taken with the settings that the recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass

from edgeinspect.part import Doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCheck:
    """How far one control may be from what the recipe asks for.

    Attributes:
        control: field of ``CameraControls``.
        words, unit: for a person.
        tolerance: field of ``FrameChecks``.
        is_relative: whether the tolerance is a share of what is asked for. That of the lens is in
            its own unit, because 0 (infinity) is an ordinary lens position.
    """

    control: str
    words: str
    unit: str = ""
    tolerance: str
    is_relative: bool = True
    doubt: Doubt = Doubt.EXPOSURE_OFF_RECIPE

    def describe(self, found: float | None, wanted: float) -> str:
        """A control that is off, in a sentence for a person."""
        return f"{self.words} {found}{self.unit}, recipe says {wanted}{self.unit}"


CONTROL_CHECKS = (
    ControlCheck(
        control="exposure_us", words="exposure", unit=" us", tolerance="exposure_tolerance"
    ),
    ControlCheck(
        control="gain", words="gain", tolerance="gain_tolerance", doubt=Doubt.GAIN_OFF_RECIPE
    ),
    ControlCheck(control="red_gain", words="red gain", tolerance="white_balance_tolerance"),
    ControlCheck(control="blue_gain", words="blue gain", tolerance="white_balance_tolerance"),
    ControlCheck(
        control="white_balance_k", words="white balance", tolerance="white_balance_tolerance"
    ),
    ControlCheck(
        control="lens_position",
        words="lens position",
        tolerance="lens_tolerance",
        is_relative=False,
    ),
)
