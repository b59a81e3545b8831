"""A data set of good pictures alone becomes one that can be learned from, with drawn defects."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.files.atomic_file import make_folder, replace_file
from edgeinspect.hw.picture_file import read_picture
from edgeinspect_tools.data.dataset import Dataset, Item, Split
from edgeinspect_tools.data.drawn_anomalies import draw_anomaly
from edgeinspect_tools.data.pick import evenly

ANOMALY = "anomaly"
"""The one defect class of a model that learned from good pictures alone."""

MAX_DRAWN = 600


def with_drawn_defects(dataset: Dataset, folder: Path, *, seed: int) -> Dataset:
    """Add a copy with one drawn defect for each good picture, at most 600 of them.

    A copy stays in its picture's group and split. Real defective pictures are not learned from:
    they all become test pictures of the class ``anomaly``, and then no copy is tested on, so that
    escapes are those of real defects.

    Args:
        dataset: with good pictures at least.
        folder: gets the copies (``drawn/``) and their masks (``drawn-masks/``).
        seed: the same seed and pictures give the same defects.

    Raises:
        CameraFault: a picture cannot be read.
        StorageFault: a copy cannot be written.
    """
    kept = _tested_where_defective(dataset)
    good = [item for item in kept if item.is_good]
    is_real = len(good) < len(kept)
    drawn_folder, masks_folder = folder / "drawn", folder / "drawn-masks"
    for each in (drawn_folder, masks_folder):
        make_folder(each)
    chosen = [item for item in good if not (is_real and item.split is Split.TEST)]
    drawn = []
    for number, item in enumerate(evenly(chosen, MAX_DRAWN)):
        rng = np.random.default_rng((seed, number))
        pixels = read_picture(item.path)
        other = read_picture(good[int(rng.integers(len(good)))].path)
        changed, mask = draw_anomaly(pixels, _with_channels_of(other, pixels), rng)
        name = f"{number:05d}.png"
        drawn.append(
            replace(
                item,
                path=drawn_folder / name,
                sha256=_written(drawn_folder / name, changed),
                label=ANOMALY,
                drawn=True,
                mask=masks_folder / name,
                mask_sha256=_written(masks_folder / name, mask),
            )
        )
    return replace(dataset, items=(*kept, *drawn))


def _tested_where_defective(dataset: Dataset) -> list[Item]:
    """The data set's pictures; a group with a real defect is in the test split, as one class."""
    groups = {item.group for item in dataset.items if not item.is_good}

    def tested(item: Item) -> Item:
        if item.group not in groups:
            return item
        boxes = tuple(replace(box, label=ANOMALY) for box in item.boxes)
        label = item.label if item.is_good else ANOMALY
        return replace(item, split=Split.TEST, label=label, boxes=boxes)

    return [tested(item) for item in dataset.items]


def _with_channels_of(other: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if other.ndim == pixels.ndim:
        return other
    code = cv2.COLOR_GRAY2RGB if pixels.ndim == 3 else cv2.COLOR_RGB2GRAY
    return np.asarray(cv2.cvtColor(other, code), np.uint8)


def _written(path: Path, pixels: NDArray[np.uint8]) -> str:
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    content = cv2.imencode(".png", stored)[1].tobytes()
    replace_file(path, content)
    return hashlib.sha256(content).hexdigest()
