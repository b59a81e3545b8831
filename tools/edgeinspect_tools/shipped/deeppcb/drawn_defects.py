"""Defects drawn onto a sound place of a circuit board, named by their effect on the copper.

Taking copper away is an open where it cuts a track in two, a mousebite at an edge, else a pin-hole;
adding it is a short where it joins two tracks, a spur where it touches one, else loose copper.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Region = NDArray[np.bool_]

OPEN, SHORT, MOUSEBITE, SPUR, COPPER, PIN_HOLE = range(6)

_TRIES = 6
_KEPT = {PIN_HOLE: 0.3, COPPER: 0.3, MOUSEBITE: 0.12, SPUR: 0.12}
"""Share kept of the kinds that nearly every stroke would be."""

_SMALLEST_PX = 25
_LARGEST_SIDE_PX = 72
_AROUND_PX = 14
_PIECE_PX = 20
_BOX_MARGIN_PX = 10
_NEAR_AN_EDGE = 0.75


def with_drawn_defect(
    pixels: Pixels, labels: Pixels, rng: np.random.Generator, *, box_fill: float
) -> tuple[Pixels, Pixels]:
    """The pair with one more defect on the tested picture, or as it was where none would fit.

    Args:
        pixels: (side, side, 2), tested and template, copper dark.
        labels: (side, side), 0 or class + 1.
        box_fill: share of its box's sides that a defect is labelled on; the box lies 10 px
            around the defect, as DeepPCB's do.
    """
    copper = pixels[..., 0] < 128
    for _ in range(_TRIES):
        added = bool(rng.integers(2))
        change = _largest(_stroke(copper, rng) & (copper != added))
        if change is None:
            continue
        box = cv2.boundingRect(change.view(np.uint8))
        if not _is_sound(pixels, labels, box):
            continue
        kind = named(copper, change)
        if kind is None or rng.random() >= _KEPT.get(kind, 1.0):
            continue
        pixels, labels = pixels.copy(), labels.copy()
        pixels[change, 0] = 0 if added else 255
        labels[_labelled(box, box_fill)] = kind + 1
        break
    return pixels, labels


def named(copper: Region, change: Region) -> int | None:
    """The kind of defect that a connected change of copper makes; None where that is unclear.

    It is clear where a change wider by one pixel would have the same name, and something of the
    copper is left.
    """
    x, y, width, height = cv2.boundingRect(change.view(np.uint8))
    rows = slice(max(0, y - _AROUND_PX), y + height + _AROUND_PX)
    columns = slice(max(0, x - _AROUND_PX), x + width + _AROUND_PX)
    copper, change = copper[rows, columns], change[rows, columns]
    erased = bool(copper[change].any())
    kind = _taken(copper, change) if erased else _added(copper, change)
    wider = _grown(change) & (copper if erased else ~copper)
    other = _taken(copper, wider) if erased else _added(copper, wider)
    return kind if kind == other else None


def _taken(copper: Region, change: Region) -> int | None:
    rest = _pieces(copper & ~change, _grown(change))
    if rest == 0:
        return None
    if rest > 1:
        return OPEN
    return MOUSEBITE if (_grown(change) & ~copper).any() else PIN_HOLE


def _added(copper: Region, change: Region) -> int:
    touched = _pieces(copper, _grown(change))
    return (COPPER, SPUR, SHORT)[min(touched, 2)]


def _pieces(solid: Region, near: Region) -> int:
    """How many connected pieces reach into ``near``, specks not counted."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(solid.view(np.uint8), connectivity=4)
    reached = np.unique(regions[near & solid])
    return sum(int(stats[index, cv2.CC_STAT_AREA]) >= _PIECE_PX for index in reached)


def _stroke(copper: Region, rng: np.random.Generator) -> Region:
    """A crooked line or a spot, often at an edge of the copper."""
    side = copper.shape[0]
    start = rng.uniform(0, side, 2)
    if rng.random() < _NEAR_AN_EDGE:
        rows, columns = np.nonzero(copper[:, 1:] != copper[:, :-1])
        if rows.size:
            chosen = int(rng.integers(rows.size))
            start = np.array([columns[chosen], rows[chosen]], np.float64)
    drawn = np.zeros(copper.shape, np.uint8)
    angle = float(rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.3:
        axes = (int(rng.integers(3, 11)), int(rng.integers(3, 8)))
        at = (round(float(start[0])), round(float(start[1])))
        cv2.ellipse(drawn, at, axes, float(np.degrees(angle)), 0, 360, 255, -1)
        return drawn > 0
    length, bends = float(np.exp(rng.uniform(np.log(8), np.log(64)))), int(rng.integers(2, 6))
    along = (np.linspace(0, 1, bends)[:, None] - float(rng.uniform(0.1, 0.5))) * length
    across = rng.uniform(-0.12, 0.12, (bends, 1)) * length
    way = np.array([np.cos(angle), np.sin(angle)])
    points = start + along * way + across * np.array([-way[1], way[0]])
    line = [points.round().astype(np.int32).reshape(-1, 1, 2)]
    cv2.polylines(drawn, line, False, 255, int(rng.integers(2, 8)))
    return drawn > 0


def _largest(change: Region) -> Region | None:
    count, regions, stats, _ = cv2.connectedComponentsWithStats(change.view(np.uint8))
    if count < 2:
        return None
    index = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return regions == index if stats[index, cv2.CC_STAT_AREA] >= _SMALLEST_PX else None


def _is_sound(pixels: Pixels, labels: Pixels, box: Sequence[int]) -> bool:
    """Whether the defect lies whole inside, with no other one near."""
    x, y, width, height = box
    side, apart = labels.shape[0], _BOX_MARGIN_PX
    if min(x, y) < apart or max(x + width, y + height) > side - apart:
        return False
    if max(width, height) > _LARGEST_SIDE_PX:
        return False
    near = (slice(y - apart, y + height + apart), slice(x - apart, x + width + apart))
    differing = (pixels[near][..., 0] < 128) != (pixels[near][..., 1] < 128)
    inner = cv2.erode(differing.view(np.uint8), np.ones((3, 3), np.uint8))
    return not labels[near].any() and not inner.any()


def _labelled(box: Sequence[int], box_fill: float) -> tuple[slice, slice]:
    x, y, width, height = box
    less_x = (width + 2 * _BOX_MARGIN_PX) * (1 - box_fill) / 2 - _BOX_MARGIN_PX
    less_y = (height + 2 * _BOX_MARGIN_PX) * (1 - box_fill) / 2 - _BOX_MARGIN_PX
    return (
        slice(round(y + less_y), round(y + height - less_y)),
        slice(round(x + less_x), round(x + width - less_x)),
    )


def _grown(region: Region) -> Region:
    return cv2.dilate(region.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
