"""Pictures of the simulated line: a cover plate on a belt as an industrial camera sees it.

Every picture depends on nothing but its arguments, so a failing seed shows the same parts again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect.part import Region
from edgeinspect.sim.defects import (
    DEFECT_KINDS,
    DefectSpec,
    Stamp,
    draw_defects,
    stamp,
)
from edgeinspect.sim.product import (
    FRAME_HEIGHT_PX,
    FRAME_WIDTH_PX,
    PART_ROI,
    serial_place,
    serial_relief,
    template,
)
from edgeinspect.sim.texture import Surface, belt, crop, sensor_noise, surface

__all__ = [
    "DEFECT_KINDS",
    "FRAME_HEIGHT_PX",
    "FRAME_WIDTH_PX",
    "PART_ROI",
    "DefectSpec",
    "PlantedDefect",
    "RenderedPart",
    "draw_defects",
    "render_empty_belt",
    "render_part",
]

_PART_STREAM = 2
_BELT_STREAM = 3
_POSITION_JITTER_PX = 3.0
_ROTATION_JITTER_RAD = math.radians(1.2)
_SURFACES = tuple(Surface)
_SIZE = (FRAME_WIDTH_PX, FRAME_HEIGHT_PX)


@dataclass(frozen=True, slots=True)
class PlantedDefect:
    """A defect as it is visible in the picture.

    Attributes:
        kind: one of DEFECT_KINDS.
        box: its bounding box in frame pixels.
        size_px: its longest extent in pixels, over sixteen directions.
    """

    kind: str
    box: Region
    size_px: float


@dataclass(frozen=True, slots=True)
class RenderedPart:
    """A rendered picture and its ground truth.

    Attributes:
        pixels: uint8 grey, (FRAME_HEIGHT_PX, FRAME_WIDTH_PX), read-only.
        mask: uint8, same shape, read-only: 0 for sound, else the index in DEFECT_KINDS plus one.
        defects: the visible parts of the drawn defects.
    """

    pixels: NDArray[np.uint8] = field(compare=False, repr=False)
    mask: NDArray[np.uint8] = field(compare=False, repr=False)
    defects: tuple[PlantedDefect, ...]


def render_part(
    *,
    seed: int,
    part_number: int,
    defects: Sequence[DefectSpec] | None = None,
    offset_px: tuple[float, float] = (0.0, 0.0),
) -> RenderedPart:
    """The picture of one part.

    Args:
        seed: not negative; with ``part_number`` it decides surface, position, light and noise.
        part_number: not negative.
        defects: what to plant; None or empty for a good part.
        offset_px: moves the part along x and y in the picture.

    Raises:
        UsageError: seed or part number is negative.
    """
    rng = _generator(seed, part_number, _PART_STREAM)
    angle = float(rng.uniform(-1, 1)) * _ROTATION_JITTER_RAD
    shift = rng.uniform(-1, 1, 2) * _POSITION_JITTER_PX + np.asarray(offset_px, dtype=np.float64)
    place = _placement(angle, shift)
    scene, cover = _lay_part(rng, place, serial=seed * 7919 + part_number)
    mask = np.zeros(scene.shape, dtype=np.uint8)
    planted = []
    for spec in defects or ():
        x, y = place @ (spec.x_px, spec.y_px, 1.0)
        drawn = stamp(spec, x_px=float(x), y_px=float(y), angle_rad=angle)
        visible = _plant(scene, cover, mask, drawn, spec.kind)
        if visible is not None:
            planted.append(visible)
    pixels = _expose(scene, rng)
    mask.flags.writeable = False
    return RenderedPart(pixels, mask, tuple(planted))


def render_empty_belt(seed: int, n: int) -> NDArray[np.uint8]:
    """The ``n``-th picture of the belt with no part on it: uint8 grey, read-only."""
    rng = _generator(seed, n, _BELT_STREAM)
    return _expose(_lay_belt(rng), rng)


def _generator(seed: int, number: int, stream: int) -> np.random.Generator:
    if seed < 0 or number < 0:
        raise UsageError("Seed and part number must not be negative.")
    return np.random.default_rng((seed, number, stream))


def _placement(angle_rad: float, shift_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 2 x 3 matrix from part coordinates to frame pixels: turn about the middle, then move."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    x, y = FRAME_WIDTH_PX / 2, FRAME_HEIGHT_PX / 2
    return np.array(
        [
            [cos, -sin, x - cos * x + sin * y + shift_px[0]],
            [sin, cos, y - sin * x - cos * y + shift_px[1]],
        ]
    )


def _lay_belt(rng: np.random.Generator) -> NDArray[np.float32]:
    weave = crop(belt(), rng, width=FRAME_WIDTH_PX, height=FRAME_HEIGHT_PX)
    return (np.float32(rng.uniform(34, 46)) * (1 + np.float32(0.07) * weave)).astype(np.float32)


def _lay_part(
    rng: np.random.Generator, place: NDArray[np.float64], *, serial: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lit scene before defects, in grey levels, and how much of each pixel is part."""
    drawn = template()
    background = _lay_belt(rng)
    kind = _SURFACES[int(rng.integers(len(_SURFACES)))]
    grain = crop(surface(kind), rng, width=FRAME_WIDTH_PX, height=FRAME_HEIGHT_PX)
    level = np.float32(rng.uniform(112, 150))
    depth = np.float32(rng.uniform(0.022, 0.042))
    plate = drawn.relief * (1 + depth * grain)
    marks = serial_relief(serial)
    x, y = serial_place()
    plate[y : y + marks.shape[0], x : x + marks.shape[1]] *= marks
    plate *= level
    layers = np.dstack([plate, drawn.cover, drawn.shadow])
    warped = cv2.warpAffine(
        layers, place, _SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cover = np.ascontiguousarray(warped[:, :, 1], dtype=np.float32)
    scene = np.asarray(background * warped[:, :, 2], dtype=np.float32)
    scene += (warped[:, :, 0] - scene) * cover
    return scene, cover


def _plant(
    scene: NDArray[np.float32],
    cover: NDArray[np.float32],
    mask: NDArray[np.uint8],
    drawn: Stamp,
    kind: str,
) -> PlantedDefect | None:
    """Change the scene where the part is; None where nothing of the defect is visible."""
    height, width = drawn.gain.shape
    top, left = max(drawn.top, 0), max(drawn.left, 0)
    bottom = min(drawn.top + height, scene.shape[0])
    right = min(drawn.left + width, scene.shape[1])
    if bottom <= top or right <= left:
        return None
    here = np.s_[top:bottom, left:right]
    there = np.s_[top - drawn.top : bottom - drawn.top, left - drawn.left : right - drawn.left]
    scene[here] *= 1 + (drawn.gain[there] - 1) * cover[here]
    inside = drawn.inside[there] & (cover[here] >= 0.5)
    if not inside.any():
        return None
    mask[here][inside] = DEFECT_KINDS.index(kind) + 1
    rows, columns = np.nonzero(inside)
    box = Region(
        left + int(columns.min()),
        top + int(rows.min()),
        int(np.ptp(columns)) + 1,
        int(np.ptp(rows)) + 1,
    )
    return PlantedDefect(kind, box, _longest_extent(rows, columns))


def _longest_extent(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> float:
    """The widest of the projections onto sixteen directions, in pixels, plus one."""
    turns = np.arange(16) * (math.pi / 16)
    along = np.outer(np.cos(turns), columns) + np.outer(np.sin(turns), rows)
    return float(np.ptp(along, axis=1).max()) + 1.0


def _expose(scene: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light, lens and sensor: uneven light, vignetting, a little blur, noise, eight bits."""
    lit = scene * _illumination(rng)
    lit = np.asarray(cv2.GaussianBlur(lit, (3, 3), 0.55), dtype=np.float32)
    noise = crop(sensor_noise(), rng, width=FRAME_WIDTH_PX, height=FRAME_HEIGHT_PX)
    lit += noise * (np.float32(1.2) + np.float32(0.009) * lit)  # read noise, and shot noise
    pixels = np.asarray(np.clip(lit + np.float32(0.5), 0, 255), dtype=np.uint8)
    pixels.flags.writeable = False
    return pixels


def _illumination(rng: np.random.Generator) -> NDArray[np.float32]:
    """Factors around 1: a gradient, a soft hot spot, vignetting and a change between parts."""
    y, x = np.mgrid[-1:1:9j, -1:1:12j]
    slope = rng.uniform(-0.08, 0.08, 2)
    spot = rng.uniform(-0.6, 0.6, 2)
    light = 1 + slope[0] * x + slope[1] * y
    light += 0.08 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 0.5)
    light *= (1 - 0.13 * (x**2 + y**2) / 2) * rng.uniform(0.95, 1.05)
    return np.asarray(cv2.resize(light.astype(np.float32), _SIZE, interpolation=cv2.INTER_CUBIC))
