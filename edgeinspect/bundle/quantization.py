"""From pixel to quantized input value: one table of 256 entries per channel.

real = (pixel - mean) / std, in grey levels; quantized = round(real / scale) + zero_point, clipped
to the dtype. Halves round away from zero, as TFLite's own Quantize operator does
(``TfLiteRound`` = ``std::round`` in kernels/internal/reference/quantize.h).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edgeinspect.line.scores import Quantization


class PixelPath(StrEnum):
    """How pixels become input values; the cheaper ways are exact equals of the table."""

    IDENTITY = "identity"
    FLIP_SIGN_BIT = "flip_sign_bit"
    TABLE = "table"


def round_half_away(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to whole numbers, halves away from zero."""
    return np.asarray(np.trunc(values + np.copysign(0.5, values)), np.float64)


def quantize(values: NDArray[np.float64], quantization: Quantization) -> NDArray[np.generic]:
    """Real values to int8 or uint8, rounded half away from zero and clipped."""
    limits = np.iinfo(quantization.dtype)
    steps = round_half_away(np.asarray(values / quantization.scale, np.float64))
    clipped = np.clip(steps + quantization.zero_point, limits.min, limits.max)
    return clipped.astype(quantization.dtype)


def pixel_table(
    *, mean: Sequence[float], std: Sequence[float], quantization: Quantization
) -> NDArray[np.generic]:
    """The quantized value of every pixel value, shape (256, channels)."""
    pixels = np.arange(256, dtype=np.float64)[:, None]
    return quantize((pixels - np.asarray(mean)) / np.asarray(std), quantization)


def pixel_path(table: NDArray[np.generic]) -> PixelPath:
    """The cheapest way that equals the table bit for bit."""
    raw = table.view(np.uint8)
    pixels = np.arange(256, dtype=np.uint8)[:, None]
    if np.array_equal(raw, np.broadcast_to(pixels, raw.shape)):
        return PixelPath.IDENTITY
    if np.array_equal(raw, np.broadcast_to(pixels ^ 0x80, raw.shape)):
        return PixelPath.FLIP_SIGN_BIT
    return PixelPath.TABLE
