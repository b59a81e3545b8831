"""Boxes from score maps, and how well they meet the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.scores import CellBox

HIT_IOU = 0.33
"""DeepPCB's rule: a hit is a box of the same class with a larger IoU than this."""

FLOOR = 0.03
_SAME_PLACE_IOU = 0.5
_AS_GOOD = 0.001
_FLOODED = 2


class Found(NamedTuple):
    """A box that a model reports: corners in pixels, right and bottom exclusive."""

    left: float
    top: float
    right: float
    bottom: float
    kind: int
    score: float


class Corners(NamedTuple):
    """A true box: corners in pixels, right and bottom exclusive; and its class."""

    left: float
    top: float
    right: float
    bottom: float
    kind: int


@dataclass(frozen=True, slots=True)
class BoxFigures:
    """Of boxes over a set of pictures.

    Attributes:
        average_precision: per class, area under the precision envelope over recall.
        mean_average_precision: their mean over the classes that occur.
        pooled_average_precision: of all boxes in one ranking, without the envelope, which is
            what the script that comes with DeepPCB prints.
        f_score: of all classes together at ``threshold``.
        f_scores: per class at the same threshold.
        threshold: on the box's score.
    """

    average_precision: tuple[float, ...]
    mean_average_precision: float
    pooled_average_precision: float
    f_score: float
    f_scores: tuple[float, ...]
    threshold: float


def boxes_from_map(
    scores: NDArray[np.float32], *, stride_px: float, box_fill: float, top_k: int = 1
) -> list[Found]:
    """Boxes of the spots that stand out, the strongest first.

    A spot is the connected cells around the highest value of a class that reach half of it. Its
    box is widened around its centre by ``1 / box_fill``, for a model that was taught the middle
    of each box only. Of two classes at the same place the stronger one is kept.

    Args:
        scores: (map height, map width, classes), [0, 1].
        stride_px: pixels per cell.
    """
    found: list[Found] = []
    for index in range(scores.shape[2]):
        left = np.ascontiguousarray(scores[:, :, index], np.float32).copy()
        while (peak := float(left.max())) >= FLOOR:
            row, column = divmod(int(left.argmax()), left.shape[1])
            reached = (left >= peak / 2).astype(np.uint8)
            _, _, _, place = cv2.floodFill(reached, None, (column, row), _FLOODED, flags=8)
            cells = CellBox(*map(int, place))
            score = _mean_of_highest(left, reached, cells, top_k)
            box = _widened(cells, stride_px, box_fill, index, score)
            found.append(box)
            _erase(left, box, stride_px, cells)
    return _strongest(found)


def figures(
    found: Sequence[Sequence[Found]],
    truth: Sequence[Sequence[Corners]],
    *,
    classes: int,
    threshold: float | None = None,
) -> BoxFigures:
    """Average precision and F-score, one entry per picture in both arguments.

    Args:
        threshold: for the F-score; None chooses the best one, which is for validation only.
    """
    scores, right, kinds = _matched(found, truth)
    totals = np.bincount([box.kind for boxes in truth for box in boxes], minlength=classes)
    precisions = tuple(
        _average_precision(scores[kinds == index], right[kinds == index], int(totals[index]))
        for index in range(classes)
    )
    there = [value for value, total in zip(precisions, totals, strict=True) if total]
    limit = _best_threshold(scores, right, int(totals.sum())) if threshold is None else threshold
    kept = scores >= limit
    per_class = tuple(
        _f_score(right[kept & (kinds == index)], int(totals[index])) for index in range(classes)
    )
    return BoxFigures(
        average_precision=precisions,
        mean_average_precision=float(np.mean(there)) if there else 0.0,
        pooled_average_precision=_pooled_precision(right, int(totals.sum())),
        f_score=_f_score(right[kept], int(totals.sum())),
        f_scores=per_class,
        threshold=limit,
    )


