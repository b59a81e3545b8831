"""DeepPCB: its pictures, its official split and its figures.

1,500 pairs of binarized circuit board pictures, a tested one and its defect-free template, with
boxes of six defect types (tangsanli5201, "DeepPCB", MIT licence).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect_tools.train.boxes import BoxFigures, Corners, Found, boxes_from_map, figures
from edgeinspect_tools.train.samples import Box, Sample

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
BOX_FILL = 0.7
"""Share of each box's sides that the models here are taught."""

_VALIDATION_EVERY = 10

ScoreMapOf = Callable[[Sample], tuple[NDArray[np.float32], float]]
"""Score map (h, w, six classes) in [0, 1] of a picture, and its pixels per cell."""


def read_split(root: Path, name: str) -> list[Sample]:
    """The pairs of ``trainval`` or ``test``, in the list's order.

    Raises:
        UsageError: the list or a label file is missing or malformed; pictures are not opened.
    """
    listed = root / f"{name}.txt"
    try:
        lines = listed.read_text().splitlines()
    except OSError as error:
        raise UsageError(f"{listed} cannot be read: {error.strerror or error}.") from error
    return [_pair(root, line, listed) for line in lines if line.strip()]


def train_and_validation(root: Path) -> tuple[list[Sample], list[Sample]]:
    """The official training pairs, every tenth of them kept apart for validation."""
    pairs = read_split(root, "trainval")
    validation = pairs[::_VALIDATION_EVERY]
    return [pair for n, pair in enumerate(pairs) if n % _VALIDATION_EVERY], validation


def evaluate_deeppcb(
    score_map_of: ScoreMapOf,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    box_fill: float = BOX_FILL,
) -> BoxFigures:
    """mAP and F-score at IoU 0.33 as the data set's authors define them.

    Args:
        threshold: on the box's score, chosen on validation; None chooses it on these samples.
    """
    found: list[list[Found]] = []
    for sample in samples:
        scores, stride_px = score_map_of(sample)
        found.append(boxes_from_map(scores, stride_px=stride_px, box_fill=box_fill))
    truth = [true_boxes(sample) for sample in samples]
    return figures(found, truth, classes=len(CLASSES), threshold=threshold)


def true_boxes(sample: Sample) -> list[Corners]:
    """The labelled boxes by their corners."""
    return [
        Corners(box.x, box.y, box.x + box.width, box.y + box.height, box.kind)
        for box in sample.boxes
    ]


def _pair(root: Path, line: str, listed: Path) -> Sample:
    try:
        picture, labels = line.split()
        stem = root / picture
        rows = [row.split() for row in (root / labels).read_text().splitlines() if row.strip()]
        boxes = tuple(_box(*(int(value) for value in row)) for row in rows)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{listed}: the line {line!r} or its label file is wrong.") from error
    tested = stem.with_name(f"{stem.stem}_test{stem.suffix}")
    return Sample(
        path=tested,
        index=boxes[0].kind if boxes else None,
        boxes=boxes,
        reference=stem.with_name(f"{stem.stem}_temp{stem.suffix}"),
        group=picture.split("/")[0],
    )


def _box(left: int, top: int, right: int, bottom: int, kind: int) -> Box:
    if not 1 <= kind <= len(CLASSES) or right <= left or bottom <= top:
        raise ValueError("not a box of one of the six types")
    return Box(left, top, right - left, bottom - top, kind - 1)
