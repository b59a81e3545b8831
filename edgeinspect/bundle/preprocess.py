"""From the pixels of a region of interest to the model's quantized input, as the card says.

Station and tools both run this code, so a model is trained, verified and used on the same numbers.
The order is fixed: colour to grey first where the model is grey, then the resize (``fit:
resize``), then grey to colour or the change of channel order, then quantization. ``linear`` and
``nearest`` are OpenCV's bit-exact variants, which give the same pixels on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import ColorOrder, Fit, InputCard, Interpolation
from edgeinspect.bundle.quantization import PixelPath, pixel_path, pixel_table
from edgeinspect.line.scores import Quantization


class Preprocessor:
    """Prepares regions for one model; owns its buffers, which the next call overwrites."""

    def __init__(self, card: InputCard) -> None:
        self._card = card
        table = pixel_table(
            mean=card.mean,
            std=card.std,
            quantization=Quantization(
                dtype=card.dtype, scale=card.scale, zero_point=card.zero_point
            ),
        )
        self._path = pixel_path(table)
        self._dtype = np.dtype(card.dtype)
        self._table = np.ascontiguousarray(table.view(np.uint8)[None])
        self._buffer = np.empty(0, np.uint8)

    @property
    def path(self) -> PixelPath:
        """How pixels are quantized."""
        return self._path

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Quantized pixels of the whole region, or of the model's input size for ``resize``.

        Args:
            pixels: uint8, (height, width) for grey or (height, width, 3) in RGB order; for a
                card with a reference what ``with_reference`` gives. May be a view and is never
                written to.

        Returns:
            The input's dtype; (height, width) for a grey model, else (height, width, 3) in the
            card's colour order. A view of ``pixels`` where nothing is to be done, else of a
            buffer that the next call overwrites.
        """
        return self._quantize(self._fit(pixels))

    def _fit(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        color = self._card.color
        if self._card.reference:
            return pixels
        if pixels.ndim == 3 and color is ColorOrder.GRAY:
            pixels = to_gray(pixels)
        if self._card.fit is Fit.RESIZE:
            pixels = resize(pixels, self._card.width, self._card.height, self._card.interpolation)
        if pixels.ndim == 2 and color is not ColorOrder.GRAY:
            return np.repeat(pixels[:, :, None], 3, axis=2)
        return pixels[:, :, ::-1] if color is ColorOrder.BGR else pixels

    def _quantize(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        if self._path is PixelPath.IDENTITY:
            return pixels.view(self._dtype)
        if self._buffer.shape != pixels.shape:
            self._buffer = np.empty(pixels.shape, np.uint8)
        if self._path is PixelPath.FLIP_SIGN_BIT:
            np.bitwise_xor(pixels, np.uint8(0x80), out=self._buffer)
        else:
            import cv2

            cv2.LUT(np.ascontiguousarray(pixels), self._table, self._buffer)
        return self._buffer.view(self._dtype)


def with_reference(pixels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Both regions as grey in one array, uint8 (height, width, 2), the reference last.

    Raises:
        ValueError: they differ in size.
    """
    if pixels.shape[:2] != reference.shape[:2]:
        raise ValueError(f"a reference of {pixels.shape[:2]} expected, got {reference.shape[:2]}")
    planes = [plane if plane.ndim == 2 else to_gray(plane) for plane in (pixels, reference)]
    return np.stack(planes, axis=2)


def to_gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB to luma (ITU-R BT.601, OpenCV's fixed-point arithmetic)."""
    import cv2

    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def resize(
    pixels: NDArray[np.uint8], width: int, height: int, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Resize to exactly (height, width); the aspect ratio is not kept."""
    if pixels.shape[:2] == (height, width):
        return pixels
    import cv2

    method = {
        Interpolation.LINEAR: cv2.INTER_LINEAR_EXACT,
        Interpolation.NEAREST: cv2.INTER_NEAREST_EXACT,
        Interpolation.AREA: cv2.INTER_AREA,
    }[interpolation]
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)
