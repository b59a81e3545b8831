"""Light: a covered lens and a dead lamp are dark, a blinded sensor is bright."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.checks.frame_check import Bound, FrameCheck, Measurement
from edgeinspect.part import Doubt


def mean_grey_level(gray: NDArray[np.uint8]) -> float:
    """Mean grey level, [0, 255]."""
    import cv2

    return float(cv2.sumElems(gray)[0] / gray.size)


MEAN = Measurement(name="mean", words="mean grey level", measure=mean_grey_level)
MEAN_MIN = FrameCheck(
    limit="mean_min",
    measurement=MEAN,
    bound=Bound.AT_LEAST,
    doubt=Doubt.TOO_DARK,
    lowest=0,
    highest=255,
    default=8.0,
)
MEAN_MAX = FrameCheck(
    limit="mean_max",
    measurement=MEAN,
    bound=Bound.AT_MOST,
    doubt=Doubt.TOO_BRIGHT,
    lowest=0,
    highest=255,
    default=247.0,
)
