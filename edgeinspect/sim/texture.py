"""Banks of surface, belt and noise texture, made once per process and cropped for every picture.

A bank is a float32 array of shape (BANK_PX, BANK_PX), zero mean and unit standard deviation, that
depends on nothing but this file. Cropping one at a random place costs microseconds, generating
texture for each picture would cost many milliseconds.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

BANK_PX = 1024
"""Height and width of a bank."""


class Surface(StrEnum):
    """How the part's surface was made."""

    BRUSHED = "brushed"
    MILLED = "milled"
    MOULDED = "moulded"


def crop(
    bank: NDArray[np.float32], rng: np.random.Generator, *, width: int, height: int
) -> NDArray[np.float32]:
    """A view of shape (height, width) at a random place of ``bank``, randomly mirrored."""
    top = int(rng.integers(0, bank.shape[0] - height + 1))
    left = int(rng.integers(0, bank.shape[1] - width + 1))
    flip_y, flip_x = (1 if bit else -1 for bit in rng.integers(0, 2, size=2))
    return bank[top : top + height, left : left + width][::flip_y, ::flip_x]


@cache
def sensor_noise() -> NDArray[np.float32]:
    """White Gaussian noise."""
    return np.random.default_rng(101).standard_normal((BANK_PX, BANK_PX), dtype=np.float32)


@cache
def belt() -> NDArray[np.float32]:
    """The weave of a conveyor belt: a fine lattice and soft wear."""
    rng = np.random.default_rng(102)
    y, x = np.mgrid[0:BANK_PX, 0:BANK_PX].astype(np.float32)
    weave = np.sin(x * 1.15) * np.sin(y * 1.15)
    wear = cv2.GaussianBlur(rng.standard_normal((BANK_PX, BANK_PX), dtype=np.float32), (0, 0), 9)
    return _unit(0.7 * _unit(weave) + 0.7 * _unit(np.asarray(wear, dtype=np.float32)))


@cache
def surface(kind: Surface) -> NDArray[np.float32]:
    """The texture of a machined or moulded surface; its lines run along x where it has any."""
    if kind is Surface.BRUSHED:
        return _brushed(np.random.default_rng(103))
    if kind is Surface.MILLED:
        return _milled(np.random.default_rng(104))
    return _moulded(np.random.default_rng(105))


def _brushed(rng: np.random.Generator) -> NDArray[np.float32]:
    """Grinding lines of many lengths, all along x."""
    grain = np.zeros((BANK_PX, BANK_PX), dtype=np.float32)
    for length_px, weight in ((15, 0.5), (61, 0.8), (241, 1.0)):
        white = rng.standard_normal((BANK_PX, BANK_PX), dtype=np.float32)
        kernel = cv2.getGaussianKernel(length_px, length_px / 5)
        thin = np.array([[0.2], [0.6], [0.2]])
        grain += weight * _unit(cv2.sepFilter2D(white, -1, kernel, thin))
    return _unit(grain)


def _milled(rng: np.random.Generator) -> NDArray[np.float32]:
    """The arcs that a face mill leaves: feed marks of nearly constant pitch, broken by chatter."""
    y, x = np.mgrid[0:BANK_PX, 0:BANK_PX].astype(np.float32)
    arc = y + (x - BANK_PX / 2) ** 2 / 2600.0
    wander = cv2.GaussianBlur(rng.standard_normal((BANK_PX, BANK_PX), dtype=np.float32), (0, 0), 40)
    marks = np.sin(arc * (2 * np.pi / 6.5) + 6.0 * _unit(np.asarray(wander, dtype=np.float32)) / 6)
    white = rng.standard_normal((BANK_PX, BANK_PX), dtype=np.float32)
    chatter = _unit(cv2.GaussianBlur(white, (0, 0), 1.0))
    return _unit(_unit(marks.astype(np.float32)) + 0.7 * chatter)


def _moulded(rng: np.random.Generator) -> NDArray[np.float32]:
    """Fine grain of an eroded mould with soft flow marks."""
    white = rng.standard_normal((BANK_PX, BANK_PX), dtype=np.float32)
    grain = _unit(cv2.GaussianBlur(white, (0, 0), 0.9))
    flow = cv2.GaussianBlur(
        rng.standard_normal((BANK_PX, BANK_PX), dtype=np.float32), (0, 0), sigmaX=60, sigmaY=14
    )
    return _unit(grain + 0.5 * _unit(np.asarray(flow, dtype=np.float32)))


def _unit(field: NDArray[np.float32] | cv2.typing.MatLike) -> NDArray[np.float32]:
    """Scale to zero mean and unit standard deviation."""
    values = np.asarray(field, dtype=np.float32)
    centred = values - values.mean()
    return np.asarray(centred / centred.std(), dtype=np.float32)
