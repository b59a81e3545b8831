"""Labels as the formats share them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from edgeinspect.errors import ConfigError
from edgeinspect_tools.data.dataset import GOOD, Box, Picture

GOOD_NAMES = frozenset({"good", "ok"})


def class_label(name: str, good: str) -> str:
    """The label of a class that the source calls ``name``; ``good`` is its good class."""
    lower = name.strip().lower()
    is_good = lower == good if good else lower in GOOD_NAMES
    return GOOD if is_good else name.strip()


def main_label(boxes: tuple[Box, ...]) -> str:
    """The class that covers most of the picture's marked area; ``GOOD`` without a box."""
    areas: dict[str, float] = defaultdict(float)
    for box in boxes:
        areas[box.label] += box.area
    return max(sorted(areas), key=areas.__getitem__) if areas else GOOD


def boxed(path: Path, found: list[Box]) -> Picture:
    """A picture with its boxes, labelled with the class that covers most."""
    boxes = tuple(found)
    return Picture(path=path, label=main_label(boxes), boxes=boxes)


def by_path(pictures: list[Picture]) -> tuple[Picture, ...]:
    """Pictures in the order of their paths."""
    return tuple(sorted(pictures, key=lambda picture: picture.path))


def wrong(
    file: Path, key: str, value: object, expected: str, *, line: int | None = None
) -> ConfigError:
    """The error for a label file that is not as its format says."""
    return ConfigError(file=file, line=line, key=key, value=value, expected=expected)
