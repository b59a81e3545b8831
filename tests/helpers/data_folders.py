"""Folders of pictures, one a class."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def picture(seed: int, *, size: int = 40) -> NDArray[np.uint8]:
    """A smooth random texture: different seeds do not correlate."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 230, (8, 8), np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


def write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def make_folders(root: Path, **counts: int) -> Path:
    seed = 0
    for label, count in counts.items():
        for number in range(count):
            write(root / label / f"p{number:03d}.png", picture(seed))
            seed += 1
    return root
