"""Tiles with targets for the shipped model, rendered on the fly from seeds.

The three ranges of seeds never meet: what the model is trained on, what chooses its thresholds,
and what it is measured with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.sim.defects import DEFECT_KINDS, draw_defect
from edgeinspect.sim.renderer import PART_ROI, DefectSpec, RenderedPart, draw_defects, render_part

TRAIN_SEED = 710_001
VALIDATION_SEED = 720_001
TEST_SEED = 730_001

TILE_PX = 160
OVERLAP_PX = 32
STRIDE_PX = 4
CELLS = TILE_PX // STRIDE_PX
MEAN, STD = 128.0, 128.0
"""real = (pixel - 128) / 128: with a scale of 1/128 the int8 input is the pixel minus 128."""

CROP_PX = 96
"""Side of a training crop: a little more than an output sees, so that no work is wasted on
sound surface; the network is fully convolutional and inspects larger tiles."""

CROPS_PER_PICTURE = 6
_AT_DEFECTS = 3
_SMALL_PX = 8.0


class TileBatch(NamedTuple):
    """Attributes:
    pixels: uint8 (n, CROP_PX, CROP_PX, 1).
    targets: uint8 (n, cells, cells, classes), 1 where the cell touches a defect of the class.
    weights: float32, same shape: how much the cell counts in the loss.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.uint8]
    weights: NDArray[np.float32]


def tile_batches(*, first_part: int, pictures: int) -> Iterator[TileBatch]:
    """Endless batches of ``pictures * CROPS_PER_PICTURE`` crops; the same for equal arguments."""
    number = first_part
    while True:
        crops = [crop for n in range(number, number + pictures) for crop in _training_crops(n)]
        number += pictures
        yield TileBatch(*(np.stack(parts) for parts in zip(*crops, strict=True)))


def labelled_part(seed: int, part_number: int, *, defective: bool) -> RenderedPart:
    """A part of the validation or test range, good or with the line's usual defects."""
    defects = draw_defects(seed, part_number, 1.0) if defective else ()
    return render_part(seed=seed, part_number=part_number, defects=defects)


def targets_and_weights(
    mask: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Targets per cell for a mask whose sides are multiples of STRIDE_PX.

    A small defect's cells count up to eight times, for it has few. Sound cells that touch a
    defect do not count at all: where exactly a defect ends does not matter. On a defect the
    other classes count little: a 3 px scratch and a 3 px crack look the same, and both scores
    may rise.

    Returns:
        targets uint8 and weights float32, both (height / stride, width / stride, classes).
    """
    height, width = mask.shape[0] // STRIDE_PX, mask.shape[1] // STRIDE_PX
    cells = mask.reshape(height, STRIDE_PX, width, STRIDE_PX)
    kinds = np.arange(1, len(DEFECT_KINDS) + 1, dtype=np.uint8)
    targets = (cells[..., None] == kinds).any(axis=(1, 3)).astype(np.uint8)
    anything = targets.any(axis=2).astype(np.uint8)
    near = cv2.dilate(anything, np.ones((3, 3), np.uint8))
    weights = np.ones(targets.shape, dtype=np.float32)
    weights[near > 0] = 0.0
    weights[anything > 0] = 0.25
    importance = _importance(mask).reshape(height, STRIDE_PX, width, STRIDE_PX).max(axis=(1, 3))
    return targets, np.where(targets > 0, importance[..., None], weights)


def _importance(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """1 to 8 per pixel of a defect, the more the smaller it is; 0 elsewhere."""
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.float32)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
    by_label = np.zeros(count, dtype=np.float32)
    by_label[1:] = np.clip(np.sqrt(400.0 / stats[1:, cv2.CC_STAT_AREA]), 1.0, 8.0)
    return np.asarray(by_label[labels], dtype=np.float32)


def _training_crops(part_number: int) -> list[tuple[NDArray[np.generic], ...]]:
    rng = np.random.default_rng((TRAIN_SEED, part_number))
    part = _training_part(rng, part_number)
    pixels = _augment(rng, part.pixels)
    crops: list[tuple[NDArray[np.generic], ...]] = []
    for left, top in _corners(rng, part):
        here = np.s_[top : top + CROP_PX, left : left + CROP_PX]
        targets, weights = targets_and_weights(np.ascontiguousarray(part.mask[here]))
        crops.append((pixels[here][:, :, None], targets, weights))
    return crops


def _training_part(rng: np.random.Generator, part_number: int) -> RenderedPart:
    """Three parts in four carry several defects, so that a picture teaches more."""
    defects: list[DefectSpec] = []
    if rng.random() < 0.75:
        defects = [_training_defect(rng) for _ in range(int(rng.integers(2, 8)))]
    offset = (float(rng.uniform(-3, 3)), float(rng.uniform(-3, 3)))
    return render_part(seed=TRAIN_SEED, part_number=part_number, defects=defects, offset_px=offset)


def _training_defect(rng: np.random.Generator) -> DefectSpec:
    """As on the line, but two in five are the small ones that are hard to see."""
    defect = draw_defect(rng)
    only_small = rng.random() < 0.4
    while only_small and defect.size_px > _SMALL_PX:
        defect = draw_defect(rng)
    return defect


def _augment(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Another exposure and, at times, more noise than the simulated camera has."""
    real = pixels.astype(np.float32) * np.float32(rng.uniform(0.88, 1.12))
    if rng.random() < 0.3:
        sigma = np.float32(rng.uniform(0.5, 2.0))
        real += sigma * rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.asarray(np.clip(real, 0, 255), dtype=np.uint8)


def _corners(rng: np.random.Generator, part: RenderedPart) -> list[tuple[int, int]]:
    """Upper left corners of crops inside PART_ROI: some around defects, the others anywhere."""
    low = np.array([PART_ROI.x, PART_ROI.y])
    high = low + np.array([PART_ROI.width - CROP_PX, PART_ROI.height - CROP_PX])
    corners = rng.integers(low, high, size=(CROPS_PER_PICTURE, 2), endpoint=True)
    if part.defects:
        for index in range(_AT_DEFECTS):
            box = part.defects[int(rng.integers(len(part.defects)))].box
            middle = np.array([box.x + box.width // 2, box.y + box.height // 2])
            corners[index] = np.clip(middle - rng.integers(8, CROP_PX - 8, size=2), low, high)
    return [(int(x), int(y)) for x, y in corners]
