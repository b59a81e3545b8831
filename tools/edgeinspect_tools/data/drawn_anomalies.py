"""Defects drawn onto pictures of good parts, for makers who have no defective parts yet.

Five kinds, each of any size from a speck to an eighth of the picture: a spot, a scratch, a patch of
another picture, a place out of focus, and a shade. They need not look like real defects: a model
that finds them has learned what the good surface looks like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

PlaneT = TypeVar("PlaneT", bound=np.generic)
Pixels = NDArray[np.uint8]
Weights = NDArray[np.float32]
"""How much of each pixel the defect covers, [0, 1], shape (height, width)."""

SMALLEST_PX = 4
_SIZES = (0.015, 0.125)
"""Of the short side, from and to; small ones are as frequent as large ones on a log scale."""

_VISIBLE_LEVELS = 8
"""A pixel that changed by less belongs to no defect: nobody could see it."""

_LEAST_PIXELS = 6
_TRIES = 20


def draw_anomaly(pixels: Pixels, other: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Draw one defect.

    Args:
        pixels: a picture of a good part, (height, width) or (height, width, 3).
        other: another picture with as many channels, to take a patch from.
        rng: decides everything.

    Returns:
        The picture with the defect, and its mask (height, width): 255 where the picture visibly
        changed, else 0.
    """
    for _ in range(_TRIES):
        kind = _KINDS[int(rng.integers(len(_KINDS)))]
        changed = kind(pixels, other, rng)
        moved = np.abs(changed.astype(np.int16) - pixels)
        mask = moved.reshape(*pixels.shape[:2], -1).max(axis=2) >= _VISIBLE_LEVELS
        if mask.sum() >= _LEAST_PIXELS:
            return changed, np.where(mask, np.uint8(255), np.uint8(0))
    middle = np.zeros(pixels.shape[:2], np.uint8)
    cv2.circle(middle, (pixels.shape[1] // 2, pixels.shape[0] // 2), SMALLEST_PX, 255, -1)
    inverted = pixels ^ np.uint8(0x80)
    return np.where(_like(middle > 0, pixels), inverted, pixels), middle


def _spot(pixels: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    del other
    return _mixed(pixels, _level(pixels, rng), _blob(pixels, rng))


def _scratch(pixels: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    del other
    height, width = pixels.shape[:2]
    length = 3 * _size_px(pixels, rng)
    point = rng.uniform((0, 0), (width, height))
    angle = rng.uniform(0, 2 * np.pi)
    points = [point]
    for _ in range(6):
        angle += rng.normal(0, 0.3)
        point = point + length / 6 * np.array([np.cos(angle), np.sin(angle)])
        points.append(point)
    line = np.zeros((height, width), np.uint8)
    thickness = int(rng.integers(1, max(2, round(min(height, width) / 80)) + 1))
    path = np.array(points).round().astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(line, [path], False, 255, thickness, cv2.LINE_AA)
    return _mixed(pixels, _level(pixels, rng), line.astype(np.float32) / np.float32(255))


def _patch(pixels: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    """A place of the other picture, at another place of this one."""
    scaled = cv2.resize(other, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_AREA)
    height, width = pixels.shape[:2]
    shift = (int(rng.integers(height // 8, height)), int(rng.integers(width // 8, width)))
    moved = np.roll(np.asarray(scaled, np.uint8).reshape(pixels.shape), shift, (0, 1))
    turned = moved[::-1] if rng.integers(2) else moved
    return _mixed(pixels, turned.astype(np.float32), _blob(pixels, rng))


def _blur(pixels: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    del other
    sigma = float(rng.uniform(2, 6))
    blurred = cv2.GaussianBlur(pixels, (0, 0), sigma)
    return _mixed(pixels, np.asarray(blurred, np.float32).reshape(pixels.shape), _blob(pixels, rng))


def _shade(pixels: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    del other
    weights = cv2.GaussianBlur(_blob(pixels, rng), (0, 0), max(1.0, _size_px(pixels, rng) / 4))
    strength = float(rng.uniform(15, 60)) * (1 if rng.integers(2) else -1)
    return _mixed(pixels, pixels.astype(np.float32) + strength, np.asarray(weights, np.float32))


_KINDS: tuple[Callable[[Pixels, Pixels, np.random.Generator], Pixels], ...] = (
    _spot,
    _scratch,
    _patch,
    _blur,
    _shade,
)


def _mixed(pixels: Pixels, drawn: Weights, weights: Weights) -> Pixels:
    mixed = pixels + _like(weights, pixels) * (drawn - pixels)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _level(pixels: Pixels, rng: np.random.Generator) -> Weights:
    """One colour for the whole defect: a shift of the picture's own, dark or bright."""
    strength = float(rng.uniform(0.15, 0.9))
    end = 255.0 if rng.integers(2) else 0.0
    return np.asarray(pixels + strength * (end - pixels.astype(np.float32)), np.float32)


def _blob(pixels: Pixels, rng: np.random.Generator) -> Weights:
    """An irregular, closed shape with a soft edge, somewhere in the picture."""
    height, width = pixels.shape[:2]
    radius = _size_px(pixels, rng) / 2
    centre = rng.uniform((0, 0), (width, height))
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radii = radius * rng.uniform(0.5, 1.3, 12)
    stretch = np.array([rng.uniform(0.5, 1.0), 1.0])
    points = centre + (np.stack([np.cos(angles), np.sin(angles)]) * radii).T * stretch
    shape = np.zeros((height, width), np.uint8)
    cv2.fillPoly(shape, [points.round().astype(np.int32).reshape(-1, 1, 2)], 255, cv2.LINE_AA)
    return shape.astype(np.float32) / np.float32(255)


def _size_px(pixels: Pixels, rng: np.random.Generator) -> float:
    low, high = (share * min(pixels.shape[:2]) for share in _SIZES)
    low, high = max(float(SMALLEST_PX), low), max(2.0 * SMALLEST_PX, high)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _like(plane: NDArray[PlaneT], pixels: Pixels) -> NDArray[PlaneT]:
    """A plane with the number of axes that the picture has."""
    return plane if pixels.ndim == 2 else plane[..., None]
