"""Clipping: pixels that are quite black or quite white show no defect."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.checks.frame_check import Bound, FrameCheck, Measurement
from edgeinspect.part import Doubt

BLACK = 2
WHITE = 253


def share_of_black(gray: NDArray[np.uint8]) -> float:
    """Share of pixels at most ``BLACK``, [0, 1]."""
    return int(np.count_nonzero(gray <= BLACK)) / gray.size


def share_of_white(gray: NDArray[np.uint8]) -> float:
    """Share of pixels at least ``WHITE``, [0, 1]."""
    return int(np.count_nonzero(gray >= WHITE)) / gray.size


CLIPPED_LOW = Measurement(name="clipped_low", words="share of black", measure=share_of_black)
CLIPPED_HIGH = Measurement(name="clipped_high", words="share of white", measure=share_of_white)
CLIPPED_LOW_MAX = FrameCheck(
    limit="clipped_low_max",
    measurement=CLIPPED_LOW,
    bound=Bound.AT_MOST,
    doubt=Doubt.TOO_DARK,
    lowest=0,
    highest=1,
    default=0.9,
)
CLIPPED_HIGH_MAX = FrameCheck(
    limit="clipped_high_max",
    measurement=CLIPPED_HIGH,
    bound=Bound.AT_MOST,
    doubt=Doubt.SATURATED,
    lowest=0,
    highest=1,
    default=0.5,
)
