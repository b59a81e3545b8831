"""The simulated line's defects: which parts have one, and what each looks like.

A defect is drawn at four times the picture's resolution in a small patch and multiplies the
brightness of the surface beneath it, so light, texture and noise stay those of the part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect.sim.product import template

DEFECT_KINDS = ("scratch", "pit", "crack", "stain", "chip")
"""In the order of the shipped model's classes; a mask holds the index here plus one."""

_SCALE = 4
_BITS = 4
_MARGIN_PX = 5
_DEFECT_STREAM = 1
_MASK_ALPHA = 0.45

# Shortest and longest extent in pixels, weakest and strongest change of brightness.
_RANGES: dict[str, tuple[float, float, float, float]] = {
    "scratch": (3.0, 60.0, 0.32, 0.60),
    "pit": (2.0, 24.0, 0.38, 0.65),
    "crack": (3.0, 60.0, 0.40, 0.65),
    "stain": (4.0, 50.0, 0.24, 0.40),
    "chip": (2.5, 28.0, 0.58, 0.80),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectSpec:
    """A defect to draw.

    Attributes:
        kind: one of DEFECT_KINDS.
        x_px, y_px: its middle in part coordinates (see ``edgeinspect.sim.product``).
        size_px: approximate longest extent; the visible size is measured after drawing.
        angle_rad: direction of its long axis.
        contrast: relative change of the surface's brightness, (0, 1).
        shape_seed: chooses among the shapes of its kind.
    """

    kind: str
    x_px: float
    y_px: float
    size_px: float
    angle_rad: float
    contrast: float
    shape_seed: int

    def __post_init__(self) -> None:
        if self.kind not in DEFECT_KINDS:
            raise UsageError(f"Defect kind {self.kind!r} is not one of {', '.join(DEFECT_KINDS)}.")
        if not 1.0 <= self.size_px <= 120.0:
            raise UsageError(f"Defect size {self.size_px} px is outside 1 to 120 px.")
        if not 0.0 < self.contrast < 1.0:
            raise UsageError(f"Defect contrast {self.contrast} is outside 0 to 1.")


class Stamp(NamedTuple):
    """A defect's picture: brightness factors and its mask, both (height, width), and its place.

    ``left`` and ``top`` are frame pixels and may be outside the frame.
    """

    gain: NDArray[np.float32]
    inside: NDArray[np.bool_]
    left: int
    top: int


def draw_defects(
    seed: int, part_number: int, defect_rate: float, *, min_size_px: float = 2.0
) -> tuple[DefectSpec, ...]:
    """The defects of one part: none for a good part, one to three for a defective one.

    Depends on nothing but its arguments.

    Args:
        seed: not negative.
        part_number: not negative.
        defect_rate: share of defective parts, [0, 1].
        min_size_px: no defect is drawn shorter than this.

    Raises:
        UsageError: an argument is out of range.
    """
    if seed < 0 or part_number < 0:
        raise UsageError("Seed and part number must not be negative.")
    if not 0.0 <= defect_rate <= 1.0:
        raise UsageError(f"Defect rate {defect_rate} is outside 0 to 1.")
    rng = np.random.default_rng((seed, part_number, _DEFECT_STREAM))
    if rng.random() >= defect_rate:
        return ()
    count = int(rng.choice((1, 2, 3), p=(0.8, 0.15, 0.05)))
    return tuple(draw_defect(rng, min_size_px=min_size_px) for _ in range(count))


def draw_defect(rng: np.random.Generator, *, min_size_px: float = 2.0) -> DefectSpec:
    """One defect of any kind, its size spread evenly over the logarithm of its range."""
    kind = DEFECT_KINDS[int(rng.integers(len(DEFECT_KINDS)))]
    shortest, longest, weakest, strongest = _RANGES[kind]
    shortest = min(max(shortest, min_size_px), longest)
    size = math.exp(rng.uniform(math.log(shortest), math.log(longest)))
    places = template().edges if kind == "chip" else template().flat
    x, y = places[int(rng.integers(len(places)))]
    return DefectSpec(
        kind=kind,
        x_px=float(x) + float(rng.uniform(-0.5, 0.5)),
        y_px=float(y) + float(rng.uniform(-0.5, 0.5)),
        size_px=size,
        angle_rad=float(rng.uniform(0, math.pi)),
        contrast=float(rng.uniform(weakest, strongest)),
        shape_seed=int(rng.integers(2**31)),
    )


def stamp(spec: DefectSpec, *, x_px: float, y_px: float, angle_rad: float) -> Stamp:
    """Draw ``spec`` with its middle at a place of the frame, turned by a further angle."""
    half = math.ceil(spec.size_px / 2) + _MARGIN_PX
    left, top = math.floor(x_px) - half, math.floor(y_px) - half
    side = 2 * half + 1
    # Pixel (i, j) covers i - 0.5 to i + 0.5, so its middle is half a pixel into the patch's cell.
    middle = (x_px - left + 0.5, y_px - top + 0.5)
    brush = _Brush(
        rng=np.random.default_rng(spec.shape_seed),
        spec=spec,
        angle=spec.angle_rad + angle_rad,
        middle=middle,
        canvas=np.zeros((side * _SCALE, side * _SCALE), dtype=np.uint8),
    )
    gain, alpha = _PAINTERS[spec.kind](brush)
    return Stamp(gain, alpha >= _MASK_ALPHA, left, top)


class _Brush(NamedTuple):
    rng: np.random.Generator
    spec: DefectSpec
    angle: float
    middle: tuple[float, float]
    canvas: NDArray[np.uint8]

    def place(self, along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn and move points given along and across the defect's axis, in pixels."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x = self.middle[0] + along * cos - across * sin
        y = self.middle[1] + along * sin + across * cos
        return np.stack([x, y], axis=-1)

    def line(self, points: NDArray[np.float64], width_px: float) -> None:
        thickness = max(1, round(width_px * _SCALE))
        cv2.polylines(self.canvas, [_fixed(points)], False, 255, thickness, cv2.LINE_AA, _BITS)

    def fill(self, points: NDArray[np.float64]) -> None:
        cv2.fillPoly(self.canvas, [_fixed(points)], 255, cv2.LINE_AA, _BITS)

    def alpha(self) -> NDArray[np.float32]:
        """The canvas at the picture's resolution, float32 [0, 1]."""
        side = self.canvas.shape[0] // _SCALE
        small = cv2.resize(self.canvas, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(small, dtype=np.float32) / np.float32(255)


_Painted = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Brightness factors and coverage, both (side, side)."""


def _scratch(brush: _Brush) -> _Painted:
    """A thin, slightly bent groove that either glints or stays dark."""
    rng, size = brush.rng, brush.spec.size_px
    width = min(float(rng.uniform(1.1, 2.0)), size)
    along = np.linspace(-0.5, 0.5, 13) * (size - width)
    bow = float(rng.uniform(-0.12, 0.12)) * size
    points = brush.place(along, bow * (1 - (2 * np.linspace(-0.5, 0.5, 13)) ** 2))
    brush.line(points, width * 0.8)
    brush.line(points[2:-2], width)
    alpha = brush.alpha()
    sign = 1.0 if rng.random() < 0.6 else -1.0
    return _factor(1 + sign * brush.spec.contrast * alpha), alpha


def _pit(brush: _Brush) -> _Painted:
    """A dark hollow; a larger one has a lit far wall."""
    size = brush.spec.size_px
    brush.fill(_blob(brush, size=size, aspect=float(brush.rng.uniform(0.65, 1.0)), rough=0.10))
    alpha = brush.alpha()
    gain = 1 - brush.spec.contrast * alpha
    if size > 5:
        lit = np.clip(alpha - np.roll(alpha, (-1, -1), axis=(0, 1)), 0, 1)
        gain = gain + 0.5 * brush.spec.contrast * lit
    return _factor(gain), alpha


def _crack(brush: _Brush) -> _Painted:
    """A jagged dark line, sometimes forked."""
    rng, size = brush.rng, brush.spec.size_px
    count = max(3, int(size / 4))
    along = np.linspace(-0.5, 0.5, count) * (size - 1)
    steps = rng.uniform(-1, 1, count).cumsum()
    across = (steps - np.linspace(steps[0], steps[-1], count)) * min(1.6, size / 8)
    width = min(float(rng.uniform(1.0, 1.7)), size / 2)
    points = brush.place(along, across)
    brush.line(points, width)
    if size > 18:
        fork = int(rng.integers(1, count - 1))
        reach = float(rng.uniform(0.1, 0.25)) * size
        tip = brush.place(
            np.array([np.clip(along[fork] + reach, -size / 2, size / 2)]),
            np.array([across[fork] + reach * (1 if rng.random() < 0.5 else -1)]),
        )
        brush.line(np.concatenate([points[fork : fork + 1], tip]), width * 0.8)
    alpha = brush.alpha()
    return _factor(1 - brush.spec.contrast * alpha), alpha


def _stain(brush: _Brush) -> _Painted:
    """A patch of oil or discolouration: low contrast, soft and ragged outline."""
    size = brush.spec.size_px
    brush.fill(_blob(brush, size=size, aspect=float(brush.rng.uniform(0.5, 1.0)), rough=0.22))
    alpha = brush.alpha()
    soft = min(0.06 * size, 2.0)
    if soft > 0.3:
        alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), soft), dtype=np.float32)
    cloud = brush.rng.uniform(0.85, 1.1, (4, 4)).astype(np.float32)
    cloudy = np.asarray(cv2.resize(cloud, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR))
    sign = -1.0 if brush.rng.random() < 0.8 else 1.0
    return _factor(1 + sign * brush.spec.contrast * alpha * cloudy), alpha


def _chip(brush: _Brush) -> _Painted:
    """Material broken from an edge: a dark bite with a few bright facets."""
    size = brush.spec.size_px
    brush.fill(_blob(brush, size=size, aspect=float(brush.rng.uniform(0.7, 1.0)), rough=0.18))
    alpha = brush.alpha()
    facets = brush.rng.uniform(0.70, 1.1, (5, 5)).astype(np.float32)
    rough = np.asarray(cv2.resize(facets, alpha.shape[::-1], interpolation=cv2.INTER_NEAREST))
    return _factor(1 - brush.spec.contrast * alpha * np.minimum(rough, 1)), alpha


_PAINTERS: dict[str, Callable[[_Brush], _Painted]] = {
    "scratch": _scratch,
    "pit": _pit,
    "crack": _crack,
    "stain": _stain,
    "chip": _chip,
}


def _blob(brush: _Brush, *, size: float, aspect: float, rough: float) -> NDArray[np.float64]:
    """Corners of an irregular ellipse whose long axis measures ``size``."""
    turn = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    radius = np.ones_like(turn)
    for harmonic in (2, 3, 5):
        phase = brush.rng.uniform(0, 2 * math.pi)
        radius += rough * brush.rng.uniform(0.2, 1.0) / harmonic * np.sin(harmonic * turn + phase)
    along = radius * np.cos(turn)
    along *= size / np.ptp(along)
    return brush.place(along, radius * np.sin(turn) * (size / 2 * aspect))


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    # cv2's fixed point puts integer coordinates on the middle of a canvas cell.
    scaled = (points * _SCALE - 0.5) * (1 << _BITS)
    return np.rint(scaled).astype(np.int32).reshape(-1, 1, 2)


def _factor(gain: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(gain, dtype=np.float32)
