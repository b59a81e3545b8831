"""Training pictures with their labels, read when they are needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.align import DEFAULT_AGREEMENT, aligned
from edgeinspect.errors import Misaligned, UsageError
from edgeinspect.part import Region
from edgeinspect_tools.data.pick import evenly

UNKNOWN = 255
"""Label of pixels of which only the picture's class is known."""

MAX_CLASSES = 250
_CACHE_BYTES = 1 << 30


class Box(NamedTuple):
    """A defect's box in pixels: left, top, width, height; and the index of its class."""

    x: int
    y: int
    width: int
    height: int
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One picture of the data set, not yet read.

    Attributes:
        path: of the picture.
        index: of its defect class; None for a good picture. With boxes it may be any of them.
        mask: picture of the same size, not 0 where the defect is; None where there is none.
        boxes: of its defects, where boxes are what is known.
        reference: the same place on a faultless product.
        reference_search_px: how far that may lie off; 0: it is aligned already.
        group: pictures of one group show the same part.
    """

    path: Path
    index: int | None
    mask: Path | None = None
    boxes: tuple[Box, ...] = ()
    reference: Path | None = None
    reference_search_px: int = 0
    group: str = ""

    @property
    def located(self) -> bool:
        """Whether it is known which pixels are good."""
        return self.index is None or self.mask is not None or bool(self.boxes)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its labels.

    Attributes:
        pixels: uint8 (height, width, channels); a reference is the last channel(s).
        labels: uint8 (height, width): 0 good, class index + 1 at defects, ``UNKNOWN`` in between.
        index: of the picture's class, None if good.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    index: int | None


class Pictures:
    """Reads samples; keeps what fits into a bounded memory.

    Args:
        gray: read pictures as one grey channel; RGB otherwise.
        reference: append the reference's channels.
        box_fill: see ``TrainSettings``.
    """

    def __init__(
        self, samples: Sequence[Sample], *, gray: bool, reference: bool, box_fill: float = 1.0
    ) -> None:
        self.samples = tuple(samples)
        self._gray = gray
        self._reference = reference
        self._box_fill = box_fill
        self._kept: OrderedDict[int, Picture] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Picture:
        kept = self._kept.get(number)
        if kept is not None:
            self._kept.move_to_end(number)
            return kept
        picture = self._read(self.samples[number])
        self._kept[number] = picture
        self._bytes += picture.pixels.nbytes + picture.labels.nbytes
        while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.pixels.nbytes + old.labels.nbytes
        return picture

    def _read(self, sample: Sample) -> Picture:
        pixels = read_pixels(sample.path, gray=self._gray)
        if self._reference:
            if sample.reference is None:
                raise UsageError(f"{sample.path} has no reference picture.")
            other = read_pixels(sample.reference, gray=self._gray)
            if other.shape != pixels.shape:
                raise UsageError(
                    f"{sample.reference} is {_size(other)}, {sample.path} is {_size(pixels)}; "
                    "a reference must have the size of its picture."
                )
            if sample.reference_search_px:
                other = _aligned(sample, pixels, other)
            pixels = np.concatenate([pixels, other], axis=2)
        return Picture(pixels, label_map(sample, pixels.shape[:2], self._box_fill), sample.index)


def read_pixels(path: Path, *, gray: bool) -> NDArray[np.uint8]:
    """uint8 (height, width, 1) grey or (height, width, 3) RGB. Raises UsageError if unreadable."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    flags = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
    try:
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:  # e.g. one that states a billion pixels
        pixels = None
    if pixels is None:
        raise UsageError(f"{path} is not a readable picture.")
    if gray:
        return np.asarray(pixels, np.uint8)[..., None]
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _aligned(
    sample: Sample, pixels: NDArray[np.uint8], reference: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The reference moved to where the picture's part lies; for grey pictures.

    Raises:
        UsageError: they do not agree.
    """
    whole = Region(0, 0, pixels.shape[1], pixels.shape[0])
    reach, needed = sample.reference_search_px, DEFAULT_AGREEMENT
    try:
        found = aligned(pixels[..., 0], reference[..., 0], whole, reach, needed)
    except Misaligned as error:
        raise UsageError(
            f"{sample.path}: {error.message}",
            next_action="Leave the picture out, or give the reference picture of its product.",
        ) from error
    return found[..., None]


def label_map(sample: Sample, shape: tuple[int, ...], box_fill: float) -> NDArray[np.uint8]:
    """The labels of a picture of ``shape``: see ``Picture``. Smaller boxes lie on larger ones."""
    height, width = shape[:2]
    if sample.index is None:
        return np.zeros((height, width), np.uint8)
    if sample.mask is not None:
        mask = read_pixels(sample.mask, gray=True)[..., 0]
        if mask.shape != (height, width):
            raise UsageError(
                f"{sample.mask} is {_size(mask)}, {sample.path} is {width} x {height} px; "
                "a mask must have the size of its picture."
            )
        return np.asarray((mask > 0) * np.uint8(sample.index + 1), np.uint8)
    if not sample.boxes:
        return np.full((height, width), UNKNOWN, np.uint8)
    labels = np.zeros((height, width), np.uint8)
    for box in sorted(sample.boxes, key=lambda box: -box.width * box.height):
        margin_x = box.width * (1 - box_fill) / 2
        margin_y = box.height * (1 - box_fill) / 2
        top, bottom = round(box.y + margin_y), round(box.y + box.height - margin_y)
        left, right = round(box.x + margin_x), round(box.x + box.width - margin_x)
        labels[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = box.kind + 1
    return labels


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]} px"


def spread(samples: Sequence[Sample], most: int) -> list[int]:
    """At most ``most`` pictures, evenly over good and defective ones."""
    good = [n for n, sample in enumerate(samples) if sample.index is None]
    bad = [n for n, sample in enumerate(samples) if sample.index is not None]
    half = most // 2
    of_bad = min(len(bad), max(half, most - len(good)))
    of_good = min(len(good), most - of_bad)
    return sorted([*evenly(good, of_good), *evenly(bad, of_bad)])
