"""Measures a frame before any model sees it: whatever a check in ``line/checks`` asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.checks.all_checks import measurements
from edgeinspect.part import FrameQuality


def measure_quality(roi_pixels: NDArray[np.uint8]) -> FrameQuality:
    """Measure a region of interest.

    Args:
        roi_pixels: uint8, (height, width) or (height, width, 3) in RGB order; may be a view.
            Colour is measured as luma.

    Raises:
        ValueError: wrong dtype or shape, or no pixel.
    """
    import cv2

    pixels = np.ascontiguousarray(roi_pixels)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
        raise ValueError(f"not a picture: {pixels.dtype} of shape {pixels.shape}")
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    levels = np.asarray(gray, np.uint8)
    return FrameQuality.of({entry.name: entry.measure(levels) for entry in measurements()})
