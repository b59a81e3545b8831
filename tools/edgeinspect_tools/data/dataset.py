"""A data set in memory: immutable, typed, split.

A *picture* is what a reader found; an *item* is a readable picture with its group and split.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

GOOD = "good"
"""The label of defect-free pictures, whatever the source called them."""


class Split(StrEnum):
    """The parts of a data set, each with a purpose of its own."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Box:
    """A defect's box in picture pixels: left, top (inclusive), right, bottom (exclusive)."""

    label: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Area in square pixels; 0 if the box is empty."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture as a reader found it; nothing has been decoded yet.

    Attributes:
        path: the file.
        label: ``GOOD`` or the name of its defect class; None where the mask decides.
        mask: 8-bit picture of the same size, nonzero where the defect is.
        boxes: of the defects.
        group: pictures with the same non-empty group never part in a split.
        split: the official split, where the source has one.
        reference: a picture of the same product without a defect.
    """

    path: Path
    label: str | None
    mask: Path | None = None
    boxes: tuple[Box, ...] = ()
    group: str = ""
    split: Split | None = None
    reference: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a reader made of a data set.

    Attributes:
        kind: the layout, e.g. ``folders`` or ``coco``.
        root: the folder that every path lies below.
        pictures: in the order of their paths.
        official_split: the source says what is test and what is not.
        notes: sentences for the report.
    """

    kind: str
    root: Path
    pictures: tuple[Picture, ...]
    official_split: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A readable picture with its place in the split.

    Attributes:
        path: the file.
        label: ``GOOD`` or the name of its defect class.
        width: in pixels.
        height: in pixels.
        sha256: digest of the picture's file.
        group: pictures of one group are all in the same split.
        split: the split that the picture belongs to.
        mask: 8-bit picture of the same size, nonzero where the defect is.
        mask_sha256: digest of the mask's file; "" without a mask.
        boxes: boxes of the defects.
        reference: a picture of the same product without a defect.
        drawn: the program drew the defect onto a copy of a good picture.
    """

    path: Path
    label: str
    width: int
    height: int
    sha256: str
    group: str
    split: Split
    mask: Path | None = None
    mask_sha256: str = ""
    boxes: tuple[Box, ...] = ()
    reference: Path | None = None
    drawn: bool = False

    @property
    def is_good(self) -> bool:
        """Whether the picture shows no defect."""
        return self.label == GOOD


@dataclass(frozen=True, slots=True)
class Excluded:
    """A picture that is in no split, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Everything that training and verification need to know of a data set.

    Attributes:
        kind, root: of the source.
        seed: of the split.
        items: in the order of their paths; each in exactly one split.
        excluded: pictures that could not be used.
    """

    kind: str
    root: Path
    seed: int
    items: tuple[Item, ...]
    excluded: tuple[Excluded, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """``GOOD`` first where there is any, then the defect classes by name."""
        return (GOOD,) * any(item.is_good for item in self.items) + self.defect_classes

    @property
    def defect_classes(self) -> tuple[str, ...]:
        """Names of the defect classes, of pictures and of boxes, sorted."""
        names = {item.label for item in self.items}
        names |= {box.label for item in self.items for box in item.boxes}
        return tuple(sorted(names - {GOOD}))

    @property
    def has_masks(self) -> bool:
        """Whether any picture has a mask."""
        return any(item.mask is not None for item in self.items)

    @property
    def has_boxes(self) -> bool:
        """Whether any picture has boxes."""
        return any(item.boxes for item in self.items)

    def of(self, split: Split) -> tuple[Item, ...]:
        """The items of one split."""
        return tuple(item for item in self.items if item.split is split)
