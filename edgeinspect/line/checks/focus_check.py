"""Focus: a blurred picture hides small defects.

Focus is the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000). It falls when the picture
blurs, and compares only with the same part under the same light, hence a limit for each recipe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.checks.frame_check import Bound, FrameCheck, Measurement
from edgeinspect.part import Doubt


def variance_of_laplacian(gray: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian, grey levels squared, >= 0."""
    import cv2

    laplacian = cv2.Laplacian(gray, cv2.CV_16S, ksize=1)
    slope = cv2.sumElems(laplacian)[0] / gray.size
    return float(max(0.0, cv2.norm(laplacian, cv2.NORM_L2SQR) / gray.size - slope * slope))


FOCUS = Measurement(name="focus", words="focus", measure=variance_of_laplacian)
FOCUS_MIN = FrameCheck(
    limit="focus_min",
    measurement=FOCUS,
    bound=Bound.AT_LEAST,
    doubt=Doubt.BLURRED,
    lowest=0,
    highest=1e6,
)
