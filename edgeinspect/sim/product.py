"""The product that the simulated line makes: a cover plate with holes, a bore, a slot and marks.

Drawn once per process at four times the picture's resolution. Part coordinates are the frame's
pixels for a part exactly in the middle of the picture without rotation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.part import Region

FRAME_WIDTH_PX = 480
FRAME_HEIGHT_PX = 360
PART_BOX = Region(44, 48, 392, 264)
"""The plate's outline in part coordinates."""
PART_ROI = Region(32, 36, 416, 288)
"""The region to inspect: the plate with 12 px for its position and rotation on the belt."""

_SCALE = 4
_BITS = 4  # fractional bits of cv2's fixed-point coordinates
_CORNER_PX = 16
_HOLES = ((70, 74, 9), (410, 74, 9), (70, 286, 9), (410, 286, 9))
_BORE = (172, 180, 46)
_SLOT = ((300, 232), (376, 232), 10)
_TEXT_TOP_LEFT = (262, 96)
_SERIAL_TOP_LEFT = (262, 120)
_SERIAL_DIGITS = 7
_GLYPH_PX = (9, 14)
_GLYPH_PITCH_PX = 14
_TEXT = "E147-20"

# Strokes on a grid 4 wide and 6 high, origin at the top left.
_STROKES: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {
    "0": (((1, 0), (3, 0), (4, 1), (4, 5), (3, 6), (1, 6), (0, 5), (0, 1), (1, 0)),),
    "1": (((1, 1), (2, 0), (2, 6)), ((1, 6), (3, 6))),
    "2": (((0, 1), (1, 0), (3, 0), (4, 1), (4, 2), (0, 6), (4, 6)),),
    "3": (((0, 0), (4, 0), (2, 2), (4, 4), (4, 5), (3, 6), (1, 6), (0, 5)),),
    "4": (((3, 6), (3, 0), (0, 4), (4, 4)),),
    "5": (((4, 0), (0, 0), (0, 3), (3, 3), (4, 4), (4, 5), (3, 6), (0, 6)),),
    "6": (((4, 0), (2, 0), (0, 3), (0, 5), (1, 6), (3, 6), (4, 5), (4, 4), (3, 3), (0, 3)),),
    "7": (((0, 0), (4, 0), (1, 6)),),
    "8": (
        ((1, 3), (0, 2), (0, 1), (1, 0), (3, 0), (4, 1), (4, 2), (3, 3), (1, 3)),
        ((1, 3), (0, 4), (0, 5), (1, 6), (3, 6), (4, 5), (4, 4), (3, 3)),
    ),
    "9": (((4, 3), (1, 3), (0, 2), (0, 1), (1, 0), (3, 0), (4, 1), (4, 3), (2, 6), (0, 6)),),
    "E": (((4, 0), (0, 0), (0, 6), (4, 6)), ((0, 3), (3, 3))),
    "-": (((1, 3), (3, 3)),),
}


@dataclass(frozen=True, slots=True)
class Template:
    """The plate in part coordinates; arrays are shared and never written.

    Attributes:
        cover: float32 [0, 1], (FRAME_HEIGHT_PX, FRAME_WIDTH_PX): share of the pixel that is part.
        relief: float32 around 1, same shape: brightness of bevels, chamfers and engraving.
        shadow: float32 (0, 1], same shape: share of the light that reaches the belt.
        flat: int32 (n, 2): x, y of places on the open surface, clear of every feature.
        edges: int32 (n, 2): x, y of places on the outline and the bore's rim.
    """

    cover: NDArray[np.float32] = field(repr=False)
    relief: NDArray[np.float32] = field(repr=False)
    shadow: NDArray[np.float32] = field(repr=False)
    flat: NDArray[np.int32] = field(repr=False)
    edges: NDArray[np.int32] = field(repr=False)


@cache
def template() -> Template:
    """Draw the plate (once; about 50 ms)."""
    outline, openings = _solid(), _openings()
    solid = outline & ~openings
    cover = _shrink(solid.astype(np.float32))
    relief = 1.0 + 0.38 * _bevel(solid, width_px=2.2) + 0.20 * _bevel(_bore_land(), width_px=1.6)
    marks = engraving(_TEXT)
    x, y = _TEXT_TOP_LEFT
    relief[y : y + marks.shape[0], x : x + marks.shape[1]] *= marks
    soft = cv2.GaussianBlur(cover, (0, 0), 6)
    shadow = 1.0 - 0.45 * np.roll(soft, (4, 5), axis=(0, 1))
    return Template(
        cover=cover,
        relief=relief.astype(np.float32),
        shadow=shadow.astype(np.float32),
        flat=_flat_places(cover),
        edges=_edge_places(cover),
    )


def serial_place() -> tuple[int, int]:
    """Left and top of the engraved serial number, in part coordinates."""
    return _SERIAL_TOP_LEFT


def serial_relief(number: int) -> NDArray[np.float32]:
    """The serial number's engraving; a factor of brightness, see ``engraving``."""
    return engraving(f"{number % 10**_SERIAL_DIGITS:0{_SERIAL_DIGITS}d}")


