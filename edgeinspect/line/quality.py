"""Measures a frame before any model sees it: brightness, clipping, focus.

Focus is the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000). It falls when the picture
is blurred. It can be compared only for the same part under the same light, so each recipe has its
own baseline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.part import FrameQuality

CLIPPED_LOW = 2
CLIPPED_HIGH = 253


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
    laplacian = cv2.Laplacian(gray, cv2.CV_16S, ksize=1)
    count = gray.size
    slope = cv2.sumElems(laplacian)[0] / count
    return FrameQuality(
        mean=cv2.sumElems(gray)[0] / count,
        clipped_low=int(np.count_nonzero(gray <= CLIPPED_LOW)) / count,
        clipped_high=int(np.count_nonzero(gray >= CLIPPED_HIGH)) / count,
        focus=max(0.0, cv2.norm(laplacian, cv2.NORM_L2SQR) / count - slope * slope),
    )
