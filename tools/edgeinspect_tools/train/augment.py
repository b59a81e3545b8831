"""What an inspection camera may see of the same part: turned, moved, under other light, noisier.

All functions take and return uint8 pictures with uint8 labels and draw from the generator given.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_FEATHER_PX = 3


def cut_square(
    pixels: Pixels,
    labels: Pixels,
    centre: tuple[float, float],
    side_px: int,
    rng: np.random.Generator,
    *,
    wobble: float,
) -> tuple[Pixels, Pixels]:
    """A square around ``centre`` (x, y), slightly turned and scaled.

    Beyond the edges the last pixels repeat, as in the station's tiles.

    ``wobble`` 1 turns by up to 8 degrees and scales by up to 10 percent; 0 only cuts.
    """
    angle = float(rng.uniform(-8, 8)) * wobble
    scale = 1.0 + float(rng.uniform(-0.1, 0.1)) * wobble
    if abs(angle) < 1 and wobble > 0:
        angle, scale = 0.0, 1.0  # a share of crops stays as sharp as the camera delivers them
    x, y = float(round(centre[0])), float(round(centre[1]))
    matrix = cv2.getRotationMatrix2D((x, y), angle, scale)
    matrix[0, 2] += side_px / 2 - x
    matrix[1, 2] += side_px / 2 - y
    size = (side_px, side_px)
    picture = cv2.warpAffine(
        pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    marks = cv2.warpAffine(
        labels, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(picture, np.uint8).reshape(side_px, side_px, -1), np.asarray(marks, np.uint8)


def turned(
    pixels: Pixels, labels: Pixels, rng: np.random.Generator, *, grain: bool = False
) -> tuple[Pixels, Pixels]:
    """One of the eight orientations of a square, or of the four that keep its grain upright."""
    quarters, mirrored = int(rng.integers(4)), int(rng.integers(2))
    if grain:
        quarters = quarters // 2 * 2
    orientation = quarters + 4 * mirrored
    return oriented(pixels, orientation), oriented(labels, orientation)


def oriented(pixels: Pixels, orientation: int) -> Pixels:
    """A picture (height, width, ...) turned by ``orientation % 4`` quarters, mirrored from 4 on."""
    pixels = np.rot90(pixels, orientation % 4)
    return np.ascontiguousarray(pixels[:, ::-1] if orientation >= 4 else pixels)


def orientations(*, turns: bool, grain: bool) -> tuple[int, ...]:
    """The orientations that a product may have, as ``oriented`` counts them."""
    if not turns:
        return (0,)
    return (0, 2, 4, 6) if grain else tuple(range(8))


def relit(pixels: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    """Other gain, offset, gamma, a gradient of light, blur and sensor noise."""
    if strength <= 0:
        return pixels
    real = pixels.astype(np.float32) / 255.0
    if rng.random() < 0.15:
        sigma = float(rng.uniform(0.4, 1.0)) * strength
        real = np.asarray(cv2.GaussianBlur(real, (0, 0), sigma), np.float32).reshape(pixels.shape)
    real = np.power(real, np.float32(np.exp(rng.normal(0, 0.15 * strength))))
    real *= np.float32(np.exp(rng.normal(0, 0.12 * strength)))
    real += np.float32(rng.normal(0, 0.04 * strength))
    if rng.random() < 0.5:
        real *= _light(pixels.shape[0], pixels.shape[1], rng, strength)[..., None]
    if rng.random() < 0.5:
        noise = np.float32(rng.uniform(0, 0.02) * strength)
        real += noise * rng.standard_normal(real.shape, np.float32)
    return np.asarray(np.clip(np.rint(real * 255.0), 0, 255), np.uint8)


def pasted(
    pixels: Pixels, labels: Pixels, donor: Pixels, donor_labels: Pixels
) -> tuple[Pixels, Pixels]:
    """The defect of a donor crop pasted into a crop of the same size.

    Where the donor is marked, its difference from its own surroundings is added, with soft
    edges, so that the defect takes on the light of the place.
    """
    marked = donor_labels > 0
    if not marked.any() or marked.mean() > 0.25:
        return pixels, labels
    around = cv2.dilate(marked.view(np.uint8), np.ones((15, 15), np.uint8)).astype(bool) & ~marked
    if not around.any():
        return pixels, labels
    soft = cv2.dilate(marked.view(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
    size = (2 * _FEATHER_PX + 1, 2 * _FEATHER_PX + 1)
    soft = np.asarray(cv2.GaussianBlur(soft, size, 0), np.float32)[..., None]
    level = donor[around].astype(np.float32).mean(axis=0)
    mixed = pixels + soft * (donor.astype(np.float32) - level)
    result = np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)
    return result, np.where(marked, donor_labels, labels)


def _light(
    height: int, width: int, rng: np.random.Generator, strength: float
) -> NDArray[np.float32]:
    """A plane of brightness around 1."""
    slope_x, slope_y = rng.normal(0, 0.15 * strength, 2).astype(np.float32)
    across = np.linspace(-1, 1, width, dtype=np.float32) * slope_x
    down = np.linspace(-1, 1, height, dtype=np.float32) * slope_y
    return np.asarray(np.maximum(1 + across[None, :] + down[:, None], 0.2), np.float32)
