"""Which pictures are worth keeping, and how a picture is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect.files.picture_bytes import UnreadablePicture, decode_picture
from edgeinspect.line.config import ClassThresholds
from edgeinspect.part import PartRecord, VerdictKind

PARTS_PER_FOLDER = 1000
_MASK = (1 << 64) - 1


class ImageKind(StrEnum):
    """Why a picture is kept."""

    REJECT = "reject"
    REVIEW = "review"
    NEAR_MISS = "near_miss"
    CANNOT_INSPECT = "cannot_inspect"
    PASS_SAMPLE = "pass_sample"

    @property
    def keep_rank(self) -> int:
        """Lower ranks are evicted first; within a rank, the oldest part first."""
        return _RANKS[self]


_RANKS = {
    ImageKind.PASS_SAMPLE: 0,
    ImageKind.CANNOT_INSPECT: 1,
    ImageKind.NEAR_MISS: 2,
    ImageKind.REVIEW: 2,
    ImageKind.REJECT: 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """Which pictures to keep, and how much space they may take.

    Attributes:
        max_bytes: the size of all pictures together never exceeds this.
        min_free_bytes: a picture is written only if this much space stays free; older pictures
            are evicted if necessary.
        pass_sample_share: share of clear passes that are kept, [0, 1].
        near_miss_margin: a PASS is a near miss if the score of any class is this close to the
            review threshold of its class, [0, 1].
    """

    max_bytes: int = 2_000_000_000
    min_free_bytes: int = 500_000_000
    pass_sample_share: float = 0.01
    near_miss_margin: float = 0.1

    def __post_init__(self) -> None:
        if self.max_bytes < 0 or self.min_free_bytes < 0:
            raise UsageError("An image budget cannot be negative.")
        if not (0 <= self.pass_sample_share <= 1 and 0 <= self.near_miss_margin <= 1):
            raise UsageError("Shares and margins must be from 0 to 1.")


def image_kind(
    record: PartRecord, *, thresholds: Sequence[ClassThresholds], policy: ImagePolicy
) -> ImageKind | None:
    """Why this part's picture should be kept; None if it should not.

    The answer depends only on the record, so it can be had before the picture is queued, and the
    same part always gets the same answer.
    """
    kind = record.verdict.kind
    if kind is VerdictKind.REJECT:
        return ImageKind.REJECT
    if kind is VerdictKind.REVIEW:
        return ImageKind.REVIEW
    if kind is VerdictKind.CANNOT_INSPECT:
        return ImageKind.CANNOT_INSPECT
    if _is_near_miss(record, thresholds, policy.near_miss_margin):
        return ImageKind.NEAR_MISS
    return ImageKind.PASS_SAMPLE if is_sampled(record.part_id, policy.pass_sample_share) else None


def is_sampled(part_id: int, share: float) -> bool:
    """Whether a hash of a part's id draws it into a sample of this share, [0, 1].

    The hash is SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014).
    """
    bits = (part_id * 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return (bits ^ (bits >> 31)) < share * (_MASK + 1)


def image_path(part_id: int) -> PurePosixPath:
    """The path of a part's picture, relative to the data directory."""
    return PurePosixPath("images", f"{part_id // PARTS_PER_FOLDER:06d}", f"{part_id:09d}.png")


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a uint8 picture, (height, width) grey or (height, width, 3) RGB, as lossless PNG.

    Raises UsageError for any other array.
    """
    import cv2

    if pixels.dtype != np.uint8 or not pixels.size or pixels.shape[2:] not in ((), (3,)):
        raise UsageError(f"A picture of shape {pixels.shape}, {pixels.dtype} cannot be stored.")
    picture = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    try:
        encoded, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    except cv2.error as error:
        raise UsageError(f"A picture of shape {pixels.shape} cannot be encoded.") from error
    if not encoded:
        raise UsageError(f"A picture of shape {pixels.shape} cannot be encoded.")
    return bytes(data)


def decode_png(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a PNG of ``encode_png``; None if the data are not a picture."""
    import cv2

    try:
        picture = decode_picture(data, cv2.IMREAD_UNCHANGED)
    except UnreadablePicture:
        return None
    if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,)):
        return None
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return np.asarray(pixels, dtype=np.uint8)


def _is_near_miss(record: PartRecord, thresholds: Sequence[ClassThresholds], margin: float) -> bool:
    if record.inspection is None:
        return False
    return any(
        score >= limit.review - margin
        for score, limit in zip(record.inspection.scores, thresholds, strict=False)
    )
