"""DeepPCB's pairs of circuit board pictures, and what else they could have looked like.

1,500 pairs of binarized pictures, a tested board and its defect-free template, with boxes of six
defect types (tangsanli5201, "DeepPCB", MIT licence). Copper is black.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect_tools.shipped.deeppcb.boxes import Corners
from edgeinspect_tools.shipped.deeppcb.drawn_defects import with_drawn_defect
from edgeinspect_tools.train.samples import Box, Sample

Pixels = NDArray[np.uint8]

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
"""The data set's types 1 to 6."""

BOX_FILL = 0.7
"""Share of each box's sides that the models here are taught."""

HELD_OUT_BOARD = "group77000"
"""The board that validation keeps to itself: most test pairs show boards never trained on."""

_OPPOSITE = np.array([0, 2, 1, 4, 3, 6, 5], np.uint8)
"""What each label becomes where copper and gap change places."""

_DRAWN = 0.7
_NEGATIVE = 0.4
_RESIZED = 0.4
_REDRAWN = 0.3
_SHIFTED = 0.4
_SCALES = (0.8, 1.5)
_SHIFT_PX = 2


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


def train_and_validation(
    root: Path, held_out: str = HELD_OUT_BOARD
) -> tuple[list[Sample], list[Sample]]:
    """The official training pairs, those of one board kept apart for validation.

    Raises:
        UsageError: there is no such board, or no other.
    """
    pairs = read_split(root, "trainval")
    validation = [pair for pair in pairs if pair.group == held_out]
    training = [pair for pair in pairs if pair.group != held_out]
    if not validation or not training:
        boards = ", ".join(sorted({pair.group for pair in pairs}))
        raise UsageError(f"Validation needs the board {held_out}, and others; found {boards}.")
    return training, validation


def true_boxes(sample: Sample) -> list[Corners]:
    """The labelled boxes by their corners."""
    return [
        Corners(box.x, box.y, box.x + box.width, box.y + box.height, box.kind)
        for box in sample.boxes
    ]


def digest_of_split(root: Path) -> str:
    """SHA-256 over the official lists and every label file of the training pairs."""
    digest = hashlib.sha256()
    for name in ("trainval.txt", "test.txt"):
        digest.update((root / name).read_bytes())
    for sample in read_split(root, "trainval"):
        digest.update(repr((sample.path.name, sample.boxes)).encode())
    return digest.hexdigest()


def another_board(
    pixels: Pixels, labels: Pixels, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """The same defects on a board that could have been: each change at times, with its own dice.

    One more defect; the negative, where copper and gap change places and an open becomes a short,
    a mousebite a spur, a pin-hole copper; tracks wider or narrower; a template binarized
    elsewhere, or that lies up to 2 px beside the tested picture.

    Args:
        pixels: (side, side, 2), tested and template.
        labels: (side, side), 0 or class + 1.
    """
    if rng.random() < _DRAWN:
        pixels, labels = with_drawn_defect(pixels, labels, rng, box_fill=BOX_FILL)
    if rng.random() < _NEGATIVE:
        pixels, labels = 255 - pixels, _OPPOSITE[labels]
    if rng.random() < _RESIZED:
        scale = float(np.exp(rng.uniform(*np.log(_SCALES))))
        pixels, labels = _resized(pixels, labels, scale)
    changes: list[Callable[[Pixels, np.random.Generator], Pixels]] = []
    if rng.random() < _REDRAWN:
        changes.append(_redrawn)
    if rng.random() < _SHIFTED:
        changes.append(_shifted)
    if changes:
        template = np.ascontiguousarray(pixels[..., 1])
        for change in changes:
            template = change(template, rng)
        pixels = np.stack([pixels[..., 0], template], axis=2)
    return np.ascontiguousarray(pixels), np.ascontiguousarray(labels)


def drawn_boards(count: int = 2, side_px: int = 320) -> list[Pixels]:
    """Drawn pairs that look like binarized boards, uint8 (side, side, 2); always the same."""
    rng = np.random.default_rng(640)
    boards = []
    for _ in range(count):
        template = np.zeros((side_px, side_px), np.uint8)
        for at in range(20, side_px, 40):
            bend = int(rng.integers(40, side_px - 40))
            track = np.array([(at, 0), (at, bend), (at + 16, bend + 16), (at + 16, side_px)])
            cv2.polylines(template, [track.astype(np.int32)], False, 255, 12)
            cv2.circle(template, (at, int(rng.integers(20, side_px - 20))), 14, 255, -1)
        tested = template.copy()
        for _ in range(8):
            x, y = (int(value) for value in rng.integers(20, side_px - 20, 2))
            cv2.circle(tested, (x, y), int(rng.integers(3, 9)), int(rng.integers(2)) * 255, -1)
        boards.append(np.stack([tested, template], axis=2))
    return boards


def _resized(pixels: Pixels, labels: Pixels, scale: float) -> tuple[Pixels, Pixels]:
    """Around the centre, black and white again; beyond the edges the last pixels repeat."""
    side = pixels.shape[0]
    away = side / 2 * (1 - scale)
    matrix = np.array([[scale, 0, away], [0, scale, away]])
    size, border = (side, side), cv2.BORDER_REPLICATE
    drawn = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    marks = cv2.warpAffine(labels, matrix, size, flags=cv2.INTER_NEAREST, borderMode=border)
    return _binary(np.asarray(drawn, np.float32), 127), np.asarray(marks, np.uint8)


def _redrawn(template: Pixels, rng: np.random.Generator) -> Pixels:
    """Rounder corners, edges up to a pixel further out or in."""
    soft = cv2.GaussianBlur(template, (0, 0), float(rng.uniform(0.6, 1.6)))
    return _binary(np.asarray(soft, np.float32), 127 + float(rng.uniform(-70, 70)))


def _shifted(template: Pixels, rng: np.random.Generator) -> Pixels:
    dx, dy = (float(value) for value in rng.integers(-_SHIFT_PX, _SHIFT_PX + 1, 2))
    moved = cv2.warpAffine(
        template,
        np.array([[1.0, 0, dx], [0, 1, dy]]),
        template.shape[::-1],
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, np.uint8)


def _binary(values: NDArray[np.float32], level: float) -> Pixels:
    return np.asarray((values > level) * np.uint8(255), np.uint8)


def _pair(root: Path, line: str, listed: Path) -> Sample:
    try:
        picture, labels = line.split()
        stem = root / picture
        rows = [row.split() for row in (root / labels).read_text().splitlines() if row.strip()]
        boxes = tuple(_box(*(int(value) for value in row)) for row in rows)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{listed}: the line {line!r} or its label file is not valid.") from error
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
