"""Where a faultless part's picture lies in a frame: shift and proof, or no inspection at all.

The shift comes from phase correlation (Kuglin and Hines 1975) of both regions, in whole pixels. The
proof is independent of it: the correlation coefficient of the region with the shifted reference. A
wrong or arbitrary shift does not agree, and then the part must not be judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import InputCard
from edgeinspect.bundle.preprocess import to_gray, with_reference
from edgeinspect.errors import Misaligned
from edgeinspect.part import Region

DEFAULT_SEARCH_PX = 32
DEFAULT_AGREEMENT = 0.5
"""Correlation coefficient below which two pictures are not taken to show the same product."""

_LARGEST_PX = 512
"""Larger regions are measured at a fraction of their size; the shift is then exact to a pixel."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a part is shifted against its reference picture.

    Attributes:
        right_px, down_px: how far the part lies from its position in the reference.
        agreement: correlation coefficient with the shifted reference, [-1, 1]; 0 if it is uniform.
    """

    right_px: int
    down_px: int
    agreement: float


def compared(
    card: InputCard, pixels: NDArray[np.uint8], reference: NDArray[np.uint8], roi: Region
) -> NDArray[np.uint8]:
    """A region beside the same region of the reference: what a model with a reference is given.

    Args:
        card: says whether, how far and how well the reference is to be aligned.
        pixels: of the region, uint8 (height, width) or (height, width, 3) RGB.
        reference: of the whole frame, alike.
        roi: the region in the frame.

    Returns:
        uint8 (height, width, 2), see ``with_reference``.

    Raises:
        Misaligned: nowhere within reach do they agree.
        ValueError: the reference does not hold the region.
    """
    gray = reference if reference.ndim == 2 else to_gray(reference)
    if not card.reference_search_px:
        rows, columns = slice(roi.y, roi.y + roi.height), slice(roi.x, roi.x + roi.width)
        return with_reference(pixels, gray[rows, columns])
    own = pixels if pixels.ndim == 2 else to_gray(pixels)
    other = aligned(own, gray, roi, card.reference_search_px, card.reference_agreement)
    return with_reference(own, other)


def aligned(
    pixels: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    roi: Region,
    search_px: int,
    agreement: float,
) -> NDArray[np.uint8]:
    """Return the reference aligned with a region: grey uint8 (height, width). Raises Misaligned."""
    found = align(pixels, reference, roi)
    if max(abs(found.right_px), abs(found.down_px)) > search_px or found.agreement < agreement:
        raise Misaligned(
            f"The part matches the reference picture by {found.agreement:.2f}, "
            f"{found.right_px} px right and {found.down_px} px down from it; expected at least "
            f"{agreement:.2f} within {search_px} px."
        )
    return shifted(reference, roi, found)


def align(pixels: NDArray[np.uint8], reference: NDArray[np.uint8], roi: Region) -> Alignment:
    """Find the region's content in the reference.

    Args:
        pixels: of the region, grey, uint8 (height, width).
        reference: of the whole frame, grey.
        roi: the region in pixels of the frame.
    """
    import cv2

    still = Alignment(0, 0, 0.0)
    there = shifted(reference, roi, still)
    factor = -(-max(pixels.shape) // _LARGEST_PX)
    size = (max(2, pixels.shape[1] // factor), max(2, pixels.shape[0] // factor))
    before, after = (
        np.asarray(cv2.resize(entry, size, interpolation=cv2.INTER_AREA), np.float32)
        for entry in (there, pixels)
    )
    window = cv2.createHanningWindow(size, cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(before, after, window)
    if not (np.isfinite(right) and np.isfinite(down)):
        return still
    moved = Alignment(round(right * pixels.shape[1] / size[0]),
                      round(down * pixels.shape[0] / size[1]), 0.0)  # fmt: skip
    return Alignment(
        moved.right_px, moved.down_px, _agreement(pixels, shifted(reference, roi, moved), moved)
    )


def shifted(reference: NDArray[np.uint8], roi: Region, by: Alignment) -> NDArray[np.uint8]:
    """Return the aligned reference; outside the picture its edge pixels are repeated."""
    height, width = reference.shape[:2]
    rows = np.arange(roi.y, roi.y + roi.height) - by.down_px
    columns = np.arange(roi.x, roi.x + roi.width) - by.right_px
    return np.asarray(reference[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)], np.uint8)


def _agreement(pixels: NDArray[np.uint8], other: NDArray[np.uint8], by: Alignment) -> float:
    """Correlation coefficient where both show something; 0 where one of them is plain."""
    height, width = pixels.shape
    rows = slice(max(0, by.down_px), height + min(0, by.down_px))
    columns = slice(max(0, by.right_px), width + min(0, by.right_px))
    one, two = (np.asarray(e[rows, columns], np.float64) for e in (pixels, other))
    if not one.size:
        return 0.0
    one, two = one - one.mean(), two - two.mean()
    spread = float(np.sqrt((one**2).sum() * (two**2).sum()))
    return float((one * two).sum() / spread) if spread > 0 else 0.0
