"""Simulated parts for the shipped model, rendered from seeds.

The two seeds never meet: the model learns from one, and is measured with the other.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.files.atomic_file import make_folder, replace_file
from edgeinspect.sim.defects import DEFECT_KINDS, draw_defect
from edgeinspect.sim.renderer import PART_ROI, DefectSpec, RenderedPart, draw_defects, render_part

TRAIN_SEED = 710_001
TEST_SEED = 730_001

_SMALL_PX = 8.0
_SMALL_SHARE = 0.4
"""Pictures with small defects only, which are hard to see."""


def labelled_part(seed: int, part_number: int, *, defective: bool) -> RenderedPart:
    """A part as on the line: good, or with the line's usual defects."""
    defects = draw_defects(seed, part_number, 1.0) if defective else ()
    return render_part(seed=seed, part_number=part_number, defects=defects)


def render_folder(folder: Path, *, good: int, each: int) -> None:
    """Render a data set in the format ``folders``: a folder per class, masks beside the pictures.

    The same arguments give the same files.

    Args:
        good: how many good parts.
        each: how many parts with each kind of defect.

    Raises:
        StorageFault: a file cannot be written.
    """
    for number in range(good):
        part = render_part(seed=TRAIN_SEED, part_number=number)
        _write(folder / "good", number, part)
    for position, kind in enumerate(DEFECT_KINDS, start=1):
        for number in range(each):
            _write(folder / kind, number, _defective_part(kind, position * 1_000_000 + number))


def _defective_part(kind: str, part_number: int) -> RenderedPart:
    """A part with several defects of one kind, so that a picture teaches more."""
    rng = np.random.default_rng((TRAIN_SEED, part_number))
    while True:
        only_small = rng.random() < _SMALL_SHARE
        defects = [_defect(rng, kind, only_small) for _ in range(int(rng.integers(1, 7)))]
        part = render_part(seed=TRAIN_SEED, part_number=part_number, defects=defects)
        if _in_view(part.mask).any():
            return part


def _defect(rng: np.random.Generator, kind: str, only_small: bool) -> DefectSpec:
    defect = draw_defect(rng)
    while defect.kind != kind or (only_small and defect.size_px > _SMALL_PX):
        defect = draw_defect(rng)
    return defect


def _write(folder: Path, number: int, part: RenderedPart) -> None:
    make_folder(folder)
    files = {f"{number:05d}.png": _in_view(part.pixels)}
    if part.defects:
        files[f"{number:05d}_mask.png"] = np.where(_in_view(part.mask) > 0, 255, 0).astype(np.uint8)
    for name, picture in files.items():
        replace_file(folder / name, cv2.imencode(".png", picture)[1].tobytes())


def _in_view(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the station inspects of a frame."""
    rows = slice(PART_ROI.y, PART_ROI.y + PART_ROI.height)
    return picture[rows, PART_ROI.x : PART_ROI.x + PART_ROI.width]
