"""Every check of a picture, in the order in which they are made; the first that fails counts."""

from __future__ import annotations

from edgeinspect.line.checks.clipping_check import CLIPPED_HIGH_MAX, CLIPPED_LOW_MAX
from edgeinspect.line.checks.focus_check import FOCUS_MIN
from edgeinspect.line.checks.frame_check import FrameCheck, Measurement
from edgeinspect.line.checks.light_check import MEAN_MAX, MEAN_MIN

CHECKS: tuple[FrameCheck, ...] = (
    MEAN_MIN,
    MEAN_MAX,
    CLIPPED_LOW_MAX,
    CLIPPED_HIGH_MAX,
    FOCUS_MIN,
)


def measurements() -> tuple[Measurement, ...]:
    """What has to be measured for these checks, each once."""
    return tuple({check.measurement.name: check.measurement for check in CHECKS}.values())