def engraving(text: str) -> NDArray[np.float32]:
    """Brightness factors of an engraved line of text: dark strokes with a lit lower edge.

    Returns:
        float32 in (0, 1.3), shape (glyph height + 6, glyph pitch * len(text) + 6).
    """
    height = _GLYPH_PX[1] + 6
    width = _GLYPH_PITCH_PX * len(text) + 6
    canvas = np.zeros((height * _SCALE, width * _SCALE), dtype=np.uint8)
    for index, letter in enumerate(text):
        for stroke in _STROKES[letter]:
            grid = np.array(stroke, dtype=np.float32)
            cell = (_GLYPH_PX[0] / 4, _GLYPH_PX[1] / 6)
            places = grid * cell + (3 + index * _GLYPH_PITCH_PX, 3)
            _polyline(canvas, places, width_px=1.7)
    strokes = _shrink(canvas.astype(np.float32) / 255.0)
    lit = np.roll(strokes, (1, 1), axis=(0, 1))
    factor = 1.0 - 0.42 * strokes + 0.14 * np.clip(lit - strokes, 0, 1)
    return np.asarray(factor, dtype=np.float32)


def _blank() -> NDArray[np.uint8]:
    return np.zeros((FRAME_HEIGHT_PX * _SCALE, FRAME_WIDTH_PX * _SCALE), dtype=np.uint8)


def _fixed(value_px: float) -> int:
    return round(value_px * _SCALE * (1 << _BITS))


def _polyline(canvas: NDArray[np.uint8], places: NDArray[np.float32], *, width_px: float) -> None:
    points = np.rint(places * (_SCALE * (1 << _BITS))).astype(np.int32).reshape(-1, 1, 2)
    thickness = max(1, round(width_px * _SCALE))
    cv2.polylines(canvas, [points], False, 255, thickness, cv2.LINE_AA, _BITS)


def _disc(canvas: NDArray[np.uint8], x: float, y: float, radius: float) -> None:
    cv2.circle(canvas, (_fixed(x), _fixed(y)), _fixed(radius), 255, -1, cv2.LINE_8, _BITS)


def _solid() -> NDArray[np.bool_]:
    """The outline, filled: a rectangle with round corners."""
    canvas = _blank()
    left, top, width, height = PART_BOX
    right, bottom, radius = left + width, top + height, _CORNER_PX
    s = _SCALE
    canvas[top * s : bottom * s, (left + radius) * s : (right - radius) * s] = 255
    canvas[(top + radius) * s : (bottom - radius) * s, left * s : right * s] = 255
    for x in (left + radius, right - radius):
        for y in (top + radius, bottom - radius):
            _disc(canvas, x, y, radius)
    return canvas > 0


def _openings() -> NDArray[np.bool_]:
    canvas = _blank()
    for x, y, radius in (*_HOLES, _BORE):
        _disc(canvas, x, y, radius)
    start, end, radius = _SLOT
    for x, y in (start, end):
        _disc(canvas, x, y, radius)
    s = _SCALE
    canvas[(start[1] - radius) * s : (start[1] + radius) * s, start[0] * s : end[0] * s] = 255
    return canvas > 0


def _bore_land() -> NDArray[np.bool_]:
    """A turned step around the bore and the counterbores of the screw holes."""
    canvas = _blank()
    _disc(canvas, _BORE[0], _BORE[1], _BORE[2] + 16)
    for x, y, radius in _HOLES:
        _disc(canvas, x, y, radius + 6)
    return canvas > 0


def _bevel(solid: NDArray[np.bool_], *, width_px: float) -> NDArray[np.float32]:
    """Light from the upper left on the solid's edges: +1 where they face it, -1 away from it."""
    height = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), width_px * _SCALE / 2)
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3)
    facing = np.asarray(0.6 * slope_x + 0.8 * slope_y)
    return _shrink(facing / np.abs(facing).max())


def _shrink(large: NDArray[np.float32]) -> NDArray[np.float32]:
    size = (large.shape[1] // _SCALE, large.shape[0] // _SCALE)
    return np.asarray(cv2.resize(large, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _flat_places(cover: NDArray[np.float32]) -> NDArray[np.int32]:
    """Pixels of the open surface at least 5 px from an edge and from engraving."""
    open_surface = (cover > 0.99).astype(np.uint8)
    for (x, y), count in (
        (_TEXT_TOP_LEFT, len(_TEXT)),
        (_SERIAL_TOP_LEFT, _SERIAL_DIGITS),
    ):
        open_surface[y : y + _GLYPH_PX[1] + 6, x : x + _GLYPH_PITCH_PX * count + 6] = 0
    distance = cv2.distanceTransform(open_surface, cv2.DIST_L2, 5)
    return _places(np.asarray(distance) >= 5)


def _edge_places(cover: NDArray[np.float32]) -> NDArray[np.int32]:
    """Pixels just inside the outline and the bore's rim."""
    distance = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rim = (np.asarray(distance) > 0) & (np.asarray(distance) <= 2.0)
    y, x = np.mgrid[0:FRAME_HEIGHT_PX, 0:FRAME_WIDTH_PX]
    left, top, width, height = PART_BOX
    outer = (x < left + 6) | (x >= left + width - 6) | (y < top + 6) | (y >= top + height - 6)
    bore = np.hypot(x - _BORE[0], y - _BORE[1]) < _BORE[2] + 4
    return _places(rim & (outer | bore))


def _places(where: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.argwhere(where)[:, ::-1].astype(np.int32)