def iou(one: Found | Corners, other: Found | Corners) -> float:
    """Intersection over union of two boxes."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(one) + _area(other) - shared)


def _area(box: Found | Corners) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def _mean_of_highest(
    scores: NDArray[np.float32], reached: NDArray[np.uint8], cells: CellBox, top_k: int
) -> float:
    place = (
        slice(cells.y, cells.y + cells.height),
        slice(cells.x, cells.x + cells.width),
    )
    values = np.sort(scores[place][reached[place] == _FLOODED])
    return float(values[-top_k:].sum(dtype=np.float64)) / top_k


def _widened(cells: CellBox, stride_px: float, box_fill: float, index: int, score: float) -> Found:
    x, y, width, height = (value * stride_px for value in cells)
    more_x, more_y = (extent * (1 / box_fill - 1) / 2 for extent in (width, height))
    return Found(x - more_x, y - more_y, x + width + more_x, y + height + more_y, index, score)


def _erase(left: NDArray[np.float32], box: Found, stride_px: float, cells: CellBox) -> None:
    """Nothing more is found in this place: not the spot's faint rim either."""
    x, y, width, height = cells
    top = max(0, min(y, int(box.top // stride_px)))
    first = max(0, min(x, int(box.left // stride_px)))
    bottom = max(y + height, int(-(-box.bottom // stride_px)))
    last = max(x + width, int(-(-box.right // stride_px)))
    left[top:bottom, first:last] = 0


def _strongest(found: list[Found]) -> list[Found]:
    kept: list[Found] = []
    for box in sorted(found, key=lambda box: -box.score):
        if all(iou(box, other) < _SAME_PLACE_IOU for other in kept):
            kept.append(box)
    return kept


def _matched(
    found: Sequence[Sequence[Found]], truth: Sequence[Sequence[Corners]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """All boxes by falling score: score, whether it hits a true box of its own, class."""
    ordered = sorted(
        ((box.score, number, box) for number, boxes in enumerate(found) for box in boxes),
        key=lambda entry: (-entry[0], entry[1]),
    )
    taken: set[tuple[int, int]] = set()
    right = []
    for _, number, box in ordered:
        overlaps = [
            (iou(box, true), position)
            for position, true in enumerate(truth[number])
            if true.kind == box.kind and (number, position) not in taken
        ]
        best = max(overlaps, default=(0.0, -1))
        right.append(best[0] > HIT_IOU)
        if best[0] > HIT_IOU:
            taken.add((number, best[1]))
    return (
        np.array([score for score, _, _ in ordered], np.float64),
        np.array(right, np.bool_),
        np.array([box.kind for _, _, box in ordered], np.int64),
    )


def _average_precision(scores: NDArray[np.float64], right: NDArray[np.bool_], total: int) -> float:
    """Area under the precision envelope (PASCAL VOC 2010 and later, every point)."""
    if total == 0 or scores.size == 0:
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, right.size + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * right).sum() / total)


def _pooled_precision(right: NDArray[np.bool_], total: int) -> float:
    precision = np.cumsum(right) / np.arange(1, right.size + 1)
    return float(precision[right].sum()) / max(1, total)


def _f_score(right: NDArray[np.bool_], total: int) -> float:
    return 2 * float(right.sum()) / max(1, right.size + total)


def _best_threshold(scores: NDArray[np.float64], right: NDArray[np.bool_], total: int) -> float:
    """The middle of the thresholds around the best one that are as good within 0.001."""
    if scores.size == 0:
        return 0.5
    f_scores = 2 * np.cumsum(right) / (np.arange(1, right.size + 1) + total)
    best = int(f_scores.argmax())
    worse = np.flatnonzero(f_scores < f_scores[best] - _AS_GOOD)
    first = int(worse[worse < best].max(initial=-1)) + 1
    last = int(worse[worse > best].min(initial=f_scores.size)) - 1
    below = float(scores[last + 1]) if last + 1 < scores.size else 0.0
    return (float(scores[first]) + below) / 2
