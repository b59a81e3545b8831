"""Draws score maps over pictures of parts. Pure functions on arrays.

Scores become colours by matplotlib's inferno map. It is perceptually uniform, so equal steps of
score look like equal steps of colour, and it works with colour blindness and in grey print.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.part import Region, ScoreMap

Rgb = NDArray[np.uint8]
"""uint8, shape (height, width, 3), RGB order."""

MAX_ALPHA = 0.75
_FAINT = 0.08
"""Scores below this leave the picture unchanged."""
_COLOR_FLOOR = 0.25
"""Where the colour map begins: its darkest quarter looks like a dark picture."""


@cache
def score_colors() -> Rgb:
    """Return the colour of each score from 0 to 1 in 256 steps: uint8, shape (256, 3), RGB."""
    ramp = np.linspace(255 * _COLOR_FLOOR, 255, 256).round().astype(np.uint8)
    bgr = cv2.applyColorMap(ramp.reshape(1, 256), cv2.COLORMAP_INFERNO)
    colors: Rgb = np.ascontiguousarray(bgr[0, :, ::-1])
    colors.setflags(write=False)
    return colors


def to_rgb(pixels: NDArray[np.uint8]) -> Rgb:
    """Return a writable RGB copy of a grey (height, width) or RGB picture."""
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels.copy()


def worst_scores(score_map: ScoreMap) -> NDArray[np.float32]:
    """Return the highest score of any class in each map cell: float32, (map_height, map_width)."""
    worst: NDArray[np.float32] = np.nan_to_num(score_map.scores.max(axis=2)).clip(0, 1)
    return worst


def scores_on_frame(score_map: ScoreMap, *, height: int, width: int) -> NDArray[np.float32]:
    """Return the worst score at each pixel of a frame of this size; 0 outside the ROI.

    Cells are stretched without smoothing, so that a defect is shown where the model saw it.
    """
    canvas = np.zeros((height, width), np.float32)
    cells = worst_scores(score_map)
    roi, stride = score_map.roi, score_map.stride_px
    left, top = max(0, roi.x), max(0, roi.y)
    right, bottom = min(width, roi.x + roi.width), min(height, roi.y + roi.height)
    if right <= left or bottom <= top:
        return canvas
    rows = ((np.arange(top, bottom) - roi.y) / stride).astype(int).clip(0, cells.shape[0] - 1)
    columns = ((np.arange(left, right) - roi.x) / stride).astype(int).clip(0, cells.shape[1] - 1)
    canvas[top:bottom, left:right] = cells[np.ix_(rows, columns)]
    return canvas


def overlay(picture: Rgb, scores: NDArray[np.float32]) -> Rgb:
    """Lay scores over a picture: the higher a score, the more its colour covers.

    Args:
        picture: uint8 RGB, shape (height, width, 3).
        scores: float32 in [0, 1], shape (height, width) of the picture.
    """
    colors = score_colors()[(scores * 255).round().astype(np.uint8)]
    alpha = np.where(scores < _FAINT, 0.0, MAX_ALPHA * np.sqrt(scores))[:, :, None]
    blended: Rgb = (picture * (1 - alpha) + colors * alpha).round().astype(np.uint8)
    return blended


def outline(picture: Rgb, box: Region, color: tuple[int, int, int], *, margin_px: int = 6) -> None:
    """Draw a frame around a box, in place; the margin keeps the box itself visible."""
    height, width = picture.shape[:2]
    start = (max(0, box.x - margin_px), max(0, box.y - margin_px))
    end = (
        min(width - 1, box.x + box.width + margin_px),
        min(height - 1, box.y + box.height + margin_px),
    )
    cv2.rectangle(picture, start, end, (0, 0, 0), 3)
    cv2.rectangle(picture, start, end, color, 1)


def small_overlay(
    pixels: NDArray[np.uint8], score_map: ScoreMap | None, *, width: int, height: int
) -> Rgb:
    """Draw a part at ``width`` x ``height`` pixels with its scores over it.

    The picture is averaged, but each small pixel takes the highest score that it covers. So a
    defect of three pixels stays visible however small the picture is.
    """
    small = cv2.resize(to_rgb(pixels), (width, height), interpolation=cv2.INTER_AREA)
    if score_map is None:
        return np.asarray(small, np.uint8)
    full = scores_on_frame(score_map, height=pixels.shape[0], width=pixels.shape[1])
    return overlay(np.asarray(small, np.uint8), _pool_highest(full, width=width, height=height))


def crop(pixels: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """Cut a region out of a picture; the region ends at the picture's edges."""
    top, left = max(0, region.y), max(0, region.x)
    return pixels[top : region.y + region.height, left : region.x + region.width]


def _pool_highest(scores: NDArray[np.float32], *, width: int, height: int) -> NDArray[np.float32]:
    rows = np.linspace(0, scores.shape[0], height, endpoint=False).astype(int)
    columns = np.linspace(0, scores.shape[1], width, endpoint=False).astype(int)
    pooled: NDArray[np.float32] = np.maximum.reduceat(
        np.maximum.reduceat(scores, rows, axis=0), columns, axis=1
    )
    return pooled
