"""Pictures of a product that moves under the camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def product(seed: int, height: int = 160, width: int = 200) -> Pixels:
    """Blocks and grain, as a printed product has them."""
    rng = np.random.default_rng(seed)
    small = rng.integers(30, 220, (height // 8, width // 8)).astype(np.uint8)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large + rng.normal(0, 4, large.shape), 0, 255), np.uint8)
